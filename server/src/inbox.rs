//! The driver's queue: two lanes, bounded in memory.
//!
//! Peers' messages, votes and finished writes use one lane, which is always taken whole; clients' requests use the other,
//! which is taken in bounded batches, so that a burst of requests delays no heartbeat. Each lane keeps its order. Sockets
//! wait for room, and are not read meanwhile (backpressure). Datagrams have a small bound of their own, beyond which they
//! are dropped, so that a flood of them takes no room from peers. Disk results never wait; they are bounded by the
//! number of operations in flight. Only records, which may be large, wait for room in bytes.
//!
//! The queue also records when the driver last took from it, which it does every few milliseconds. A driver that hangs
//! in a step is detected here: the client port then sends no `Pong`.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gometa_codec::vote::Whereabouts;
use gometa_node::Event;
use gometa_proto::v1;
use gometa_store::Checkpoint;
use gometa_zab::{DiskSpace, LinkId, Message, NodeId, Token, Vote, Voter};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore};

use crate::{
    disk::{Flushed, Received},
    net::outbox::Outbox,
    snapshot::Ticket,
};

/// The memory for peers' items, in units of [`UNIT`].
const PEER_UNITS_MAX: u32 = 65_536;
/// The memory for clients' events, in units of [`UNIT`].
const CLIENT_UNITS_MAX: u32 = 65_536;
/// The number of queued datagrams. Votes are repeated, and a node's newer vote supersedes older ones.
const DATAGRAMS_MAX: usize = 1_024;
/// The bytes of queued records at which readers wait; each of them may exceed it by one.
const FETCHED_BYTES_MAX: usize = 4 << 20;
/// Bytes counted as one. Every event costs at least one unit.
const UNIT: usize = 1 << 10;
/// The number of clients' events taken at a time.
const CLIENT_BATCH_MAX: usize = 512;

/// An item for the driver, or for the node.
pub(crate) enum Item {
    /// For the node.
    Event(Event),
    /// A link to or from a peer is open; `event` is for the node.
    LinkUp { link: LinkId, outbox: Arc<Outbox<Message>>, event: Event },
    /// A snapshot is made for a follower, with this checkpoint.
    SnapshotMade { link: LinkId, id: u64, checkpoint: Checkpoint },
    /// A checkpoint for the backup of a client is made.
    BackupMade { ticket: Ticket, id: u64, checkpoint: Checkpoint },
    /// A snapshot is received on this link, complete and verified.
    SnapshotReady { link: LinkId, received: Box<Received> },
    /// The figures of storage.
    Storage(v1::StorageStatus),
    /// The level of this node's disk space.
    DiskSpace(DiskSpace),
    /// The process is to end in order: hand over first, then stop.
    Leave,
    /// A vote was received: the addresses that it tells, and its source.
    Vote { vote: Vote, whereabouts: Whereabouts, from: SocketAddr },
    /// The members of the ensemble that this node joins.
    MembersHeard(Vec<Voter>),
    /// A peer's election address was resolved.
    Resolved { peer: NodeId, name: String, election: SocketAddr },
}

/// The queue. Only the driver takes from it.
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    peer_units: Semaphore,
    datagram_slots: Semaphore,
    client_units: Semaphore,
    created: Instant,
    /// The time of the driver's last take, in microseconds since `created`.
    last_take: AtomicU64,
    /// Notified by each take.
    taken: Notify,
    /// Notified by each take of records.
    fetched_taken: Condvar,
}

#[derive(Default)]
struct State {
    peers: Vec<Item>,
    /// Units to release when `peers` is taken.
    peer_units: usize,
    /// The number of datagrams in `peers`.
    datagrams: usize,
    clients: VecDeque<(Event, u32)>,
    /// The highest token of a finished write.
    persisted: Option<Token>,
    /// The highest number of a batch that the table contains.
    stored: Option<u64>,
    /// The last flush of the state.
    flushed: Option<Flushed>,
    fetched: Vec<Fetched>,
    /// The sum of the sizes of the records in `fetched`.
    fetched_bytes: usize,
    stopping: bool,
    sleeping: bool,
}

/// A record that was read: the number of the read, the key, and its record if there is one.
pub(crate) type Fetched = (u64, Bytes, Option<Bytes>);

