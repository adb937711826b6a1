//! What waits for the driver: one queue with two lanes, bounded in memory.
//!
//! Peers' messages, votes and finished writes go in one lane and are always taken whole; clients' requests go
//! in the other and are taken a bounded number at a time, so that no burst of requests delays a heartbeat.
//! Each lane keeps its order. Sockets wait for room (and are not read meanwhile); datagrams have little room of
//! their own, so that a flood of them leaves the peers theirs, and are dropped without it; what the disk reports never waits, and is bounded by what the node has in flight.
//!
//! The queue also knows when the driver last looked into it, which it does every few milliseconds: a driver that hangs
//! in a step is seen here, and the client port vouches for it no longer.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_node::Event;
use gometa_zab::{LinkId, Message, NodeId, Token};
use tokio::sync::{Notify, Semaphore};

use crate::net::outbox::Outbox;

/// What peers' items may hold in memory, in units of [`UNIT`].
const PEER_ROOM: u32 = 65_536;
/// What clients' events may hold in memory, in units of [`UNIT`].
const CLIENT_ROOM: u32 = 65_536;
/// Datagrams that wait. Votes are repeated, and a newer one of the same node says more.
const DATAGRAMS_MAX: usize = 1_024;
/// Bytes counted as one. Every event costs at least one unit.
const UNIT: usize = 1 << 10;
/// Clients' events taken at a time.
const CLIENT_BATCH_MAX: usize = 512;

/// Something for the driver itself, or through it for the node.
pub(crate) enum Item {
    /// For the node.
    Event(Event),
    /// A link to or from a peer stands; `event` tells the node.
    LinkUp { link: LinkId, outbox: Arc<Outbox<Message>>, event: Event },
    /// Where a peer's votes go.
    Resolved { peer: NodeId, election: SocketAddr },
}

/// The queue. One driver takes, everybody else puts.
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    peer_room: Semaphore,
    datagram_room: Semaphore,
    client_room: Semaphore,
    made: Instant,
    /// When the driver last took something or found nothing, in microseconds since `made`.
    attended: AtomicU64,
    /// It has, for those who wait for it.
    attends: Notify,
}

#[derive(Default)]
struct State {
    peers: Vec<Item>,
    /// Units to give back when `peers` is taken.
    peer_units: usize,
    /// How many of `peers` came by datagram.
    datagrams: usize,
    clients: VecDeque<(Event, u32)>,
    /// The highest token reported.
    persisted: Option<Token>,
    stopping: bool,
    sleeping: bool,
}

/// What was taken at once; the driver keeps it for its buffers.
#[derive(Default)]
pub(crate) struct Taken {
    /// From peers and the disk.
    pub(crate) peers: Vec<Item>,
    /// From clients.
    pub(crate) clients: Vec<Event>,
    /// Every write through this is done.
    pub(crate) persisted: Option<Token>,
    /// The driver shall end.
    pub(crate) stopping: bool,
}

