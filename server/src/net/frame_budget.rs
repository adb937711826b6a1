//! Room for large frames that are arriving: whoever announces one takes the room for all of it before its bytes are
//! read, and waits, unread, until there is some.
//!
//! So no two frames that are half there can wait for each other, and what a length announces costs nothing until it
//! is granted. Who has room and does not send is a reason to be impatient, the more so while others wait:
//! [`FrameRoom::patience`].

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes counted as one.
const UNIT: usize = 1 << 10;
/// How long any frame may take that is not whole, and at what rate it must grow from then on, in bytes a second.
const PATIENCE: (Duration, u64) = (Duration::from_secs(10), 16 << 10);
/// The same while others wait for room.
const PATIENCE_CROWDED: (Duration, u64) = (Duration::from_secs(1), 512 << 10);
/// How often whoever has room looks whether others wait for it.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// The room.
pub(crate) struct FrameRoom {
    room: Semaphore,
    units_max: u32,
    waiting: AtomicUsize,
}

/// One who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FrameRoom {
    /// Room for this many bytes.
    pub(crate) fn new(bytes: usize) -> FrameRoom {
        let units_max = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4);
        FrameRoom { room: Semaphore::new(units_max as usize), units_max, waiting: AtomicUsize::new(0) }
    }

    /// Takes room for a frame of this length, in the order of asking; it is given back with the value.
    pub(crate) async fn take(&self, length: usize) -> SemaphorePermit<'_> {
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units_max);
        if let Ok(taken) = self.room.try_acquire_many(units) {
            return taken;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let taken = self.room.acquire_many(units).await;
        taken.unwrap_or_else(|_| unreachable!("the room is never closed"))
    }

    /// How long a frame may take of which so many bytes have arrived; `holds` room or not.
    pub(crate) fn patience(&self, arrived: usize, holds: bool) -> Duration {
        let crowded = holds && self.waiting.load(Ordering::Relaxed) > 0;
        let (patience, rate) = if crowded { PATIENCE_CROWDED } else { PATIENCE };
        patience + Duration::from_micros(arrived as u64 * 1_000_000 / rate)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn room_is_given_in_order_and_given_back() {
        let room = Arc::new(FrameRoom::new(10 << 10));
        let first = room.take(8 << 10).await;
        let second = tokio::spawn({
            let room = room.clone();
            async move { room.take(4 << 10).await.num_permits() }
        });
        while room.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // One who would fit does not overtake.
        let third = tokio::spawn({
            let room = room.clone();
            async move { room.take(1 << 10).await.num_permits() }
        });
        while room.waiting.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!second.is_finished() && !third.is_finished());
        drop(first);
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (4, 1));
        assert_eq!((room.room.available_permits(), room.waiting.load(Ordering::Relaxed)), (10, 0));
        // More than there is takes all there is.
        assert_eq!(room.take(1 << 30).await.num_permits(), 10);
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_no_trace() {
        let room = FrameRoom::new(1 << 10);
        let _held = room.take(1).await;
        assert!(tokio::time::timeout(Duration::ZERO, room.take(1)).await.is_err());
        assert_eq!(room.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn patience_grows_with_what_arrives_and_shrinks_with_a_crowd() {
        let room = FrameRoom::new(1 << 20);
        assert_eq!(room.patience(0, true), Duration::from_secs(10));
        assert_eq!(room.patience(1 << 20, true), Duration::from_secs(74));
        room.waiting.store(1, Ordering::Relaxed);
        assert_eq!(room.patience(0, true), Duration::from_secs(1));
        assert_eq!(room.patience(1 << 20, true), Duration::from_secs(3));
        assert_eq!(room.patience(0, false), Duration::from_secs(10), "who has no room keeps nobody waiting");
    }
}
