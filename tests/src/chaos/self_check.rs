//! Tests of the checks themselves: cases with a violation, which has to be found.
//!
//! - Forged evidence: the results of a healthy ensemble's clients are checked with one change.
//! - Old images: all nodes get back older copies of their directories, and so lose what they have
//!   acknowledged since. No node can detect that; the checks must.
//! - Dropped syncs of the log: syncs of the write-ahead log and of the mark of its length have no effect, and
//!   all power is cut. No node can detect that.
//! - Dropped syncs of all files: mostly the nodes find their directories damaged, and come back without
//!   a vote, or refuse to start.

use std::time::Duration;

use gometa_sim::history::{Action, Answer, Operation};

use super::{
    cluster::{Cluster, Outputs},
    disk_faults::{QUARANTINED, copy, remove},
    images,
    judge::Evidence,
    tally::{SharedTally, Tally},
    task::caught,
    workload::by_key,
};
use crate::{random, wait::until};

/// The minimum number of acknowledged writes to be lost.
const LOST_MIN: usize = 300;
/// The deadline for that many acknowledgements, and for a node to start or refuse.
const WORK_MAX: Duration = Duration::from_secs(60);

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The violation.
    pub name: String,
    /// How it was found; an error if it was not.
    pub found: Result<String, String>,
}

/// Runs all cases; those that need disk images or the library only if the machine has them.
pub async fn self_check(seed: u64) -> Vec<Case> {
    images::report_leftovers();
    let mut random = random::seeded(seed);
    let mut cases = Vec::new();
    let seeds: Vec<u64> = (0..4).map(|_| random.word()).collect();
    let failed = |name: &str, error| vec![Case { name: name.to_owned(), found: Err(error) }];
    let forged = caught(forgeries(seeds[0])).await;
    cases.extend(forged.unwrap_or_else(|error| failed("forged evidence", error)));
    let old = caught(old_images(seeds[1])).await;
    cases.extend(old.unwrap_or_else(|error| failed("old images of all nodes", error)));
    for (seed, whole) in [(seeds[2], false), (seeds[3], true)] {
        let lied = caught(lies(seed, whole)).await;
        cases.extend(lied.unwrap_or_else(|error| failed("disks that lie", error)));
    }
    cases
}

