//! The clients: each has two lanes, one for keys that all share, whose histories are checked afterwards, and
//! one for its own keys: keys written once, and counters that show a write that was executed twice.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gometa_client::{Client, Entry, Error, ErrorKind, Outcome, Result as Answered};
use gometa_sim::history::{Action, Answer, Operation};
use tokio::task::JoinSet;

use crate::{
    ensemble::Ensemble,
    lock,
    random::{self, Random},
};

/// The number of shared keys in use at a time.
const SLOTS: u64 = 6;
/// The number of operations on a key until it is replaced: as many as the checker can handle.
const OPERATIONS_PER_KEY: u64 = 250;
/// The timeouts, by client. Some are shorter than most outages, so that outcomes become unknown; some longer,
/// so that writes are retried until they are acknowledged.
const TIMEOUTS_MS: [u64; 4] = [4_000, 300, 8_000, 1_500];
/// The counter that all clients increment.
pub(super) const COUNTER: &str = "counter";

/// A local read: key, revision, value.
pub(super) type Seen = (String, u64, u64);

/// The results that one client received, except for the writes in [`Shared`].
#[derive(Clone, Default)]
pub(super) struct Promises {
    /// Keys written once whose write has an unknown outcome.
    pub(super) doubtful: Vec<String>,
    /// Sets of the client's own counter: acknowledged, unknown.
    pub(super) hits: (u64, u64),
    /// Increments of the shared counter: acknowledged, unknown.
    pub(super) raises: (u64, u64),
    /// Operations on shared keys.
    pub(super) history: Vec<(String, Operation)>,
    /// Local reads of shared keys.
    pub(super) seen: Vec<Seen>,
}

/// The state that all clients share.
pub(super) struct Shared {
    begun: Instant,
    stop: AtomicBool,
    /// The number of operations on each slot.
    slots: Vec<AtomicU64>,
    /// The next value, which is unique.
    value: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unknown: AtomicU64,
    /// Acknowledged writes of keys that are written once, with their revisions; the value is the key.
    written: Mutex<Vec<(String, u64)>>,
    violations: Mutex<Vec<String>>,
}

impl Shared {
    fn new() -> Shared {
        Shared {
            begun: Instant::now(),
            stop: AtomicBool::default(),
            slots: (0..SLOTS).map(|_| AtomicU64::default()).collect(),
            value: AtomicU64::new(1),
            operations: AtomicU64::default(),
            acknowledged: AtomicU64::default(),
            refused: AtomicU64::default(),
            unknown: AtomicU64::default(),
            written: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// Returns the nanoseconds since the start, on the monotonic clock.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn violation(&self, text: String) {
        lock(&self.violations).push(text);
    }

    /// Returns the acknowledged writes of keys that are written once, with their revisions.
    pub(super) fn written(&self) -> Vec<(String, u64)> {
        lock(&self.written).clone()
    }

    /// Adds an acknowledged write.
    fn promise(&self, key: String, revision: u64) {
        lock(&self.written).push((key, revision));
    }

    /// Returns the violations so far.
    pub(super) fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    /// Counts the end of a call.
    fn count<T>(&self, result: &Answered<T>) {
        self.operations.fetch_add(1, Relaxed);
        let counter = match result {
            Ok(_) => &self.acknowledged,
            Err(error) if is_answer(error) => &self.acknowledged,
            Err(error) if error.outcome() == Outcome::Unknown => &self.unknown,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Whether an error is a result of the store, not a failure of the call.
fn is_answer(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::CasMismatch)
}

/// The running clients. Dropping them stops them.
pub(super) struct Workload {
    pub(super) shared: Arc<Shared>,
    running: JoinSet<Promises>,
    /// The number of clients.
    pub(super) clients: usize,
}

impl Workload {
    /// Returns a workload without clients.
    pub(super) fn none() -> Workload {
        Workload { shared: Arc::new(Shared::new()), running: JoinSet::new(), clients: 0 }
    }

    /// Starts clients.
    pub(super) fn start(ensemble: &Ensemble, clients: usize, random: &mut Random) -> Workload {
        let shared = Arc::new(Shared::new());
        let mut running = JoinSet::new();
        for name in 0..clients {
            let node = name % ensemble.size();
            let timeout = Duration::from_millis(TIMEOUTS_MS[name % TIMEOUTS_MS.len()]);
            // One in four is pinned to a node; the others move to the leader.
            let client = if name % 4 == 3 {
                ensemble.client_of(node, timeout)
            } else {
                ensemble.client_from(node, timeout)
            };
            let lane = |random: &mut Random| Lane {
                name,
                client: client.clone(),
                shared: shared.clone(),
                random: random::seeded(random.word()),
                known: HashMap::new(),
                promises: Promises::default(),
                next: 0,
                last_hit: 0,
            };
            running.spawn(lane(random).share());
            running.spawn(lane(random).promise());
        }
        Workload { shared, running, clients }
    }

    /// Returns the number of acknowledged operations.
    pub(super) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Relaxed)
    }

    /// Lets every client finish its operation, and returns the results.
    pub(super) async fn stop(&mut self) -> Vec<Promises> {
        self.shared.stop.store(true, Relaxed);
        let mut promises = Vec::new();
        while let Some(ended) = self.running.join_next().await {
            promises.push(ended.unwrap_or_else(|error| panic!("a client failed: {error}")));
        }
        promises
    }
}

/// Returns the key whose version counts a client's sets.
pub(super) fn hits_key(client: usize) -> String {
    format!("hits/{client}")
}

/// One sequence of operations of a client.
struct Lane {
    name: usize,
    client: Client,
    shared: Arc<Shared>,
    random: Random,
    /// The last revision of each shared key that this lane has received.
    known: HashMap<String, u64>,
    promises: Promises,
    /// The number of the next key that is written once.
    next: u64,
    /// The version of the client's counter after its last acknowledged set.
    last_hit: u64,
}

impl Lane {
    /// Operates on shared keys.
    async fn share(mut self) -> Promises {
        while !self.shared.stop.load(Relaxed) {
            let slot = self.random.below(SLOTS);
            let number = self.shared.slots[slot as usize].fetch_add(1, Relaxed);
            let key = format!("shared/{slot}/{}", number / OPERATIONS_PER_KEY);
            if self.random.percent(10) {
                self.read_local(&key).await;
            } else {
                self.operate(key).await;
            }
        }
        self.promises
    }

