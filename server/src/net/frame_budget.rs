//! Memory for large frames that are being received. A connection reserves the whole length of a large frame before it
//! reads the frame's bytes, and is not read until then.
//!
//! Two half-received frames therefore never wait for each other, and an announced length takes no memory until it is
//! granted. A connection that holds a reservation has to keep up a rate, a higher one while others wait:
//! [`FrameBudget::timeout`].

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes counted as one.
const UNIT: usize = 1 << 10;
/// The time for any incomplete frame, and the rate that extends it, in bytes a second.
const TIMEOUT: (Duration, u64) = (Duration::from_secs(10), 16 << 10);
/// The same for a connection with a reservation while others wait for one.
const TIMEOUT_CONTENDED: (Duration, u64) = (Duration::from_secs(1), 512 << 10);
/// The interval at which a waiting reader evaluates its timeout again.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A bounded amount of memory.
pub(crate) struct FrameBudget {
    units: Semaphore,
    units_max: u32,
    waiting: AtomicUsize,
}

/// Counts a waiting connection.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FrameBudget {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: usize) -> FrameBudget {
        let units_max = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4);
        FrameBudget { units: Semaphore::new(units_max as usize), units_max, waiting: AtomicUsize::new(0) }
    }

    /// Reserves `length` bytes, or the whole budget if that is less, first come first served. Dropping the permit
    /// releases them.
    pub(crate) async fn reserve(&self, length: usize) -> SemaphorePermit<'_> {
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units_max);
        if let Ok(permit) = self.units.try_acquire_many(units) {
            return permit;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let permit = self.units.acquire_many(units).await;
        permit.unwrap_or_else(|_| unreachable!("the semaphore is never closed"))
    }

    /// The time that a frame may take of which `received` bytes have arrived.
    pub(crate) fn timeout(&self, received: usize, has_reservation: bool) -> Duration {
        let contended = has_reservation && self.waiting.load(Ordering::Relaxed) > 0;
        let (timeout, rate) = if contended { TIMEOUT_CONTENDED } else { TIMEOUT };
        timeout + Duration::from_micros(received as u64 * 1_000_000 / rate)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn reservations_are_granted_in_order_and_released() {
        let budget = Arc::new(FrameBudget::new(10 << 10));
        let first = budget.reserve(8 << 10).await;
        let reserve = |bytes| {
            let budget = budget.clone();
            tokio::spawn(async move { budget.reserve(bytes).await.num_permits() })
        };
        let second = reserve(4 << 10);
        while budget.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // A later one that would fit does not overtake.
        let third = reserve(1 << 10);
        while budget.waiting.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!second.is_finished() && !third.is_finished());
        drop(first);
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (4, 1));
        assert_eq!((budget.units.available_permits(), budget.waiting.load(Ordering::Relaxed)), (10, 0));
        // More than the budget reserves the whole budget.
        assert_eq!(budget.reserve(1 << 30).await.num_permits(), 10);
    }

    #[tokio::test]
    async fn a_cancelled_reservation_is_not_counted_as_waiting() {
        let budget = FrameBudget::new(1 << 10);
        let _held = budget.reserve(1).await;
        assert!(tokio::time::timeout(Duration::ZERO, budget.reserve(1)).await.is_err());
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_timeout_grows_with_received_bytes_and_shrinks_under_contention() {
        let budget = FrameBudget::new(1 << 20);
        assert_eq!(budget.timeout(0, true), Duration::from_secs(10));
        assert_eq!(budget.timeout(1 << 20, true), Duration::from_secs(74));
        budget.waiting.store(1, Ordering::Relaxed);
        assert_eq!(budget.timeout(0, true), Duration::from_secs(1));
        assert_eq!(budget.timeout(1 << 20, true), Duration::from_secs(3));
        assert_eq!(budget.timeout(0, false), Duration::from_secs(10), "it blocks no other connection");
    }
}
