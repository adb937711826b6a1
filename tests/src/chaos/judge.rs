//! The final check: the results that clients received are compared with the data of all nodes.

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

/// The maximum number of steps of the linearizability checker for one key.
const BUDGET: u64 = 5_000_000;
/// The number of concurrent reads.
const TOGETHER: usize = 64;
/// The timeout of a call, far longer than a healthy ensemble takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The results that all clients received.
#[derive(Clone, Default)]
pub(super) struct Evidence {
    /// The number of clients.
    pub(super) clients: usize,
    /// The results of each lane of each client.
    pub(super) promises: Vec<Promises>,
    /// Acknowledged writes of keys that are written once, with their revisions.
    pub(super) written: Vec<(String, u64)>,
}

/// Checks an ensemble that has recovered and whose clients have stopped.
pub(super) async fn judge(ensemble: &Ensemble, shared: &Shared, evidence: &Evidence, tally: &mut Tally) {
    tally.violations.extend(shared.violations());
    // Panics if two nodes have different state hashes at the same revision.
    let statuses = ensemble.converged(&ensemble.all()).await;
    let readers: Vec<Client> = ensemble.all().iter().map(|node| ensemble.client_of(*node, TIMEOUT)).collect();
    tally.looked_for += evidence.written.len() as u64;
    for (node, reader) in readers.iter().enumerate() {
        kept(node, reader, statuses[node].applied_revision, evidence, tally).await;
    }
    histories(&readers, shared, &evidence.promises, tally).await;
    counters(&readers[0], &evidence.promises, evidence.clients, tally).await;
}

/// Checks that a node, which has applied everything through revision `last`, has every acknowledged write, and has
/// executed none of unknown outcome twice.
async fn kept(node: usize, reader: &Client, last: u64, evidence: &Evidence, tally: &mut Tally) {
    let (there, beyond): (Vec<_>, Vec<_>) =
        evidence.written.iter().cloned().partition(|(_, revision)| *revision <= last);
    // A read of these would wait for revisions that are never applied.
    let mut lost: Vec<String> = beyond
        .iter()
        .map(|(key, revision)| format!("{key}, acknowledged at revision {revision}: the last one is {last}"))
        .collect();
    lost.extend(missing(reader, &there).await.into_iter().map(|amiss| amiss.what));
    tally.lost += lost.len() as u64;
    let doubtful =
        evidence.promises.iter().flat_map(|promises| &promises.doubtful).map(|key| (key.clone(), None));
    let twice = differences(reader, doubtful.collect()).await.into_iter().map(|amiss| amiss.what);
    tally.violations.extend(lost.into_iter().chain(twice).map(|what| format!("node {node}: {what}")));
}

/// A wrong or missing answer for a key.
pub(super) struct Amiss {
    /// A description.
    pub(super) what: String,
    /// Whether the node has answered wrongly; otherwise it has not answered.
    pub(super) wrong: bool,
}

/// Reads the acknowledged writes of keys that are written once, and returns wrong or missing answers. Stops early
/// if the node does not answer.
pub(super) async fn missing(reader: &Client, written: &[(String, u64)]) -> Vec<Amiss> {
    differences(reader, written.iter().map(|(key, revision)| (key.clone(), Some(*revision))).collect()).await
}

/// The same for writes of which some have an unknown outcome, and so no revision.
async fn differences(reader: &Client, keys: Vec<(String, Option<u64>)>) -> Vec<Amiss> {
    let mut flying = JoinSet::new();
    for chunk in keys.chunks(keys.len().div_ceil(TOGETHER).max(1)) {
        let (reader, chunk) = (reader.clone(), chunk.to_vec());
        flying.spawn(async move {
            let mut amiss = Vec::new();
            for (key, revision) in chunk {
                let options = ReadOptions::local().with_min_revision(revision.unwrap_or(0));
                let found = difference(&key, revision, reader.get_with(&key, options).await);
                let silent = found.as_ref().is_some_and(|amiss| !amiss.wrong);
                amiss.extend(found);
                if silent {
                    break;
                }
            }
            amiss
        });
    }
    flying.join_all().await.into_iter().flatten().collect()
}

/// Compares a read with the only write of a key, which was made at `revision` if it was acknowledged.
fn difference(key: &str, revision: Option<u64>, read: gometa_client::Result<Entry>) -> Option<Amiss> {
    let amiss = |what: String, wrong| Some(Amiss { what, wrong });
    match (read, revision) {
        (Ok(entry), _) => {
            let fits = entry.value == key.as_bytes()
                && entry.version == 1
                && revision.is_none_or(|revision| revision == entry.mod_revision);
            if fits {
                None
            } else {
                amiss(format!("{key}, written once at {revision:?}, is {entry:?}"), true)
            }
        }
        (Err(error), Some(revision)) => {
            let wrong = error.kind() == ErrorKind::NotFound;
            amiss(format!("{key}, acknowledged at revision {revision}: {error}"), wrong)
        }
        (Err(error), None) if error.kind() == ErrorKind::NotFound => None,
        (Err(error), None) => amiss(format!("{key}, of unknown outcome: {error}"), false),
    }
}

/// Checks that the histories of shared keys, each ended by a read through every node, are linearizable, and that
/// local reads returned existing versions.
async fn histories(readers: &[Client], shared: &Shared, promises: &[Promises], tally: &mut Tally) {
    let mut histories = by_key(promises);
    for (key, operations) in &mut histories {
        for reader in readers {
            let called = shared.now();
            let answer = answer(reader, shared, key, Action::Get).await;
            let Some(answer) = answer else {
                tally.violations.push(format!("{key} cannot be read from a healthy ensemble"));
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

/// Checks that the result of each local read is the value written at that revision.
fn local_reads(histories: &BTreeMap<String, Vec<Operation>>, promises: &[Promises], tally: &mut Tally) {
    // The written values by key and revision; the results of writes by key and value.
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
            tally.violations.push(format!("a local read found {key} = {value} at {revision}: never written"));
        }
    }
}

/// Checks that counters are between the number of acknowledged increments and that number plus the unknown ones.
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
    // All clients together: each result was compared with the client's own counter when it was received.
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