/// The driver has ended, nothing is taken any more.
#[derive(Debug)]
pub(crate) struct Ended;

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            state: Mutex::default(),
            wake: Condvar::new(),
            peer_room: Semaphore::new(PEER_ROOM as usize),
            datagram_room: Semaphore::new(DATAGRAMS_MAX),
            client_room: Semaphore::new(CLIENT_ROOM as usize),
            made: Instant::now(),
            attended: AtomicU64::new(0),
            attends: Notify::new(),
        }
    }

    /// Whether the driver has looked into this queue within so long.
    pub(crate) fn is_attended(&self, within: Duration) -> bool {
        let attended = Duration::from_micros(self.attended.load(Ordering::Relaxed));
        self.made.elapsed().saturating_sub(attended) <= within
    }

    /// Waits until the driver has looked into this queue within so long.
    pub(crate) async fn attended(&self, within: Duration) {
        loop {
            let mut attends = pin!(self.attends.notified());
            attends.as_mut().enable();
            if self.is_attended(within) {
                return;
            }
            attends.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, put: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        put(&mut state);
        if state.sleeping {
            state.sleeping = false;
            self.wake.notify_one();
        }
    }

    /// Puts what a peer's connection brought, `bytes` in all; waits for room. Empties `items`.
    pub(crate) async fn put_peer(&self, items: &mut Vec<Item>, bytes: usize) -> Result<(), Ended> {
        if items.is_empty() {
            return Ok(());
        }
        let units = units(bytes).max(u32::try_from(items.len()).unwrap_or(u32::MAX)).min(PEER_ROOM);
        self.peer_room.acquire_many(units).await.map_err(|_| Ended)?.forget();
        self.put(|state| {
            state.peers.append(items);
            state.peer_units += units as usize;
        });
        Ok(())
    }

    /// Puts what came by datagram, if there is room.
    pub(crate) fn try_put_datagram(&self, event: Event) -> bool {
        let Ok(permit) = self.datagram_room.try_acquire() else { return false };
        permit.forget();
        self.put(|state| {
            state.peers.push(Item::Event(event));
            state.datagrams += 1;
        });
        true
    }

    /// Puts what the driver asked for itself: as many as it has asked for.
    pub(crate) fn put_answer(&self, item: Item) {
        self.put(|state| state.peers.push(item));
    }

    /// Reports a finished write.
    pub(crate) fn put_persisted(&self, token: Token) {
        self.put(|state| state.persisted = state.persisted.max(Some(token)));
    }

    /// Puts what a client's connection brought, each with its size in bytes; waits for room. Empties `events`.
    pub(crate) async fn put_client(&self, events: &mut Vec<(Event, usize)>) -> Result<(), Ended> {
        while !events.is_empty() {
            // As many as fit at all, so that one burst cannot ask for more room than there is.
            let mut sum = 0;
            let fitting = events
                .iter()
                .take_while(|(_, bytes)| {
                    sum += units(*bytes);
                    sum <= CLIENT_ROOM
                })
                .count()
                .max(1);
            let cost = |bytes: usize| units(bytes).min(CLIENT_ROOM);
            let total: u32 = events[..fitting].iter().map(|(_, bytes)| cost(*bytes)).sum();
            self.client_room.acquire_many(total).await.map_err(|_| Ended)?.forget();
            self.put(|state| {
                state.clients.extend(events.drain(..fitting).map(|(event, bytes)| (event, cost(bytes))));
            });
        }
        Ok(())
    }

    /// Asks the driver to end; nothing is taken in any more.
    pub(crate) fn stop(&self) {
        self.peer_room.close();
        self.client_room.close();
        self.put(|state| state.stopping = true);
    }

    /// Takes what is there, at the latest at `until`. `taken` must be empty.
    pub(crate) fn take(&self, taken: &mut Taken, until: Instant) {
        let mut state = self.lock();
        loop {
            let idle = state.peers.is_empty()
                && state.clients.is_empty()
                && state.persisted.is_none()
                && !state.stopping;
            let wait = until.saturating_duration_since(Instant::now());
            if !idle || wait.is_zero() {
                break;
            }
            state.sleeping = true;
            state = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            state.sleeping = false;
        }
        std::mem::swap(&mut state.peers, &mut taken.peers);
        taken.persisted = state.persisted.take();
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
        self.attended.store(self.made.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.attends.notify_waiters();
        self.peer_room.add_permits(peer_units);
        self.datagram_room.add_permits(datagrams);
        self.client_room.add_permits(client_units);
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
        // The clients' lane is its own.
        inbox.put_client(&mut vec![(gone(4), 0)]).await.unwrap();
        let taken = take_now(&inbox);
        assert_eq!((taken.peers.len(), taken.clients.len()), (1, 1));
        assert!(waiting.await.unwrap());
        assert_eq!(take_now(&inbox).peers.len(), 1);
    }

    #[tokio::test]
    async fn datagrams_are_dropped_without_room_and_take_none_of_the_peers() {
        let inbox = Inbox::new();
        let kept = (0..2 * DATAGRAMS_MAX as u64).filter(|n| inbox.try_put_datagram(gone(*n))).count();
        assert_eq!(kept, DATAGRAMS_MAX);
        inbox.put_peer(&mut vec![Item::Event(gone(1))], usize::MAX).await.unwrap();
        assert_eq!(take_now(&inbox).peers.len(), DATAGRAMS_MAX + 1);
        assert!(inbox.try_put_datagram(gone(2)));
    }

    #[tokio::test]
    async fn more_than_the_whole_room_passes_in_pieces() {
        let inbox = Arc::new(Inbox::new());
        let putting = tokio::spawn({
            let inbox = inbox.clone();
            let mut events: Vec<_> = (0..3).map(|n| (gone(n), CLIENT_ROOM as usize * UNIT)).collect();
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
    async fn it_is_known_how_long_ago_the_driver_has_looked() {
        let inbox = Arc::new(Inbox::new());
        while inbox.is_attended(Duration::from_millis(1)) {
            std::thread::yield_now();
        }
        assert!(inbox.is_attended(Duration::from_secs(3_600)));
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.attended(Duration::from_secs(3_600)).await }
        });
        waiting.await.unwrap();
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.attended(Duration::from_millis(1)).await }
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
    fn the_highest_token_covers_the_others() {
        let inbox = Inbox::new();
        inbox.put_persisted(Token(3));
        inbox.put_persisted(Token(7));
        assert_eq!(take_now(&inbox).persisted, Some(Token(7)));
        assert_eq!(take_now(&inbox).persisted, None);
    }

    #[tokio::test]
    async fn stopping_wakes_everybody() {
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