/// The name of a forgery, the change, and the check that must find it.
type Forgery = (&'static str, fn(&mut Evidence, u64) -> Option<()>, fn(&Tally) -> bool);

const FORGERIES: [Forgery; 8] = [
    ("an acknowledged write that is on no node", nowhere, |verdict| verdict.lost == 3),
    ("an acknowledged write at another revision", elsewhere, |verdict| verdict.lost == 3),
    ("a read of what was overwritten before", stale, |verdict| verdict.illegal == 1),
    ("a value that was read and never written", unwritten, |verdict| verdict.illegal == 1),
    ("an acknowledged compare-and-swap that met another revision", swapped, |verdict| verdict.illegal == 1),
    ("a local read of what was never there", never, |verdict| says(verdict, "never written")),
    ("an acknowledged step of the shared counter too many", raised, |verdict| says(verdict, "counter is at")),
    ("an acknowledged set of an own counter too many", hit, |verdict| {
        says(verdict, "clients' counters is at")
    }),
];

fn says(verdict: &Tally, words: &str) -> bool {
    verdict.violations.iter().any(|violation| violation.contains(words))
}

fn nowhere(evidence: &mut Evidence, _: u64) -> Option<()> {
    let revision = evidence.written.last()?.1;
    evidence.written.push(("own/nobody/0".to_owned(), revision));
    Some(())
}

fn elsewhere(evidence: &mut Evidence, _: u64) -> Option<()> {
    let middle = evidence.written.len() / 2;
    evidence.written.get_mut(middle)?.1 -= 1;
    Some(())
}

/// Returns the value and the revision that an acknowledged write has made.
fn made(operation: &Operation) -> Option<(u64, u64)> {
    match (operation.action, operation.answer) {
        (
            Action::Set { value } | Action::Add { value } | Action::Cas { value, .. },
            Answer::Written { revision },
        ) => Some((value, revision)),
        _ => None,
    }
}

fn stale(evidence: &mut Evidence, now: u64) -> Option<()> {
    let (key, (value, revision)) = by_key(&evidence.promises).into_iter().find_map(|(key, operations)| {
        let overwritten = operations.iter().find(|first| {
            made(first).is_some()
                && operations.iter().any(|later| made(later).is_some() && later.called > first.answered)
        })?;
        Some((key, made(overwritten)?))
    })?;
    let answer = Answer::Found { value, revision };
    let read = Operation { called: now, answered: now + 1, action: Action::Get, answer };
    evidence.promises.first_mut()?.history.push((key, read));
    Some(())
}

fn unwritten(evidence: &mut Evidence, _: u64) -> Option<()> {
    let read =
        by_key(&evidence.promises).into_values().flatten().find_map(|operation| match operation.answer {
            Answer::Found { value, .. } => Some(value),
            _ => None,
        })?;
    for promises in &mut evidence.promises {
        promises.history.retain(|(_, operation)| made(operation).is_none_or(|(value, _)| value != read));
        promises.seen.retain(|(.., value)| *value != read);
    }
    Some(())
}

fn swapped(evidence: &mut Evidence, _: u64) -> Option<()> {
    let mut all = evidence.promises.iter_mut().flat_map(|promises| &mut promises.history);
    all.find_map(|(_, operation)| match (operation.action, operation.answer) {
        // Expected revision 0 may be right if the key was absent meanwhile.
        (Action::Cas { expected: 1.., .. }, Answer::Conflict { actual: actual @ 1.. }) => {
            operation.answer = Answer::Written { revision: actual + 1 };
            Some(())
        }
        _ => None,
    })
}

fn never(evidence: &mut Evidence, _: u64) -> Option<()> {
    let (key, revision) = evidence
        .promises
        .iter()
        .flat_map(|promises| &promises.seen)
        .next()
        .map(|(key, revision, _)| (key.clone(), *revision))?;
    evidence.promises.first_mut()?.seen.push((key, revision, u64::MAX));
    Some(())
}

fn raised(evidence: &mut Evidence, _: u64) -> Option<()> {
    let unknown: u64 = evidence.promises.iter().map(|promises| promises.raises.1).sum();
    evidence.promises.first_mut()?.raises.0 += unknown + 1;
    Some(())
}

fn hit(evidence: &mut Evidence, _: u64) -> Option<()> {
    let unknown: u64 = evidence.promises.iter().map(|promises| promises.hits.1).sum();
    evidence.promises.first_mut()?.hits.0 += unknown + 1;
    Some(())
}

/// Applies each forgery to the results of one ensemble's clients, which include a change of the leader.
async fn forgeries(seed: u64) -> Vec<Case> {
    let mut cluster = Cluster::start(seed, Outputs::Kept, &SharedTally::default()).await;
    work(&cluster).await;
    let leader = cluster.ensemble.leader().await;
    cluster.kill(&[leader]).await;
    work(&cluster).await;
    cluster.whole().await;
    let evidence = cluster.stop().await;
    let honest = cluster.verdict(&evidence).await;
    let found = if honest.is_clean() && honest.unverified == 0 {
        Ok("nothing is found, as it should be".to_owned())
    } else {
        Err(format!("{honest:?}"))
    };
    let mut cases = vec![Case { name: "nothing".to_owned(), found }];
    for (name, forge, caught_by) in FORGERIES {
        let mut forged = evidence.clone();
        let found = match forge(&mut forged, cluster.now()) {
            None => Err("the history has no place for it".to_owned()),
            Some(()) => {
                let verdict = cluster.verdict(&forged).await;
                if caught_by(&verdict) { Ok(described(&verdict)) } else { Err(format!("{verdict:?}")) }
            }
        };
        cases.push(Case { name: name.to_owned(), found });
    }
    cases
}

/// Waits until the clients have received more acknowledgements.
async fn work(cluster: &Cluster) {
    let before = cluster.written().len();
    until("acknowledged writes", WORK_MAX, || async {
        let done = cluster.written().len() - before;
        if done >= LOST_MIN { Ok(()) } else { Err(format!("{done}")) }
    })
    .await;
}

/// Describes the violations of a verdict.
fn described(verdict: &Tally) -> String {
    let Tally { lost, illegal, .. } = verdict;
    let others = verdict.violations.len() as u64 - (lost + illegal).min(verdict.violations.len() as u64);
    let named =
        [(*lost, "lost writes (on all nodes together)"), (*illegal, "illegal histories"), (others, "others")];
    let said = named.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}"));
    format!("violations: {}", said.collect::<Vec<_>>().join(", "))
}

