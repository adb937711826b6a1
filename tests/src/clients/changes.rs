//! Exactly once while members change: a node with an empty disk joins, it is promoted, another member is removed, and so
//! on, with a kill in one of every three changes.
//!
//! Meanwhile every client makes increments, and many keys are set. In the end each counter must have the sum of the
//! acknowledged increments, and each key, on every member, its last acknowledged value at the version of so many sets.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use gometa_client::{Client, ReadOptions, Role};
use tokio::task::{JoinHandle, JoinSet};

use super::{
    Places,
    counters::{Counting, Sum, are_exact, begin},
};
use crate::{
    ensemble::Ensemble,
    members,
    random::{self, Random},
    wait::{PATIENCE, until},
};

/// The nodes; those that are no members wait for their turn to join.
const NODES: usize = 5;
/// The members at first, whose addresses are all that the clients are given.
const FOUNDERS: usize = 3;
/// Changes that repeat: a node joins, is promoted, another one is removed.
const ROUND: u64 = 3;
/// The longest time from a change's begin to its kill, in milliseconds.
const KILL_AFTER_MS_MAX: u64 = 200;
/// How often the leader is chosen in particular, to be killed or removed.
const LEADER_PERCENT: u8 = 40;
/// The pause of a caller between two increments, and of a task between two sets: a light load.
const PAUSE: Duration = Duration::from_millis(10);
/// The timeout of a set, far longer than an election.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The timeout of one attempt of a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// The number of tasks that set keys, and of those that read them in the end.
const TASKS: u64 = 8;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// The number of changes.
    pub changes: u64,
    /// The number of keys.
    pub keys: u64,
    /// Determines the changes and the kills, but not their timing.
    pub seed: u64,
}

/// The counts of a run.
#[derive(Clone, Default, Debug)]
pub struct Churned {
    joins: u64,
    promotions: u64,
    removals: u64,
    leaders_removed: u64,
    kills: u64,
    leaders_killed: u64,
    time: Duration,
    keys: u64,
    sets: u64,
    longest: Duration,
    /// The members in the end, on each of which every key was read.
    members: usize,
}

impl fmt::Display for Churned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Churned { joins, promotions, removals, leaders_removed, kills, leaders_killed, .. } = self;
        let Churned { time, keys, sets, longest, members, .. } = self;
        write!(
            f,
            "{} changes in {:.0} s: {joins} nodes with an empty disk joined, {promotions} were promoted, {removals} members \
             were removed, {leaders_removed} of these the leader; {kills} kills, {leaders_killed} of the leader\n{sets} sets \
             of {keys} keys, the longest took {longest:.1?}, 0 failed; on each of {members} members 0 lost, 0 executed twice",
            joins + promotions + removals,
            time.as_secs_f64(),
        )
    }
}

/// Lets all clients count, each on its own counter, until the members have changed so many times.
///
/// # Errors
/// If a sum or a key is wrong.
///
/// # Panics
/// If a call fails or a condition does not come true; the directories and logs of the nodes are kept then.
pub async fn exactly_once_under_changes(
    places: &Places<'_>,
    clients: &[String],
    churn: Churn,
) -> anyhow::Result<(Vec<Sum>, Churned)> {
    let mut changing = Changing::start(churn.seed).await;
    let founders: Vec<String> = (0..FOUNDERS).map(|node| changing.ensemble.request(node)).collect();
    let observer = changing.ensemble.client(TIMEOUT);
    let sets = Sets::start(&observer, churn.keys).await?;
    let (mut running, mut all) = (JoinSet::new(), Vec::new());
    for name in clients {
        let counting = Counting::new(usize::MAX, PAUSE);
        running.spawn(begin(name, places, &observer, &founders.join(","), counting.clone()).await?);
        all.push(counting);
    }
    let begun = Instant::now();
    tokio::select! {
        () = changing.changes(churn.changes, &all) => {}
        Some(ended) = running.join_next() => panic!("a client has ended: {:?}", ended.map(|sum| sum.map(|sum| sum.client))),
    }
    changing.churned.time = begun.elapsed();
    all.iter().for_each(|counting| counting.stop.store(true, Relaxed));
    let mut sums = Vec::new();
    while let Some(sum) = running.join_next().await {
        sums.push(sum?.unwrap_or_else(|error| panic!("a client: {error:#}")));
    }
    sums.sort_by_key(|sum| clients.iter().position(|client| *client == sum.client));
    let rounds = sets.stop().await;
    changing.ensemble.converged(&changing.voters()).await;
    let mut churned = changing.churned.clone();
    (churned.keys, churned.sets, churned.longest) = (churn.keys, rounds.sets(), rounds.longest());
    let members: Vec<usize> = changing.voters.iter().copied().chain(changing.learner).collect();
    churned.members = members.len();
    for node in members {
        let reader = changing.ensemble.client_of(node, TIMEOUT);
        rounds.are_kept(&reader).await.with_context(|| format!("node {node}"))?;
    }
    are_exact(&sums, &observer).await?;
    Ok((sums, churned))
}

