//! Admission of requests: a client may have no more requests waiting than the number and the bytes that are left for
//! all others.
//!
//! A request is counted from its arrival until it is answered or cancelled, or its client is gone. One client alone may
//! therefore use half of the budget, a hundred clients about a hundredth each, and a client without requests is always
//! admitted: requests that cannot be answered, because their clients do not read or because they wait for a revision
//! in the far future, block no other client.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of requests waiting in one node.
pub(crate) const REQUESTS_MAX: usize = 65_536;
/// What a request counts beside its key and value, in bytes.
const REQUEST_OVERHEAD: usize = 512;

/// The requests of all clients, and their bounds.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    bytes_max: usize,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// The requests of one client.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl RequestBudget {
    pub(crate) fn new(bytes_max: usize) -> RequestBudget {
        RequestBudget { bytes_max, count: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Admits a request whose key and value have `size` bytes, and adds it to its client's usage. Returns its cost in
    /// bytes, or `None` if too little is left.
    pub(crate) fn acquire(&self, usage: &mut Usage, size: usize) -> Option<usize> {
        let cost = size + REQUEST_OVERHEAD;
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(cost, Ordering::Relaxed);
        let fits = usage.count < REQUESTS_MAX.saturating_sub(count)
            && usage.bytes + cost <= self.bytes_max.saturating_sub(bytes);
        usage.count += 1;
        usage.bytes += cost;
        if fits {
            return Some(cost);
        }
        self.release(usage, cost);
        None
    }

    /// Releases one request of this cost.
    pub(crate) fn release(&self, usage: &mut Usage, cost: usize) {
        usage.count -= 1;
        usage.bytes -= cost;
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Releases all requests of a client.
    pub(crate) fn release_all(&self, usage: &mut Usage) {
        let Usage { count, bytes } = std::mem::take(usage);
        self.count.fetch_sub(count, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_may_use_half_of_the_budget() {
        let budget = RequestBudget::new(1 << 30);
        let mut one = Usage::default();
        while budget.acquire(&mut one, 10).is_some() {}
        assert_eq!(one.count, REQUESTS_MAX / 2);
        let mut other = Usage::default();
        assert!(budget.acquire(&mut other, 10).is_some());
        budget.release_all(&mut one);
        budget.release_all(&mut other);
        assert_eq!((budget.count.load(Ordering::Relaxed), budget.bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_client_without_requests_is_admitted_however_many_others_use_all_they_can() {
        let budget = RequestBudget::new(64 << 20);
        let mut others = vec![Usage::default(); 9_999];
        // In turns, until all are refused.
        while others.iter_mut().filter_map(|usage| budget.acquire(usage, 100)).count() > 0 {}
        let mut new = Usage::default();
        for _ in 0..3 {
            assert!(budget.acquire(&mut new, 100).is_some(), "{new:?}");
        }
        // The same where bytes are short.
        let budget = RequestBudget::new(64 << 20);
        let mut others = vec![Usage::default(); 99];
        while others.iter_mut().filter_map(|usage| budget.acquire(usage, 100_000)).count() > 0 {}
        assert!(budget.acquire(&mut Usage::default(), 100_000).is_some());
    }

    #[test]
    fn a_refused_request_is_not_counted() {
        let budget = RequestBudget::new(1 << 20);
        let mut usage = Usage::default();
        assert_eq!(budget.acquire(&mut usage, 2 << 20), None);
        assert_eq!(usage, Usage::default());
        let cost = budget.acquire(&mut usage, 1).unwrap();
        budget.release(&mut usage, cost);
        assert_eq!((budget.count.load(Ordering::Relaxed), budget.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
