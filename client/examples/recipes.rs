//! The examples of `docs/modelling.md`.
//!
//!     cargo run --release -p gometa-client --example recipes 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
use std::{
    io::{self, Write},
    process::ExitCode,
};

use bytes::Bytes;
use gometa_client::{Client, Compare, Error, ErrorKind, Op, Range, Txn};

/// A number that is stored as text; 0 if there is none.
fn number(value: Option<&Bytes>) -> u64 {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}

// A configuration with its versions.
async fn configure(client: &Client, text: &str) -> Result<u64, Error> {
    client
        .transaction(|txn| async move {
            let version = number(txn.get("config/latest").await?.as_ref()) + 1;
            txn.set("config/latest", version.to_string());
            txn.set(format!("config/{version:08}"), text);
            Ok(version)
        })
        .await
}

async fn configuration(client: &Client) -> Result<Option<Bytes>, Error> {
    // A transaction that writes nothing sees one moment.
    client
        .transaction(|txn| async move {
            let version = number(txn.get("config/latest").await?.as_ref());
            txn.get(format!("config/{version:08}")).await
        })
        .await
}

// A unique index.
async fn register(client: &Client, user: &str, email: &str) -> Result<bool, Error> {
    let (by_name, by_email) = (format!("user/{user}"), format!("user-by-email/{email}"));
    let txn = Txn::new()
        .when(Compare::absent(&by_name))
        .when(Compare::absent(&by_email))
        .then(Op::set(&by_name, email))
        .then(Op::set(&by_email, user));
    Ok(client.commit(txn).await?.succeeded)
}

// A secondary index.
async fn set_state(client: &Client, job: &str, state: &str) -> Result<(), Error> {
    client
        .transaction(|txn| async move {
            if let Some(before) = txn.get(format!("job/{job}")).await? {
                let before = String::from_utf8_lossy(&before);
                txn.delete(format!("job-by-state/{before}/{job}"));
            }
            txn.set(format!("job/{job}"), state);
            txn.set(format!("job-by-state/{state}/{job}"), "");
            Ok(())
        })
        .await
}

async fn jobs_in(client: &Client, state: &str) -> Result<Vec<String>, Error> {
    let prefix = format!("job-by-state/{state}/");
    let mut entries = client.scan(Range::prefix(&prefix).keys_only());
    let mut jobs = Vec::new();
    while let Some(entry) = entries.next().await {
        jobs.push(String::from_utf8_lossy(&entry?.key[prefix.len()..]).into_owned());
    }
    Ok(jobs)
}

// A counter.
async fn increment(client: &Client, counter: &str) -> Result<u64, Error> {
    client
        .transaction(|txn| async move {
            let count = number(txn.get(counter).await?.as_ref()) + 1;
            txn.set(counter, count.to_string());
            Ok(count)
        })
        .await
}

// A queue.
async fn put(client: &Client, item: &str) -> Result<(), Error> {
    client
        .transaction(|txn| async move {
            let number = number(txn.get("queue-end").await?.as_ref()) + 1;
            txn.set("queue-end", number.to_string());
            txn.set(format!("queue/{number:016}"), item);
            Ok(())
        })
        .await
}

async fn take(client: &Client) -> Result<Option<Bytes>, Error> {
    loop {
        let page = client.range(Range::prefix("queue/").limit(1)).await?;
        let Some(first) = page.entries.into_iter().next() else { return Ok(None) };
        match client.delete_if(&first.key, first.mod_revision).await {
            Ok(_) => return Ok(Some(first.value)),
            // Another one has taken it.
            Err(error) if error.kind() == ErrorKind::CasMismatch => {}
            Err(error) => return Err(error),
        }
    }
}

// The rename of a key.
async fn rename(client: &Client, old: &str, new: &str) -> Result<bool, Error> {
    client
        .transaction(|txn| async move {
            let Some(value) = txn.get(old).await? else { return Ok(false) };
            if txn.get(new).await?.is_some() {
                return Ok(false);
            }
            txn.set(new, value);
            txn.delete(old);
            Ok(true)
        })
        .await
}

// Several keys at once.
async fn transfer(client: &Client, payer: &str, payee: &str, amount: u64) -> Result<bool, Error> {
    client
        .transaction(|txn| async move {
            let of_payer = number(txn.get(payer).await?.as_ref());
            let of_payee = number(txn.get(payee).await?.as_ref());
            if payer == payee || of_payer < amount {
                return Ok(false);
            }
            txn.set(payer, (of_payer - amount).to_string());
            txn.set(payee, (of_payee + amount).to_string());
            Ok(true)
        })
        .await
}

// A lock.
async fn with_lock(client: &Client, lock: &str, owner: &str) -> Result<(), Error> {
    let held = client.add(lock, owner).await?;
    // Refused if the lock was removed meanwhile, even if another one holds it by then.
    let guarded = client.with_guard(lock, held.revision);
    guarded.set("schedule", format!("made by {owner}")).await?;
    guarded.delete(lock).await?;
    Ok(())
}

/// Runs all of them on an empty ensemble.
async fn recipes(peers: &str) -> Result<(), Error> {
    let client = Client::new([peers])?;
    assert_eq!((configure(&client, "a = 1").await?, configure(&client, "a = 2").await?), (1, 2));
    assert_eq!(configuration(&client).await?.as_deref(), Some(&b"a = 2"[..]));
    assert_eq!(client.get("config/00000001").await?.value, "a = 1");
    assert!(register(&client, "ann", "ann@example.org").await?);
    assert!(!register(&client, "bob", "ann@example.org").await?);
    for state in ["waiting", "running"] {
        set_state(&client, "backup", state).await?;
    }
    assert_eq!(jobs_in(&client, "waiting").await?, Vec::<String>::new());
    assert_eq!(jobs_in(&client, "running").await?, ["backup"]);
    assert_eq!((increment(&client, "visits").await?, increment(&client, "visits").await?), (1, 2));
    put(&client, "first").await?;
    put(&client, "second").await?;
    for item in [Some("first"), Some("second"), None] {
        assert_eq!(take(&client).await?.as_deref(), item.map(str::as_bytes));
    }
    client.set("old-name", "v").await?;
    assert!(rename(&client, "old-name", "new-name").await?);
    assert!(!rename(&client, "old-name", "new-name").await?);
    assert_eq!(client.get("new-name").await?.value, "v");
    client.set("account/ann", "100").await?;
    assert!(transfer(&client, "account/ann", "account/bob", 30).await?);
    assert!(!transfer(&client, "account/ann", "account/bob", 100).await?);
    assert_eq!(client.get("account/bob").await?.value, "30");
    with_lock(&client, "schedule-lock", "ann").await?;
    assert_eq!(client.get("schedule").await?.value, "made by ann");
    client.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(peers) = std::env::args().nth(1) else {
        let _ = writeln!(io::stderr(), "usage: recipes PEERS (host:port,...)");
        return ExitCode::from(2);
    };
    match recipes(&peers).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "recipes: {error}");
            ExitCode::FAILURE
        }
    }
}
