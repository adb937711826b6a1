//! Every call of the Rust client once, and what can go wrong with it.
//!
//!     cargo run --release -p gometa-client --example tour 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use gometa_client::{Client, Consistency, Error, ErrorKind, Outcome, ReadOptions, blocking};

#[tokio::main]
async fn main() -> ExitCode {
    let Some(peers) = std::env::args().nth(1) else {
        let _ = writeln!(io::stderr(), "usage: tour PEERS (host:port,...)");
        return ExitCode::from(2);
    };
    match tour(&peers).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Needs an ensemble, and the keys that begin with `tour/`.
pub(crate) async fn tour(peers: &str) -> Result<(), Error> {
    // Settings. Nothing is connected yet, so this succeeds with every peer down.
    let client = Client::builder()
        .timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(2))
        .name("tour")
        .build([peers])?;

    // A write, and what it made of the key.
    let written = client.set("tour/colour", "red").await?;
    let entry = client.get("tour/colour").await?;
    assert_eq!((&entry.value[..], entry.mod_revision), (&b"red"[..], written.revision));

    // A change that happens only if nobody else was quicker.
    let changed = client.cas("tour/colour", entry.mod_revision, "green").await?;
    let error = client.cas("tour/colour", entry.mod_revision, "blue").await.expect_err("it is green");
    assert_eq!(error.kind(), ErrorKind::CasMismatch);
    assert_eq!(error.actual_revision(), Some(changed.revision));

    // A key that must be new: `add`, or `cas` with revision 0.
    let error = client.add("tour/colour", "blue").await.expect_err("it is there");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::AlreadyExists, Outcome::NotApplied));

    // Quicker reads, from what the node in use has applied; never older than what this client has seen.
    let local = client.get_local("tour/colour").await?;
    let options = ReadOptions::local().with_min_revision(changed.revision);
    assert_eq!(options.consistency, Consistency::Local);
    assert_eq!(client.get_with("tour/colour", options).await?, local);
    assert!(client.seen_revision() >= changed.revision);

    // Many calls at a time share one connection; a clone is cheap.
    let writes: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.set(format!("tour/{number}"), "x").await })
        })
        .collect();
    for write in writes {
        write.await.expect("it does not panic")?;
    }

    // Dropping a call's future gives it up; a time-out of one call is a client with another setting.
    let brief = client.with_timeout(Duration::from_millis(500));
    tokio::select! {
        entry = brief.get("tour/colour") => drop(entry?),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }

    // Removing, whatever there is or only what one has seen.
    for number in 0..100 {
        assert!(client.delete(format!("tour/{number}")).await?.existed);
    }
    let deleted = client.delete_if("tour/colour", changed.revision).await?;
    assert!(deleted.existed && deleted.revision > changed.revision);
    assert!(!client.delete("tour/colour").await?.existed);

    // Errors: the kind says what happened, the outcome whether a write may have.
    match client.get("tour/colour").await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.is_retryable() => return Err(error),
        other => panic!("it was deleted: {other:?}"),
    }

    // How the node in use is, how a given one is, who the members are.
    let status = client.status().await?;
    let members = client.members().await?;
    assert!(members.iter().any(|member| member.node == status.node));
    let address = members[0].request_address.as_deref().expect("every member has one");
    client.status_of(address).await?;
    let view = client.view().await?;
    assert_eq!(view.members.len(), members.len());

    // What the client has done so far.
    let counters = client.counters();
    assert!(counters.requests > 200 && counters.in_flight == 0);

    // Without a runtime: the same calls, which block their thread.
    let peers = peers.to_owned();
    let blocked = tokio::task::spawn_blocking(move || {
        let client = blocking::Client::new([peers])?;
        client.set("tour/blocking", "red")?;
        client.get("tour/blocking")?;
        let deleted = client.delete("tour/blocking")?;
        client.close();
        Ok::<_, gometa_client::Error>(deleted.existed)
    });
    assert!(blocked.await.expect("it does not panic")?);

    // Ends the client's session, for which it takes 200 ms at most. From now on calls fail with Closed.
    client.close().await;
    let error = client.get("tour/colour").await.expect_err("the client is closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}