async fn old_images(seed: u64) -> Vec<Case> {
    let mut cluster = Cluster::start(seed, Outputs::Kept, &SharedTally::default()).await;
    work(&cluster).await;
    let everyone = cluster.ensemble.all();
    let old = |node: usize| cluster.ensemble.scratch().join(format!("old-{node}"));
    everyone.iter().for_each(|node| cluster.ensemble.pause(*node));
    for node in &everyone {
        cluster.stopped(*node).await;
        copy(&cluster.data(*node), &old(*node));
    }
    everyone.iter().for_each(|node| cluster.ensemble.resume(*node));
    let olds: Vec<_> = everyone.iter().map(|node| old(*node)).collect();
    work(&cluster).await;
    for (node, old) in everyone.iter().zip(olds) {
        cluster.ensemble.kill(*node);
        remove(&cluster.data(*node));
        copy(&old, &cluster.data(*node));
    }
    cluster.restart(&everyone).await;
    let found = lost(&mut cluster, &[]).await;
    vec![Case { name: "old images of all nodes".to_owned(), found }]
}

/// Drops all syncs (or those of the log and its mark), and cuts all power.
async fn lies(seed: u64, about_all: bool) -> Vec<Case> {
    let name = if about_all {
        "disks that lie, and a power cut"
    } else {
        "disks that lie of the log, and a power cut"
    };
    let mut cluster = Cluster::start(seed, Outputs::Kept, &SharedTally::default()).await;
    if !cluster.has_all_means() {
        return Vec::new();
    }
    work(&cluster).await;
    let everyone = cluster.ensemble.all();
    for node in &everyone {
        let set = cluster.library().break_syncs(*node, if about_all { "lie" } else { "lie-log" });
        set.unwrap_or_else(|error| panic!("lying disks: {error}"));
    }
    work(&cluster).await;
    cluster.images().cut_power(&everyone).unwrap_or_else(|error| panic!("the power cut: {error}"));
    let mut found_damage = Vec::new();
    for node in &everyone {
        cluster.ensemble.kill(*node);
        assert!(cluster.library().heal_syncs(*node) > 0, "node {node} has synced nothing");
        cluster.images().repair(*node).unwrap_or_else(|error| panic!("the power cut: {error}"));
    }
    everyone.iter().for_each(|node| cluster.spawn(*node));
    // Without a majority no node becomes ready.
    until("all nodes are ready or a majority has found damage", WORK_MAX, || async {
        let damaged = |node: usize| {
            cluster.ensemble.process(node).ended().is_some()
                || cluster.ensemble.log(node).contains(QUARANTINED)
        };
        let damaged = everyone.iter().filter(|node| damaged(**node)).count();
        let ready =
            everyone.iter().filter(|node| cluster.ensemble.process(**node).out().contains("GOMETA READY"));
        let ready = ready.count();
        if 2 * damaged > everyone.len() || damaged + ready >= everyone.len() {
            Ok(())
        } else {
            Err(format!("{damaged} have found damage, {ready} are ready"))
        }
    })
    .await;
    for node in &everyone {
        if let Some(status) = cluster.ensemble.process(*node).ended() {
            found_damage.push(cluster.last_words(*node, status, "a power cut on disks that lie"));
        } else if let Some(line) = cluster.ensemble.log(*node).lines().find(|line| line.contains(QUARANTINED))
        {
            found_damage.push(line.to_owned());
        }
    }
    let found = lost(&mut cluster, &found_damage).await;
    vec![Case { name: name.to_owned(), found }]
}

/// Returns what the nodes have found, or, if all serve, what the checks have found.
async fn lost(cluster: &mut Cluster, found_damage: &[String]) -> Result<String, String> {
    if let Some(first) = found_damage.first() {
        return Ok(format!("{} nodes have found damage; the first one: {first}", found_damage.len()));
    }
    cluster.whole().await;
    let evidence = cluster.stop().await;
    let verdict = cluster.verdict(&evidence).await;
    if verdict.lost > 0 {
        Ok(format!("all nodes start; {}", described(&verdict)))
    } else {
        Err(format!("{verdict:?}"))
    }
}