/// An ensemble whose members change.
struct Changing {
    ensemble: Ensemble,
    random: Random,
    /// The client that promotes and removes.
    client: Client,
    voters: Vec<usize>,
    learner: Option<usize>,
    outside: Vec<usize>,
    churned: Churned,
}

impl Changing {
    async fn start(seed: u64) -> Changing {
        let mut ensemble = members::prepare(NODES, FOUNDERS);
        (0..FOUNDERS).for_each(|node| ensemble.spawn(node));
        for node in 0..FOUNDERS {
            ensemble.ready(node).await;
        }
        Changing {
            client: ensemble.client(CHANGE_TIMEOUT),
            ensemble,
            random: random::seeded(seed),
            voters: (0..FOUNDERS).collect(),
            learner: None,
            outside: (FOUNDERS..NODES).collect(),
            churned: Churned::default(),
        }
    }

    /// Makes these changes one after the other. After each, all members serve, and every client has counted on.
    async fn changes(&mut self, count: u64, clients: &[Arc<Counting>]) {
        let mut kills_at = 0;
        for change in 0..count {
            let step = change % ROUND;
            if step == 0 {
                kills_at = self.random.below(ROUND.min(count - change));
            }
            let kills = step == kills_at;
            match step {
                0 => self.joins(kills).await,
                1 => self.is_promoted(kills).await,
                _ => self.is_removed(kills).await,
            }
            for node in &self.voters {
                let serves = [Role::Leading, Role::Following];
                let what = "is a voter that serves";
                self.ensemble
                    .status_when(*node, what, |status| status.votes && serves.contains(&status.role))
                    .await;
            }
            let made: Vec<usize> = clients.iter().map(|client| client.made.load(Relaxed)).collect();
            until("every client counts on", PATIENCE, || async {
                let now = clients.iter().map(|client| client.made.load(Relaxed));
                let waits = now.zip(&made).position(|(now, before)| now <= *before);
                waits.map_or(Ok(()), |client| Err(format!("client {client} is at {}", made[client])))
            })
            .await;
        }
    }

    /// A node that is no member starts with an empty disk, and joins.
    async fn joins(&mut self, kills: bool) {
        let node = self.outside.swap_remove(self.random.below(self.outside.len() as u64) as usize);
        if self.ensemble.data(node).exists() {
            self.ensemble.wipe(node);
        }
        members::join_through(&self.ensemble, node, &self.voters);
        self.ensemble.spawn(node);
        self.learner = Some(node);
        if kills {
            self.kills().await;
        }
        self.ensemble.status_when(node, "is a learner", |status| status.role == Role::Learning).await;
        self.churned.joins += 1;
    }

    /// The learner becomes a voter.
    async fn is_promoted(&mut self, kills: bool) {
        let node = self.learner.expect("a node has joined");
        let id = self.id(node).await;
        let client = self.client.clone();
        let change = attempts("a learner is promoted", move || {
            let client = client.clone();
            async move { client.promote_member(id, None).await.map(drop) }
        });
        if kills {
            self.kills().await;
        }
        change.await.expect("the promotion succeeds");
        self.learner = None;
        self.voters.push(node);
        self.churned.promotions += 1;
    }

    /// Another member is removed, and its process is killed.
    async fn is_removed(&mut self, kills: bool) {
        let newest = self.voters.last().copied();
        let leader = self.ensemble.leader_among(&self.voters).await;
        let others: Vec<usize> = self.voters.iter().copied().filter(|node| Some(*node) != newest).collect();
        let node = if self.random.percent(LEADER_PERCENT) && Some(leader) != newest {
            leader
        } else {
            others[self.random.below(others.len() as u64) as usize]
        };
        let id = self.id(node).await;
        let client = self.client.clone();
        let change = attempts("a member is removed", move || {
            let client = client.clone();
            async move { client.remove_member(id, None).await.map(drop) }
        });
        if kills {
            self.kills().await;
        }
        change.await.expect("the removal succeeds");
        self.ensemble.kill(node);
        self.voters.retain(|voter| *voter != node);
        self.outside.push(node);
        self.churned.removals += 1;
        self.churned.leaders_removed += u64::from(node == leader);
    }

