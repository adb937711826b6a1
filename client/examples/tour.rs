//! Every call of the Rust client once, and its errors.
//!
//!     cargo run --release -p gometa-client --example tour 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use gometa_client::{
    Client, Compare, Consistency, Error, ErrorKind, Op, OpResult, Outcome, Range, ReadOptions, Txn, blocking,
};

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

/// Runs the tour on an ensemble. Uses keys that begin with `tour/`.
pub(crate) async fn tour(peers: &str) -> Result<(), Error> {
    // Settings. Nothing is connected yet, so this succeeds even if no node can be reached.
    let client = Client::builder()
        .timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(2))
        .name("tour")
        .build([peers])?;

    // A write, and a read of the key.
    let written = client.set("tour/colour", "red").await?;
    let entry = client.get("tour/colour").await?;
    assert_eq!((&entry.value[..], entry.mod_revision), (&b"red"[..], written.revision));

    // The keys with a prefix, in order, all at one revision. `range` reads one page of them, `count` their number.
    let mut keys = client.scan(Range::prefix("tour/").keys_only());
    while let Some(entry) = keys.next().await {
        assert!(entry?.key.starts_with(b"tour/"));
    }
    // A key as it was at an earlier revision.
    let earlier = client.get_at("tour/colour", written.revision).await?;
    assert_eq!(earlier.value, entry.value);

    // A write that fails if the key has changed since it was read.
    let changed = client.cas("tour/colour", entry.mod_revision, "green").await?;
    let error =
        client.cas("tour/colour", entry.mod_revision, "blue").await.expect_err("the revision has changed");
    assert_eq!(error.kind(), ErrorKind::CasMismatch);
    assert_eq!(error.actual_revision(), Some(changed.revision));

    // Several operations as one: those of `then` if all comparisons hold, else those of `otherwise`.
    let moved = Txn::new()
        .when(Compare::absent("tour/paint"))
        .then(Op::get("tour/colour"))
        .then(Op::set("tour/paint", "green"))
        .otherwise(Op::get("tour/paint"));
    let moved = client.commit(moved).await?;
    assert!(moved.succeeded);
    assert!(matches!(&moved.results[0], OpResult::Entry(Some(entry)) if entry.value == "green"));

    // A function that is called again if another write has changed what it has read.
    let left = client
        .transaction(|txn| async move {
            let paint = txn.get("tour/paint").await?;
            txn.delete("tour/paint");
            Ok(paint)
        })
        .await?;
    assert_eq!(left.as_deref(), Some(&b"green"[..]));

    // A key that must not exist: `add`, or `cas` with revision 0.
    let error = client.add("tour/colour", "blue").await.expect_err("the key exists");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::AlreadyExists, Outcome::NotApplied));

    // Local reads: faster, possibly stale, but never older than what this client has seen.
    let local = client.get_local("tour/colour").await?;
    let options = ReadOptions::local().with_min_revision(changed.revision);
    assert_eq!(options.consistency, Consistency::Local);
    assert_eq!(client.get_with("tour/colour", options).await?, local);
    assert!(client.seen_revision() >= changed.revision);

    // Concurrent calls share one connection; clones are cheap.
    let writes: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.set(format!("tour/{number}"), "x").await })
        })
        .collect();
    for write in writes {
        write.await.expect("no panic")?;
    }

    // Dropping the future of a call cancels it. For another timeout of one call, use a clone with that timeout.
    let brief = client.with_timeout(Duration::from_millis(500));
    tokio::select! {
        entry = brief.get("tour/colour") => drop(entry?),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }

    // Deletions: unconditional, or only at a revision.
    for number in 0..100 {
        assert!(client.delete(format!("tour/{number}")).await?.existed);
    }
    let deleted = client.delete_if("tour/colour", changed.revision).await?;
    assert!(deleted.existed && deleted.revision > changed.revision);
    assert!(!client.delete("tour/colour").await?.existed);

    // The versions of a key that the ensemble keeps, newest first; a deletion is one too.
    let history = client.history("tour/colour").await?;
    assert_eq!(history.versions[0].revision, deleted.revision);
    assert!(history.versions[0].deleted && !history.versions[1].deleted);

    // Errors: the kind tells what happened, the outcome whether a write may have taken effect.
    match client.get("tour/colour").await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.is_retryable() => return Err(error),
        other => panic!("expected NotFound: {other:?}"),
    }

    guards_and_settings(&client).await?;

    // The status of the node in use and of a given one; the members.
    let status = client.status().await?;
    let members = client.members().await?;
    assert!(members.iter().any(|member| member.node == status.node));
    let address = members[0].request_address.as_deref().expect("known address");
    client.status_of(address).await?;
    let view = client.view().await?;
    assert_eq!(view.members.len(), members.len());

    // The members with their roles. Changes are idempotent; with a version they are conditional.
    let membership = client.membership().await?;
    let nobody = 4711;
    let removed = client.remove_member(nobody, Some(membership.version)).await?;
    assert!(!removed.changed && removed.membership.members.len() == membership.members.len());
    let error = client.promote_member(nobody, None).await.expect_err("no such member");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotFound, Outcome::NotApplied));

    // Before a node is stopped: whether the others are a quorum; another leader, if it leads.
    let advice = client.safe_to_stop([status.node]).await?;
    assert_eq!(advice.safe, advice.reason.is_empty());
    if advice.safe && status.leader == Some(status.node) {
        assert_ne!(client.transfer_leadership(None).await?, status.node);
    }

    // Counters.
    let counters = client.counters();
    assert!(counters.requests > 200 && counters.in_flight == 0);

    // The history that the client knows: it rises when the ensemble is founded anew from old data.
    assert!(client.history_id() >= Some(1));

    // The blocking client: the same calls, without a runtime.
    let peers = peers.to_owned();
    let blocked = tokio::task::spawn_blocking(move || {
        let client = blocking::Client::new([peers])?;
        client.set("tour/blocking", "red")?;
        client.get("tour/blocking")?;
        let deleted = client.delete("tour/blocking")?;
        client.close();
        Ok::<_, gometa_client::Error>(deleted.existed)
    });
    assert!(blocked.await.expect("no panic")?);

    // Ends the client's session, which takes at most 200 ms. Later calls fail with Closed.
    client.close().await;
    let error = client.get("tour/colour").await.expect_err("the client is closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}

async fn guards_and_settings(client: &Client) -> Result<(), Error> {
    // A lock, whose owner writes with a guard: only if the lock's key is the one that it has created.
    let lock = client.add("tour/lock", "me").await?;
    let guarded = client.with_guard("tour/lock", lock.revision);
    guarded.set("tour/report", "page 1").await?;
    // The lock is lost: removed, and taken by another one.
    client.delete("tour/lock").await?;
    let taken = client.add("tour/lock", "another").await?;
    let error = guarded.set("tour/report", "page 2").await.expect_err("the lock is lost");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GuardFailed, Outcome::NotApplied));
    assert_eq!(error.actual_revision(), Some(taken.revision));
    client.delete_prefix("tour/").await?;

    // The settings of the ensemble: the history is kept for two hours, then for as long as by default.
    client.set_setting("HistoryAgeMinutes", Some(120)).await?;
    client.set_setting("HistoryAgeMinutes", None).await?;
    let settings = client.settings().await?;
    let age = settings.iter().find(|setting| setting.name == "HistoryAgeMinutes").expect("a setting");
    assert!(!age.is_set && age.value == age.default);
    Ok(())
}
