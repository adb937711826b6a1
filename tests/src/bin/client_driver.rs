//! `gometa-client-driver`: the driver of the Rust client; `tests/clients/README.md` describes its protocol.
//!
//! A benchmark with one caller uses the blocking client, one with more callers uses tasks.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use gometa_client::{
    Arguments, Client, Deleted, Entry, Error, ErrorKind, HistoryOptions, KeyHistory, KeyVersion,
    MembersChanged, MembersVersion, Membership, Operation, Outcome, Page, Range, ReadOptions, Reply, Request,
    Transaction, Written, blocking,
};
use gometa_tests::{
    clients::{
        digest::Digest,
        line::{Line, hex, unhex},
        txn::{transacted, txn},
    },
    lock,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::Notify,
    task::JoinSet,
};

/// The result of a line: the text behind its number.
type Said = Result<String, Error>;

/// An open client, asynchronous and blocking.
#[derive(Clone)]
struct Opened {
    client: Client,
    blocking: blocking::Client,
}

/// The open clients, and the calls in flight.
#[derive(Default)]
struct State {
    clients: Mutex<BTreeMap<String, Opened>>,
    calls: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> anyhow::Result<()> {
    write("client rust");
    let state = Arc::new(State::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut calls = JoinSet::new();
    while let Some(text) = lines.next_line().await? {
        while calls.try_join_next().is_some() {}
        let (number, line) = Line::parse(&text)?;
        if line.verb == "close" {
            let closed = lock(&state.clients).get(line.wanted("client")?).cloned();
            // Its calls fail from now on; the answer waits for the end of its session.
            let closing = closed.with_context(|| format!("no such client: {text}"))?.client.close();
            calls.spawn(async move {
                closing.await;
                report(number, Ok("ok".to_owned()));
                Ok(())
            });
            continue;
        }
        // The next line may use the client already.
        if matches!(line.verb.as_str(), "open" | "cancel") {
            report(number, at_once(&state, &line)?);
            continue;
        }
        let opened = lock(&state.clients).get(line.wanted("client")?).cloned();
        let opened = opened.with_context(|| format!("no such client: {text}"))?;
        let cancelled = Arc::new(Notify::new());
        lock(&state.calls).insert(number, cancelled.clone());
        let state = state.clone();
        calls.spawn(async move {
            let said = tokio::select! {
                said = call(opened, &line) => said,
                () = cancelled.notified() => {
                    Ok(Err(Error::new(ErrorKind::Cancelled, Operation::Get, "the call was cancelled")))
                }
            };
            lock(&state.calls).remove(&number);
            said.map(|said| report(number, said))
        });
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    let clients = std::mem::take(&mut *lock(&state.clients));
    for opened in clients.into_values() {
        opened.client.close().await;
    }
    Ok(())
}

fn at_once(state: &State, line: &Line) -> anyhow::Result<Said> {
    if line.verb == "cancel" {
        let call = line.number("call")?.context("cancel needs call")?;
        if let Some(call) = lock(&state.calls).get(&call) {
            call.notify_one();
        }
        return Ok(Ok("ok".to_owned()));
    }
    let name = line.wanted("client")?.to_owned();
    let timeout = Duration::from_millis(line.number("timeout_ms")?.unwrap_or(5_000));
    let builder = Client::builder().timeout(timeout).name("client-driver");
    let peers = [line.wanted("peers")?];
    let opened = builder
        .clone()
        .build(peers)
        .and_then(|client| Ok(Opened { client, blocking: blocking::Client::with_settings(builder, peers)? }));
    Ok(opened.map(|opened| {
        lock(&state.clients).insert(name, opened);
        "ok".to_owned()
    }))
}

/// Moves an amount from one account to another, and notes that; false if there is too little.
async fn transfer(client: &Client, line: &Line) -> anyhow::Result<Result<bool, Error>> {
    let (from, to, note) = (line.bytes("from")?, line.bytes("to")?, line.bytes("note")?);
    let amount = line.number("amount")?.context("there is no amount")?;
    let (from, to, note) = (&from, &to, &note);
    let moved = client.transaction(|txn| async move {
        let payer = balance(&txn, from).await?;
        let payee = balance(&txn, to).await?;
        if payer < amount {
            return Ok(false);
        }
        txn.set(from, (payer - amount).to_string());
        txn.set(to, (payee + amount).to_string());
        let (from, to) = (String::from_utf8_lossy(from), String::from_utf8_lossy(to));
        txn.set(note, format!("{from} {to} {amount}"));
        Ok(true)
    });
    Ok(moved.await)
}

async fn balance(txn: &Transaction, account: &[u8]) -> Result<u64, Error> {
    let value = txn.get(account).await?.unwrap_or_default();
    Ok(std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or(0))
}

async fn call(opened: Opened, line: &Line) -> anyhow::Result<Said> {
    if line.verb == "bench" {
        return bench(opened, line).await;
    }
    let client = match line.number("timeout_ms")? {
        Some(ms) => opened.client.with_timeout(Duration::from_millis(ms)),
        None => opened.client,
    };
    let client = match line.field("guard") {
        Some(guard) => {
            let (key, revision) = guard.split_once(':').context("a guard is KEY:REVISION")?;
            client.with_guard(unhex(key)?, revision.parse()?)
        }
        None => client,
    };
    let key = || line.bytes("key");
    Ok(match line.verb.as_str() {
        "get" => {
            let entry = match line.number("at_revision")? {
                Some(revision) => client.get_at(key()?, revision).await,
                None => client.get_with(key()?, read_options(line)?).await,
            };
            entry.map(|entry| {
                format!(
                    "ok value={} version={} create_revision={} mod_revision={}",
                    hex(&entry.value),
                    entry.version,
                    entry.create_revision,
                    entry.mod_revision
                )
            })
        }
        "range" => client.range(range(line)?).await.map(|page| page_text(line, &page)),
        "scan" => scan(&client, line).await?,
        "digest" => digest(&client, line).await?,
        "count" => client.count(range(line)?).await.map(|count| format!("ok count={count}")),
        "history" => {
            let history = client.history_with(key()?, history_options(line)?).await;
            history.map(|history| history_text(line, &history))
        }
        "delete_prefix" => {
            let deleted = client.delete_prefix(line.bytes("prefix")?).await;
            deleted.map(|deleted| format!("ok deleted={deleted}"))
        }
        "txn" => {
            let txn = txn(line)?.options(read_options(line)?);
            client.commit(txn).await.map(|answer| transacted(&answer))
        }
        "transfer" => transfer(&client, line).await?.map(|moved| format!("ok moved={moved}")),
        "settings" => client.settings().await.map(|settings| {
            let settings = settings.iter().map(|setting| format!(" {}={}", setting.name, setting.value));
            format!("ok{}", settings.collect::<String>())
        }),
        "set_setting" => {
            let revision = client.set_setting(line.wanted("setting")?, line.number("number")?).await;
            revision.map(|revision| format!("ok revision={revision}"))
        }
        "status" => client.status().await.map(|status| {
            let role = status.role.name();
            format!(
                "ok role={role} applied_revision={} keys={} log_bytes={}",
                status.applied_revision, status.keys, status.storage.log_bytes
            )
        }),
        "history_id" => {
            let known = client.history_id().map(|history| format!(" history={history}"));
            Ok(format!("ok{}", known.unwrap_or_default()))
        }
        "members" => client.view().await.map(|view| {
            format!("ok members={} leader={}", view.members.len(), view.leader.unwrap_or_default())
        }),
        "membership" => client.membership().await.map(|membership| format!("ok {}", listed(&membership))),
        "promote_member" => client.promote_member(node(line)?, follows(line)?).await.map(changed),
        "remove_member" => client.remove_member(node(line)?, follows(line)?).await.map(changed),
        "replace_member" => {
            let replacement = line.number("replacement")?.context("there is no replacement")?;
            client.replace_member(node(line)?, replacement, follows(line)?).await.map(changed)
        }
        "cancel_promotion" => client.cancel_promotion(node(line)?, follows(line)?).await.map(changed),
        "transfer_leadership" => {
            client.transfer_leadership(line.number("to")?).await.map(|leader| format!("ok leader={leader}"))
        }
        "safe_to_stop" => {
            let words = line.wanted("nodes")?.split(',').filter(|word| !word.is_empty());
            let nodes: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>()?;
            client
                .safe_to_stop(nodes)
                .await
                .map(|advice| format!("ok safe={} reason={}", advice.safe, hex(advice.reason.as_bytes())))
        }
        verb => {
            let operation = Operation::from_name(verb).filter(|operation| operation.is_write());
            let operation = operation.with_context(|| format!("there is no {verb}"))?;
            let value = if line.field("value").is_some() { line.bytes("value")? } else { Vec::new() };
            let revision = line.number("revision")?;
            let arguments = Arguments { key: key()?.into(), value: value.into(), revision };
            client.perform(Request::write(operation, arguments)).await.map(|reply| match reply {
                Reply::Written(Written { revision, version, .. }) => {
                    format!("ok revision={revision} version={version}")
                }
                Reply::Deleted(Deleted { existed, revision, .. }) => {
                    format!("ok existed={existed} revision={revision}")
                }
                other => format!("ok {other:?}"),
            })
        }
    })
}

fn read_options(line: &Line) -> anyhow::Result<ReadOptions> {
    let min_revision = line.number("min_revision")?.unwrap_or(0);
    Ok(match line.field("consistency") {
        Some("local") => ReadOptions::local().with_min_revision(min_revision),
        _ => ReadOptions::default(),
    })
}

fn history_options(line: &Line) -> anyhow::Result<HistoryOptions> {
    let options = HistoryOptions::default()
        .before_revision(line.number("before_revision")?.unwrap_or(0))
        .limit(line.number("limit")?.unwrap_or(0))
        .options(read_options(line)?);
    Ok(if line.field("keys_only") == Some("true") { options.keys_only() } else { options })
}

fn history_text(line: &Line, history: &KeyHistory) -> String {
    let version = |version: &KeyVersion| {
        let KeyVersion { revision, version: number, create_revision, value_size, .. } = version;
        match version.deleted {
            true => format!("{revision}:deleted"),
            false => format!("{revision}:{number}:{create_revision}:{value_size}"),
        }
    };
    let listed = |part: &dyn Fn(&KeyVersion) -> String| {
        history.versions.iter().map(part).collect::<Vec<_>>().join(",")
    };
    let KeyHistory { revision, oldest_revision, next_before, .. } = history;
    let mut text = format!("ok revision={revision} oldest_revision={oldest_revision}");
    if let Some(next) = next_before {
        text += &format!(" next_before={next}");
    }
    text += &format!(" versions={}", listed(&version));
    if line.field("keys_only") != Some("true") {
        text += &format!(" values={}", listed(&|version| hex(&version.value)));
    }
    text
}

fn range(line: &Line) -> anyhow::Result<Range> {
    let mut range = match line.field("prefix") {
        Some(_) => Range::prefix(line.bytes("prefix")?),
        None => Range::all(),
    };
    if line.field("start").is_some() {
        range = range.start(line.bytes("start")?);
    }
    if line.field("end").is_some() {
        range = range.end(line.bytes("end")?);
    }
    if line.field("delimiter").is_some() {
        range = range.delimiter(line.bytes("delimiter")?);
    }
    if let Some(revision) = line.number("at_revision")? {
        range = range.at_revision(revision);
    }
    if let Some(limit) = line.number("limit")? {
        range = range.limit(limit);
    }
    if line.field("reverse") == Some("true") {
        range = range.reverse();
    }
    if line.field("keys_only") == Some("true") {
        range = range.keys_only();
    }
    Ok(range.options(read_options(line)?))
}

async fn scan(client: &Client, line: &Line) -> anyhow::Result<Said> {
    let mut scan = client.scan(range(line)?);
    let mut found = Vec::new();
    while let Some(entry) = scan.next().await {
        match entry {
            Ok(entry) => found.push(entry),
            Err(error) => return Ok(Err(error)),
        }
    }
    let revision = scan.revision().context("a page has a revision")?;
    Ok(Ok(format!("ok revision={revision} {}", entries(line, &found))))
}

/// Reads like a scan, and keeps no entries.
async fn digest(client: &Client, line: &Line) -> anyhow::Result<Said> {
    let mut scan = client.scan(range(line)?);
    let mut digest = Digest::default();
    while let Some(entry) = scan.next().await {
        match entry {
            Ok(entry) => digest.add(&entry.key, &entry.value),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(format!("ok {digest}")))
}

/// A page as text.
fn page_text(line: &Line, page: &Page) -> String {
    let next = page.next.as_ref().map(|next| format!(" next={}", hex(next)));
    let entries = entries(line, &page.entries);
    format!("ok revision={}{} {entries}", page.revision, next.unwrap_or_default())
}

/// Entries as text.
fn entries(line: &Line, entries: &[Entry]) -> String {
    let listed = |bytes: fn(&Entry) -> &[u8]| {
        entries.iter().map(|entry| hex(bytes(entry))).collect::<Vec<_>>().join(",")
    };
    let mut text = format!("keys={}", listed(|entry| &entry.key));
    if line.field("keys_only") != Some("true") {
        text += &format!(" values={}", listed(|entry| &entry.value));
    }
    let groups = entries.iter().filter(|entry| entry.is_group).count();
    text + &format!(" groups={groups}")
}

fn node(line: &Line) -> anyhow::Result<u64> {
    line.number("node")?.context("a change needs node")
}

fn follows(line: &Line) -> anyhow::Result<Option<MembersVersion>> {
    let numbers = (line.number("follows_epoch")?, line.number("follows_revision")?);
    Ok(match numbers {
        (Some(epoch), Some(revision)) => Some(MembersVersion { epoch, revision }),
        _ => None,
    })
}

/// Members with their roles as text.
fn listed(membership: &Membership) -> String {
    let Membership { version, members, committed, .. } = membership;
    let voters = members.iter().filter(|member| member.votes).count();
    let nodes =
        members.iter().enumerate().map(|(index, member)| format!(" node{}={}", index + 1, member.node));
    format!(
        "epoch={} revision={} members={} voters={voters} committed={committed}{}",
        version.epoch,
        version.revision,
        members.len(),
        nodes.collect::<String>()
    )
}

fn changed(result: MembersChanged) -> String {
    format!("ok changed={} {}", result.changed, listed(&result.membership))
}

async fn bench(opened: Opened, line: &Line) -> anyhow::Result<Said> {
    let (key, value) = (line.bytes("key")?, line.bytes("value")?);
    let number = |name: &str| line.number(name).and_then(|number| number.context("bench needs its numbers"));
    let (count, callers) = (number("count")?, number("callers")?.max(1));
    let sets = line.wanted("call")? == "set";
    let begun = Instant::now();
    let mut failed = 0;
    if callers == 1 {
        let client = opened.blocking;
        let calls = move || {
            let call = |_: &u64| match sets {
                true => client.set(&key, &value).is_err(),
                false => client.get(&key).is_err(),
            };
            (0..count).filter(call).count()
        };
        failed += tokio::task::spawn_blocking(calls).await?;
    } else {
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let (client, key, value) = (opened.client.clone(), key.clone(), value.clone());
            let share = count / callers + u64::from(caller < count % callers);
            tasks.spawn(async move {
                let mut failed = 0;
                for _ in 0..share {
                    let call_failed = match sets {
                        true => client.set(&key, &value).await.is_err(),
                        false => client.get(&key).await.is_err(),
                    };
                    failed += usize::from(call_failed);
                }
                failed
            });
        }
        while let Some(done) = tasks.join_next().await {
            failed += done?;
        }
    }
    Ok(Ok(format!("ok seconds={:.6} failed={failed}", begun.elapsed().as_secs_f64())))
}

fn report(number: u64, said: Said) {
    let said = said.unwrap_or_else(|error| {
        let outcome = match error.outcome() {
            Outcome::NotApplied => "not_applied",
            Outcome::Unknown => "unknown",
        };
        let actual = error.actual_revision().map(|revision| format!(" actual_revision={revision}"));
        format!(
            "error kind={} number={} retryable={} outcome={outcome}{} message={}",
            error.kind().name(),
            error.kind().number(),
            error.is_retryable(),
            actual.unwrap_or_default(),
            hex(error.to_string().as_bytes())
        )
    });
    write(&format!("{number} {said}"));
}

/// Writes and flushes a line. A closed pipe is not an error: the end of the input follows.
fn write(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()));
}