    async fn operate(&mut self, key: String) {
        let value = self.shared.value.fetch_add(1, Relaxed);
        let known = self.known.get(&key).copied();
        let action = match self.random.below(100) {
            0..30 => Action::Get,
            30..55 => Action::Set { value },
            55..75 => Action::Cas { expected: known.unwrap_or(0), value },
            75..88 => Action::Add { value },
            88..94 => Action::Delete { expected: None },
            _ => Action::Delete { expected: Some(known.unwrap_or(1)) },
        };
        let called = self.shared.now();
        let answer = answer(&self.client, &self.shared, &key, action).await;
        let answered = self.shared.now();
        let Some(answer) = answer else { return };
        match answer {
            Answer::Written { revision } | Answer::Found { revision, .. } => {
                self.known.insert(key.clone(), revision);
            }
            Answer::Conflict { actual } => drop(self.known.insert(key.clone(), actual)),
            Answer::Deleted { .. } | Answer::Missing => drop(self.known.remove(&key)),
            Answer::Unknown => {}
        }
        self.promises.history.push((key, Operation { called, answered, action, answer }));
    }

    /// Makes a local read: not older than what this client has received, and of an existing revision.
    async fn read_local(&mut self, key: &str) {
        let result = self.client.get_local(key).await;
        self.shared.count(&result);
        let Ok(entry) = result else { return };
        let known = self.known.get(key).copied().unwrap_or(0);
        if entry.mod_revision < known {
            let text = format!("client {} read {key} at {} after {known}", self.name, entry.mod_revision);
            self.shared.violation(text);
        }
        match value_of(&entry) {
            Some(value) => self.promises.seen.push((key.to_owned(), entry.mod_revision, value)),
            None => self.shared.violation(format!("{key} has a value that was never written: {entry:?}")),
        }
    }

    /// Operates on the client's own keys, and on the shared counter.
    async fn promise(mut self) -> Promises {
        while !self.shared.stop.load(Relaxed) {
            match self.random.below(4) {
                0 => self.hit().await,
                1 => self.raise().await,
                _ => self.write_once().await,
            }
        }
        self.promises
    }