    /// Kills a member with SIGKILL, a moment after a change has begun, and starts it at once.
    async fn kills(&mut self) {
        // The moment is part of the fault.
        let after = Duration::from_millis(self.random.below(KILL_AFTER_MS_MAX + 1));
        tokio::time::sleep(after).await;
        let leader = self.ensemble.leader_among(&self.voters).await;
        let members: Vec<usize> = self.voters.iter().copied().chain(self.learner).collect();
        let node = if self.random.percent(LEADER_PERCENT) {
            leader
        } else {
            members[self.random.below(members.len() as u64) as usize]
        };
        self.ensemble.kill(node);
        self.ensemble.spawn(node);
        self.churned.kills += 1;
        self.churned.leaders_killed += u64::from(node == leader);
    }

    async fn id(&self, node: usize) -> u64 {
        until("a member is listed", PATIENCE, || members::id(&self.ensemble, &self.client, node)).await
    }

    fn voters(&self) -> Vec<usize> {
        self.voters.clone()
    }
}

/// Repeats a change until it succeeds: it is refused as long as too few members are up to date.
fn attempts<F>(what: &'static str, change: impl Fn() -> F + Send + Sync + 'static) -> JoinHandle<()>
where
    F: Future<Output = gometa_client::Result<()>> + Send,
{
    tokio::spawn(async move {
        until(what, PATIENCE, || {
            let changed = change();
            async { changed.await.map_err(|error| error.to_string()) }
        })
        .await;
    })
}

/// Tasks that set keys, each its own ones, so that the last value of each is known.
struct Sets {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Rounds>,
}

/// The acknowledged sets of each key; the last one has set the number of those before.
struct Rounds {
    keys: Vec<(String, u64)>,
    longest: Duration,
}

impl Sets {
    /// Sets each key once, then goes on at a light load.
    async fn start(client: &Client, keys: u64) -> anyhow::Result<Sets> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut founding = JoinSet::new();
        for task in 0..TASKS {
            let own = (0..keys).skip(task as usize).step_by(TASKS as usize);
            let mut rounds = Rounds {
                keys: own.map(|number| (format!("changes/{number:08}"), 0)).collect(),
                longest: Duration::ZERO,
            };
            let client = client.clone();
            founding.spawn(async move {
                for place in 0..rounds.keys.len() {
                    rounds.set(place, &client).await;
                }
                rounds
            });
        }
        let mut tasks = JoinSet::new();
        while let Some(rounds) = founding.join_next().await {
            let (mut rounds, client, stop) = (rounds?, client.clone(), stop.clone());
            tasks.spawn(async move {
                for place in (0..rounds.keys.len()).cycle() {
                    if stop.load(Relaxed) {
                        break;
                    }
                    rounds.set(place, &client).await;
                    tokio::time::sleep(PAUSE).await;
                }
                rounds
            });
        }
        Ok(Sets { stop, tasks })
    }

    /// Waits for the last sets.
    async fn stop(self) -> Rounds {
        self.stop.store(true, Relaxed);
        let mut all = Rounds { keys: Vec::new(), longest: Duration::ZERO };
        for rounds in self.tasks.join_all().await {
            all.keys.extend(rounds.keys);
            all.longest = all.longest.max(rounds.longest);
        }
        all
    }
}

impl Rounds {
    async fn set(&mut self, place: usize, client: &Client) {
        let (key, round) = &mut self.keys[place];
        let begun = Instant::now();
        let set = client.set(&*key, round.to_string()).await;
        set.unwrap_or_else(|error| panic!("set {key} after {round} others: {error}"));
        *round += 1;
        self.longest = self.longest.max(begun.elapsed());
    }

    fn sets(&self) -> u64 {
        self.keys.iter().map(|(_, rounds)| rounds).sum()
    }

    fn longest(&self) -> Duration {
        self.longest
    }

    /// Checks that a node has the last value of each key, and has executed each set once.
    async fn are_kept(&self, reader: &Client) -> anyhow::Result<()> {
        let mut reading = JoinSet::new();
        for chunk in self.keys.chunks(self.keys.len().div_ceil(TASKS as usize).max(1)) {
            let (reader, chunk) = (reader.clone(), chunk.to_vec());
            reading.spawn(async move {
                for (key, rounds) in chunk {
                    let entry =
                        reader.get_with(&key, ReadOptions::local()).await.with_context(|| key.clone())?;
                    let last = (rounds - 1).to_string();
                    ensure!(
                        entry.value == last && entry.version == rounds,
                        "{key} was set {rounds} times, to {last} at last: {entry:?}"
                    );
                }
                Ok(())
            });
        }
        let failures: Vec<String> = reading
            .join_all()
            .await
            .into_iter()
            .filter_map(|read| read.err().map(|e| format!("{e:#}")))
            .collect();
        if failures.is_empty() { Ok(()) } else { bail!("lost or executed twice: {}", failures.join("; ")) }
    }
}