/// The result of a take. The driver reuses it for its buffers.
#[derive(Default)]
pub(crate) struct Taken {
    /// From peers and the disk.
    pub(crate) peers: Vec<Item>,
    /// From clients.
    pub(crate) clients: Vec<Event>,
    /// Every write through this is done.
    pub(crate) persisted: Option<Token>,
    /// The table contains every batch through this.
    pub(crate) stored: Option<u64>,
    /// The last flush of the state.
    pub(crate) flushed: Option<Flushed>,
    /// Records that were read.
    pub(crate) fetched: Vec<Fetched>,
    /// The driver must stop.
    pub(crate) stopping: bool,
}

/// The driver has stopped, and nothing is taken any more.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            state: Mutex::default(),
            wake: Condvar::new(),
            peer_units: Semaphore::new(PEER_UNITS_MAX as usize),
            datagram_slots: Semaphore::new(DATAGRAMS_MAX),
            client_units: Semaphore::new(CLIENT_UNITS_MAX as usize),
            created: Instant::now(),
            last_take: AtomicU64::new(0),
            taken: Notify::new(),
            fetched_taken: Condvar::new(),
        }
    }

    /// Whether the driver has taken from the queue in the last `within`.
    pub(crate) fn was_taken_within(&self, within: Duration) -> bool {
        let last_take = Duration::from_micros(self.last_take.load(Ordering::Relaxed));
        self.created.elapsed().saturating_sub(last_take) <= within
    }

    /// Waits until the driver has taken from the queue in the last `within`.
    pub(crate) async fn taken_within(&self, within: Duration) {
        loop {
            let mut taken = pin!(self.taken.notified());
            taken.as_mut().enable();
            if self.was_taken_within(within) {
                return;
            }
            taken.await;
        }
    }

    fn put(&self, put: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        put(&mut state);
        if state.sleeping {
            state.sleeping = false;
            self.wake.notify_one();
        }
    }

    /// Puts a peer's items of `bytes` in all; waits for room. Empties `items`.
    pub(crate) async fn put_peer(&self, items: &mut Vec<Item>, bytes: usize) -> Result<(), Stopped> {
        if items.is_empty() {
            return Ok(());
        }
        let units = units(bytes).max(u32::try_from(items.len()).unwrap_or(u32::MAX)).min(PEER_UNITS_MAX);
        self.peer_units.acquire_many(units).await.map_err(|_| Stopped)?.forget();
        self.put(|state| {
            state.peers.append(items);
            state.peer_units += units as usize;
        });
        Ok(())
    }

    /// Puts a datagram; returns false if there is no room.
    pub(crate) fn try_put_datagram(&self, item: Item) -> bool {
        let Ok(permit) = self.datagram_slots.try_acquire() else { return false };
        permit.forget();
        self.put(|state| {
            state.peers.push(item);
            state.datagrams += 1;
        });
        true
    }

    /// Puts an answer to a request of the driver. Their number is bounded by its requests.
    pub(crate) fn put_answer(&self, item: Item) {
        self.put(|state| state.peers.push(item));
    }

    /// Puts the token of a finished write.
    pub(crate) fn put_persisted(&self, token: Token) {
        self.put(|state| state.persisted = state.persisted.max(Some(token)));
    }

    /// Puts the number of a batch that the table contains. Pages may wait for it, and applying, for the ranges of a transaction.
    pub(crate) fn put_stored(&self, number: u64) {
        self.put(|state| state.stored = Some(number));
    }

    /// Puts a flush of the state. Does not wake the driver, which takes it with its next tick at the latest.
    pub(crate) fn put_flushed(&self, flushed: Flushed) {
        self.state.lock().flushed = Some(flushed);
    }

    /// Puts a record that was read; blocks until there is room for it, or the driver has stopped. Does not wake the driver if
    /// `more` follow within microseconds; it takes the record with its next tick at the latest.
    pub(crate) fn put_fetched(&self, fetched: Fetched, more: bool) {
        let mut state = self.state.lock();
        while state.fetched_bytes >= FETCHED_BYTES_MAX && !state.stopping {
            self.fetched_taken.wait(&mut state);
        }
        state.fetched_bytes += fetched.2.as_ref().map_or(0, Bytes::len);
        state.fetched.push(fetched);
        let full = state.fetched_bytes >= FETCHED_BYTES_MAX;
        if state.sleeping && (full || !more) {
            state.sleeping = false;
            self.wake.notify_one();
        }
    }

    /// Puts a client's events, each with its size in bytes; waits for room. Empties `events`.
    pub(crate) async fn put_client(&self, events: &mut Vec<(Event, usize)>) -> Result<(), Stopped> {
        while !events.is_empty() {
            // A burst must not acquire more units than there are.
            let mut sum = 0;
            let fitting = events
                .iter()
                .take_while(|(_, bytes)| {
                    sum += units(*bytes);
                    sum <= CLIENT_UNITS_MAX
                })
                .count()
                .max(1);
            let cost = |bytes: usize| units(bytes).min(CLIENT_UNITS_MAX);
            let total: u32 = events[..fitting].iter().map(|(_, bytes)| cost(*bytes)).sum();
            self.client_units.acquire_many(total).await.map_err(|_| Stopped)?.forget();
            self.put(|state| {
                state.clients.extend(events.drain(..fitting).map(|(event, bytes)| (event, cost(bytes))));
            });
        }
        Ok(())
    }

    /// Makes the driver stop; later puts fail.
    pub(crate) fn stop(&self) {
        self.peer_units.close();
        self.client_units.close();
        self.put(|state| state.stopping = true);
        self.fetched_taken.notify_all();
    }

    /// Takes what is queued; waits until `until` if nothing is. `taken` must be empty.
    pub(crate) fn take(&self, taken: &mut Taken, until: Instant) {
        let mut state = self.state.lock();
        loop {
            let idle = state.peers.is_empty()
                && state.clients.is_empty()
                && state.persisted.is_none()
                && state.stored.is_none()
                && state.fetched.is_empty()
                && !state.stopping;
            let wait = until.saturating_duration_since(Instant::now());
            if !idle || wait.is_zero() {
                break;
            }
            state.sleeping = true;
            self.wake.wait_for(&mut state, wait);
            state.sleeping = false;
        }
        std::mem::swap(&mut state.peers, &mut taken.peers);
        taken.persisted = state.persisted.take();
        taken.stored = state.stored.take();
        taken.flushed = state.flushed.take();
        std::mem::swap(&mut state.fetched, &mut taken.fetched);
        let fetched_bytes = std::mem::take(&mut state.fetched_bytes);
        taken.stopping = state.stopping;
        let count = state.clients.len().min(CLIENT_BATCH_MAX);
        let mut client_units = 0;
        taken.clients.extend(state.clients.drain(..count).map(|(event, units)| {
            client_units += units as usize;
            event
        }));
        let peer_units = std::mem::take(&mut state.peer_units);
        let datagrams = std::mem::take(&mut state.datagrams);
        drop(state);
        if fetched_bytes >= FETCHED_BYTES_MAX {
            self.fetched_taken.notify_all();
        }
        self.last_take.store(self.created.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.taken.notify_waiters();
        self.peer_units.add_permits(peer_units);
        self.datagram_slots.add_permits(datagrams);
        self.client_units.add_permits(client_units);
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / UNIT).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gometa_node::ClientId;

    use super::*;

    fn gone(client: u64) -> Event {
        Event::ClientGone { client: ClientId(client) }
    }

    fn number(event: &Event) -> u64 {
        match event {
            Event::ClientGone { client } => client.0,
            other => panic!("{other:?}"),
        }
    }

    fn take_now(inbox: &Inbox) -> Taken {
        let mut taken = Taken::default();
        inbox.take(&mut taken, Instant::now());
        taken
    }

    #[tokio::test]
    async fn clients_events_come_in_order_and_a_bounded_number_at_a_time() {
        let inbox = Inbox::new();
        let mut events = (0..1_000).map(|n| (gone(n), 10)).collect();
        inbox.put_client(&mut events).await.unwrap();
        assert!(events.is_empty());
        let first = take_now(&inbox);
        assert_eq!(first.clients.len(), CLIENT_BATCH_MAX);
        let second = take_now(&inbox);
        let numbers: Vec<u64> = first.clients.iter().chain(&second.clients).map(number).collect();
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_stored_batch_is_taken_before_the_next_tick() {
        let inbox = Arc::new(Inbox::new());
        let late = Duration::from_secs(60);
        let take = |inbox: &Inbox| {
            let (mut taken, begin) = (Taken::default(), Instant::now());
            inbox.take(&mut taken, begin + late);
            assert!(begin.elapsed() < late, "it waited for the tick");
            taken.stored
        };
        // Put while the driver is awake, and while it sleeps.
        inbox.put_stored(1);
        assert_eq!(take(&inbox), Some(1));
        let sleeping = std::thread::spawn({
            let inbox = inbox.clone();
            move || {
                while !inbox.state.lock().sleeping {
                    std::thread::yield_now();
                }
                inbox.put_stored(2);
            }
        });
        assert_eq!(take(&inbox), Some(2));
        sleeping.join().unwrap();
    }

    #[tokio::test]
    async fn a_full_lane_makes_its_sockets_wait() {
        let inbox = Arc::new(Inbox::new());
        let mut items = vec![Item::Event(gone(1))];
        inbox.put_peer(&mut items, usize::MAX).await.unwrap();
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.put_peer(&mut vec![Item::Event(gone(3))], 0).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        // The clients' lane has a bound of its own.
        inbox.put_client(&mut vec![(gone(4), 0)]).await.unwrap();
        let taken = take_now(&inbox);
        assert_eq!((taken.peers.len(), taken.clients.len()), (1, 1));
        assert!(waiting.await.unwrap());
        assert_eq!(take_now(&inbox).peers.len(), 1);
    }

    #[tokio::test]
    async fn datagrams_are_dropped_beyond_their_bound_and_take_no_room_from_peers() {
        let inbox = Inbox::new();
        let kept =
            (0..2 * DATAGRAMS_MAX as u64).filter(|n| inbox.try_put_datagram(Item::Event(gone(*n)))).count();
        assert_eq!(kept, DATAGRAMS_MAX);
        inbox.put_peer(&mut vec![Item::Event(gone(1))], usize::MAX).await.unwrap();
        assert_eq!(take_now(&inbox).peers.len(), DATAGRAMS_MAX + 1);
        assert!(inbox.try_put_datagram(Item::Event(gone(2))));
    }

    #[tokio::test]
    async fn more_than_the_bound_passes_in_batches() {
        let inbox = Arc::new(Inbox::new());
        let putting = tokio::spawn({
            let inbox = inbox.clone();
            let mut events: Vec<_> = (0..3).map(|n| (gone(n), CLIENT_UNITS_MAX as usize * UNIT)).collect();
            async move { inbox.put_client(&mut events).await.is_ok() }
        });
        let mut numbers = Vec::new();
        while numbers.len() < 3 {
            numbers.extend(take_now(&inbox).clients.iter().map(number));
            tokio::task::yield_now().await;
        }
        assert!(putting.await.unwrap());
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[tokio::test]
    async fn the_time_since_the_last_take_is_known() {
        let inbox = Arc::new(Inbox::new());
        while inbox.was_taken_within(Duration::from_millis(1)) {
            std::thread::yield_now();
        }
        assert!(inbox.was_taken_within(Duration::from_secs(3_600)));
        inbox.taken_within(Duration::from_secs(3_600)).await;
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.taken_within(Duration::from_millis(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        while !waiting.is_finished() {
            take_now(&inbox);
            tokio::task::yield_now().await;
        }
        waiting.await.unwrap();
    }

    #[test]
    fn the_highest_token_covers_lower_ones() {
        let inbox = Inbox::new();
        inbox.put_persisted(Token(3));
        inbox.put_persisted(Token(7));
        assert_eq!(take_now(&inbox).persisted, Some(Token(7)));
        assert_eq!(take_now(&inbox).persisted, None);
    }

    #[tokio::test]
    async fn stopping_wakes_the_driver_and_fails_puts() {
        let inbox = Arc::new(Inbox::new());
        let driver = std::thread::spawn({
            let inbox = inbox.clone();
            move || {
                let mut taken = Taken::default();
                inbox.take(&mut taken, Instant::now() + Duration::from_secs(60));
                taken.stopping
            }
        });
        inbox.stop();
        assert!(driver.join().unwrap());
        assert!(inbox.put_client(&mut vec![(gone(1), 0)]).await.is_err());
        assert!(inbox.put_peer(&mut vec![Item::Event(gone(1))], 0).await.is_err());
    }
}