    /// Writes a key once: its version is 1, and an add does not fail with AlreadyExists.
    async fn write_once(&mut self) {
        let key = format!("own/{}/{}", self.name, self.next);
        self.next += 1;
        let add = self.random.percent(50);
        let result = if add { self.client.add(&key, &key).await } else { self.client.set(&key, &key).await };
        self.shared.count(&result);
        match result {
            Ok(written) => {
                if written.version != 1 {
                    self.shared
                        .violation(format!("the only write of {key} made version {}", written.version));
                }
                self.shared.promise(key, written.revision);
            }
            Err(error) if error.outcome() == Outcome::Unknown => self.promises.doubtful.push(key),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.shared.violation(format!("the only write of {key} happened twice: {error}"));
            }
            Err(_) => {}
        }
    }

    /// Sets the client's own counter: each acknowledged set adds one version, and each unknown one may.
    async fn hit(&mut self) {
        let key = hits_key(self.name);
        let result = self.client.set(&key, "x").await;
        self.shared.count(&result);
        let (acknowledged, unknown) = &mut self.promises.hits;
        match result {
            Ok(written) => {
                *acknowledged += 1;
                let fits = (*acknowledged..=*acknowledged + *unknown).contains(&written.version);
                if !fits || written.version <= self.last_hit {
                    self.shared.violation(format!(
                        "{key} is at version {} after {}, with {acknowledged} acknowledged and {unknown} unknown sets",
                        written.version, self.last_hit
                    ));
                }
                self.last_hit = written.version;
            }
            Err(error) if error.outcome() == Outcome::Unknown => *unknown += 1,
            Err(_) => {}
        }
    }

    /// Increments the shared counter by compare-and-swap.
    async fn raise(&mut self) {
        let read = self.client.get(COUNTER).await;
        self.shared.count(&read);
        let Ok(entry) = read else { return };
        let Some(count) = value_of(&entry) else {
            return self
                .shared
                .violation(format!("the counter has a value that was never written: {entry:?}"));
        };
        let result = self.client.cas(COUNTER, entry.mod_revision, (count + 1).to_string()).await;
        self.shared.count(&result);
        match result {
            Ok(_) => self.promises.raises.0 += 1,
            Err(error) if error.outcome() == Outcome::Unknown => self.promises.raises.1 += 1,
            Err(_) => {}
        }
    }
}

/// Returns the number in a value.
pub(super) fn value_of(entry: &Entry) -> Option<u64> {
    std::str::from_utf8(&entry.value).ok()?.parse().ok()
}

/// Makes one call; `None` if it failed without an effect.
pub(super) async fn answer(client: &Client, shared: &Shared, key: &str, action: Action) -> Option<Answer> {
    let result = match action {
        Action::Get => client.get(key).await.map(|entry| match value_of(&entry) {
            Some(value) => Answer::Found { value, revision: entry.mod_revision },
            None => {
                shared.violation(format!("{key} has a value that was never written: {entry:?}"));
                Answer::Unknown
            }
        }),
        Action::Set { value } => client.set(key, value.to_string()).await.map(written),
        Action::Add { value } => client.add(key, value.to_string()).await.map(written),
        Action::Cas { expected, value } => client.cas(key, expected, value.to_string()).await.map(written),
        Action::Delete { expected } => {
            let deleted = match expected {
                Some(revision) => client.delete_if(key, revision).await,
                None => client.delete(key).await,
            };
            deleted.map(|deleted| Answer::Deleted { revision: deleted.revision })
        }
    };
    shared.count(&result);
    match result {
        Ok(answer) => Some(answer),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Answer::Missing),
        Err(error) if is_answer(&error) => {
            Some(Answer::Conflict { actual: error.actual_revision().unwrap_or(0) })
        }
        Err(error) => (error.outcome() == Outcome::Unknown).then_some(Answer::Unknown),
    }
}

fn written(written: gometa_client::Written) -> Answer {
    Answer::Written { revision: written.revision }
}

/// Returns the histories of all clients, by key.
pub(super) fn by_key(promises: &[Promises]) -> BTreeMap<String, Vec<Operation>> {
    let mut histories: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for (key, operation) in promises.iter().flat_map(|promises| &promises.history) {
        histories.entry(key.clone()).or_default().push(*operation);
    }
    histories
}
