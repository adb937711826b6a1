//! A bank: every client moves money between the same accounts, by its `transaction(function)`, while leaders are killed.
//! The sum must be exact at every revision, and no transfer may happen twice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use gometa_client::{Client, Op, Range, Txn};
use tokio::task::JoinSet;

use super::{
    Driver, Places,
    cluster::Cluster,
    line::{Answer, Line},
};
use crate::random::{self, Random};

/// The clients whose drivers have transfers.
pub const CLIENTS: [&str; 4] = ["rust", "python", "python-aio", "go"];

/// The number of concurrent callers of each client.
const CALLERS: u64 = 2;
const ACCOUNTS: u64 = 100;
/// What each account has at first.
const EACH: u64 = 100;
/// The most that is moved at a time.
const AMOUNT_MAX: u64 = 40;
/// The number of revisions at which the sum is read.
const REVISIONS: u64 = 1_000;
/// The timeout of a call, far longer than an election.
const TIMEOUT_MS: u64 = 60_000;

/// The result.
pub struct Banked {
    /// The number of transfers that were made.
    pub made: usize,
    /// The number of transfers that were not, since the account had too little.
    pub refused: usize,
    /// The number of killed leaders.
    pub kills: usize,
    /// The number of revisions at which the sum was read.
    pub revisions: usize,
    /// The time that the transfers took.
    pub took: Duration,
}

fn account(number: u64) -> String {
    format!("bank/account/{number:03}")
}

/// Has these clients make so many transfers together, while the leader is killed every `every`, and then checks every
/// account.
///
/// # Errors
/// If a sum is wrong, or a call fails.
pub async fn bank(
    places: &Places<'_>,
    clients: &[String],
    transfers: usize,
    every: Duration,
) -> anyhow::Result<Banked> {
    let mut cluster = Cluster::start().await;
    let (peers, observer) = (cluster.peers("$nodes"), cluster.observer());
    let mut random = random::of_this_run("bank");
    let opened =
        (0..ACCOUNTS).fold(Txn::new(), |txn, number| txn.then(Op::set(account(number), EACH.to_string())));
    let opened = observer.commit(opened).await?.revision;
    let begun = Instant::now();
    let left = Arc::new(AtomicUsize::new(transfers));
    let mut tellers = JoinSet::new();
    for name in clients {
        let driver = Arc::new(Driver::start(name, places).await?);
        for caller in 1..=CALLERS {
            let line = Line::new("open").with("client", caller).with("peers", &peers);
            let answer = driver.call(&line.with("timeout_ms", TIMEOUT_MS)).await?;
            ensure!(answer.kind().is_none(), "{name}: {answer}");
            let teller = Teller {
                driver: driver.clone(),
                name: name.clone(),
                caller,
                random: random::seeded(random.word()),
            };
            tellers.spawn(teller.work(left.clone()));
        }
    }
    let all = async {
        let (mut made, mut refused) = (0, 0);
        while let Some(done) = tellers.join_next().await {
            let (of_made, of_refused) = done??;
            made += of_made;
            refused += of_refused;
        }
        anyhow::Ok((made, refused))
    };
    let (done, kills) = cluster.kill_leaders_during(every, all).await;
    let (made, refused) = done?;
    let took = begun.elapsed();
    let revisions = check(&observer, opened, made).await?;
    Ok(Banked { made, refused, kills, revisions, took })
}

/// A caller of a client.
struct Teller {
    driver: Arc<Driver>,
    name: String,
    caller: u64,
    random: Random,
}

impl Teller {
    /// Makes transfers until none is left; returns how many were made and how many refused.
    async fn work(mut self, left: Arc<AtomicUsize>) -> anyhow::Result<(usize, usize)> {
        let (mut made, mut refused) = (0, 0);
        let take = |left: usize| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let from = self.random.below(ACCOUNTS);
            let to = (from + 1 + self.random.below(ACCOUNTS - 1)) % ACCOUNTS;
            let note = format!("bank/moved/{}/{}/{}", self.name, self.caller, made + refused);
            let line = Line::new("transfer")
                .with("client", self.caller)
                .with_bytes("from", account(from).as_bytes())
                .with_bytes("to", account(to).as_bytes())
                .with("amount", 1 + self.random.below(AMOUNT_MAX))
                .with_bytes("note", note.as_bytes());
            let answer = self.driver.call(&line).await?;
            let Answer::Ok(fields) = &answer else { anyhow::bail!("{}: {answer}", self.name) };
            match fields.get("moved").map(String::as_str) {
                Some("true") => made += 1,
                Some("false") => refused += 1,
                _ => anyhow::bail!("{}: {answer}", self.name),
            }
        }
        Ok((made, refused))
    }
}

/// The balances at a revision, ascending by account.
async fn balances(observer: &Client, revision: u64) -> anyhow::Result<Vec<u64>> {
    let page = observer.range(Range::prefix("bank/account/").at_revision(revision)).await?;
    page.entries.iter().map(|entry| Ok(std::str::from_utf8(&entry.value)?.parse()?)).collect()
}

/// Checks the notes of all transfers, and the accounts at many revisions; returns the number of these.
async fn check(observer: &Client, opened: u64, made: usize) -> anyhow::Result<usize> {
    // By revision: from, to and amount.
    let mut moved = BTreeMap::new();
    let mut notes = observer.scan(Range::prefix("bank/moved/"));
    while let Some(entry) = notes.next().await {
        let entry = entry?;
        ensure!(entry.version == 1, "a transfer was made twice: {entry:?}");
        let note = String::from_utf8(entry.value.to_vec())?;
        let parts: Vec<&str> = note.split(' ').collect();
        let [from, to, amount] = parts[..] else { anyhow::bail!("no transfer: {note:?}") };
        moved.insert(entry.mod_revision, (from.to_owned(), to.to_owned(), amount.parse::<u64>()?));
    }
    ensure!(moved.len() == made, "{made} transfers were acknowledged, {} were noted", moved.len());
    let mut expected: BTreeMap<String, u64> = (0..ACCOUNTS).map(|number| (account(number), EACH)).collect();
    let last = moved.last_key_value().map_or(opened, |(revision, _)| *revision);
    let step = ((last - opened) / REVISIONS).max(1);
    let mut revisions = 0;
    let mut transfers = moved.into_iter().peekable();
    for revision in (opened..=last).step_by(usize::try_from(step)?) {
        while let Some((_, (from, to, amount))) = transfers.next_if(|(at, _)| *at <= revision) {
            let payer = expected.get_mut(&from).context("an account")?;
            *payer = payer.checked_sub(amount).with_context(|| format!("{from} had too little"))?;
            *expected.get_mut(&to).context("an account")? += amount;
        }
        let found = balances(observer, revision).await?;
        ensure!(found.iter().sum::<u64>() == ACCOUNTS * EACH, "the sum at {revision} is wrong: {found:?}");
        ensure!(found.iter().eq(expected.values()), "at {revision}: {found:?}, not {expected:?}");
        revisions += 1;
    }
    Ok(revisions)
}
