//! After the faults: everything that was promised is compared with what the nodes have.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use gometa_client::{Client, Entry, ErrorKind, ReadOptions};
use gometa_sim::history::{Action, Answer, Operation, Verdict, check};
use tokio::task::JoinSet;

use super::{
    tally::Tally,
    workload::{COUNTER, Promises, Shared, answer, by_key, hits_key, value_of},
};
use crate::ensemble::Ensemble;

/// Steps that the checker may take for one key.
const BUDGET: u64 = 5_000_000;
/// Reads in flight together.
const TOGETHER: usize = 64;
/// For a healthy ensemble this is far too long: a call that fails is a fault.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Judges an ensemble that is healthy again and whose clients have stopped.
pub(super) async fn judge(
    ensemble: &Ensemble,
    shared: &Shared,
    promises: &[Promises],
    clients: usize,
    tally: &mut Tally,
) {
    tally.violations.extend(shared.violations());
    // Same revision, same state hash; panics where they differ.
    ensemble.converged(&ensemble.all()).await;
    let readers: Vec<Client> = ensemble.all().iter().map(|node| ensemble.client_of(*node, TIMEOUT)).collect();
    for (node, reader) in readers.iter().enumerate() {
        kept(node, reader, promises, tally).await;
    }
    histories(&readers, shared, promises, tally).await;
    counters(&readers[0], promises, clients, tally).await;
}

/// Every acknowledged write is on this node, and none of unknown outcome happened twice.
async fn kept(node: usize, reader: &Client, promises: &[Promises], tally: &mut Tally) {
    let sure = promises.iter().flat_map(|promises| &promises.written);
    let sure = sure.map(|(key, revision)| (key.clone(), Some(*revision)));
    let doubtful = promises.iter().flat_map(|promises| &promises.doubtful).map(|key| (key.clone(), None));
    let keys: Vec<(String, Option<u64>)> = sure.chain(doubtful).collect();
    let mut flying = JoinSet::new();
    for chunk in keys.chunks(keys.len().div_ceil(TOGETHER).max(1)) {
        let (reader, chunk) = (reader.clone(), chunk.to_vec());
        flying.spawn(async move {
            let mut amiss = Vec::new();
            for (key, revision) in chunk {
                let options = ReadOptions::local().with_min_revision(revision.unwrap_or(0));
                let read = reader.get_with(&key, options).await;
                if let Some(what) = difference(&key, revision, read) {
                    amiss.push((what, revision.is_some()));
                }
            }
            amiss
        });
    }
    for (what, sure) in flying.join_all().await.concat() {
        tally.lost += u64::from(sure);
        tally.violations.push(format!("node {node}: {what}"));
    }
    tally.looked_for += keys.iter().filter(|(_, revision)| revision.is_some()).count() as u64;
}

/// What is wrong with a key that was written once, at this revision if it was acknowledged.
fn difference(key: &str, revision: Option<u64>, read: gometa_client::Result<Entry>) -> Option<String> {
    match (read, revision) {
        (Ok(entry), _) => {
            let fits = entry.value == key.as_bytes()
                && entry.version == 1
                && revision.is_none_or(|revision| revision == entry.mod_revision);
            (!fits).then(|| format!("{key}, written once at {revision:?}, is {entry:?}"))
        }
        (Err(error), Some(revision)) => Some(format!("{key}, acknowledged at revision {revision}: {error}")),
        (Err(error), None) if error.kind() == ErrorKind::NotFound => None,
        (Err(error), None) => Some(format!("{key}, of unknown outcome: {error}")),
    }
}

/// The histories of shared keys, each ended by a read through every node, are legal; local reads have seen nothing
/// that was never there.
async fn histories(readers: &[Client], shared: &Shared, promises: &[Promises], tally: &mut Tally) {
    let mut histories = by_key(promises);
    for (key, operations) in &mut histories {
        for reader in readers {
            let called = shared.now();
            let answer = answer(reader, shared, key, Action::Get).await;
            let Some(answer) = answer else {
                tally.violations.push(format!("{key} cannot be read of a healthy ensemble"));
                continue;
            };
            operations.push(Operation { called, answered: shared.now(), action: Action::Get, answer });
        }
    }
    local_reads(&histories, promises, tally);
    for (key, operations) in histories {
        tally.histories += 1;
        match check(&operations, BUDGET) {
            Verdict::Linearizable => {}
            Verdict::Illegal => {
                tally.illegal += 1;
                tally.violations.push(format!("{key} has no legal order: {operations:?}"));
            }
            Verdict::Unverified => tally.unverified += 1,
        }
    }
}

/// Whatever a node answered on its own stood at that revision: the write that made it wrote that value.
fn local_reads(histories: &BTreeMap<String, Vec<Operation>>, promises: &[Promises], tally: &mut Tally) {
    // By key and revision, what was there; by key and value, who may have written it.
    let mut made: HashMap<(&str, u64), u64> = HashMap::new();
    let mut tried: HashMap<(&str, u64), Answer> = HashMap::new();
    for (key, operations) in histories {
        for operation in operations {
            let (Action::Set { value } | Action::Add { value } | Action::Cas { value, .. }) =
                operation.action
            else {
                continue;
            };
            tried.insert((key, value), operation.answer);
            if let Answer::Written { revision } = operation.answer {
                made.insert((key, revision), value);
            }
        }
    }
    for (key, revision, value) in promises.iter().flat_map(|promises| &promises.seen) {
        let fits = match tried.get(&(key.as_str(), *value)) {
            Some(Answer::Written { revision: at }) => at == revision,
            Some(Answer::Unknown) => !made.contains_key(&(key.as_str(), *revision)),
            _ => false,
        };
        if !fits {
            tally
                .violations
                .push(format!("a local read found {key} = {value} at {revision}: nobody wrote that"));
        }
    }
}

/// Counters are where the acknowledged writes have brought them, and no further than the unknown ones may have.
async fn counters(reader: &Client, promises: &[Promises], clients: usize, tally: &mut Tally) {
    let sum = |of: fn(&Promises) -> (u64, u64)| {
        promises.iter().map(of).fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
    };
    let mut compare = |name: &str, at: Option<u64>, (acknowledged, unknown): (u64, u64)| {
        let fits = at.is_some_and(|at| (acknowledged..=acknowledged + unknown).contains(&at));
        if !fits {
            tally.violations.push(format!(
                "{name} is at {at:?} after {acknowledged} acknowledged and {unknown} unknown writes"
            ));
        }
    };
    let counter = reader.get(COUNTER).await.ok();
    compare(COUNTER, counter.as_ref().and_then(value_of), sum(|promises| promises.raises));
    // All clients together: each promise was checked against its own client's counter when it was given.
    let mut hits = Some(0);
    for client in 0..clients {
        let version = match reader.get(hits_key(client)).await {
            Ok(entry) => Some(entry.version),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(0),
            Err(_) => None,
        };
        hits = hits.zip(version).map(|(hits, version)| hits + version);
    }
    compare("the sum of the clients' counters", hits, sum(|promises| promises.hits));
}
