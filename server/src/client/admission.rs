//! Who may have how many requests waiting: no client more than is left over for the others.
//!
//! A request holds its share from its arrival until it is answered, cancelled, or its client is gone. It is taken in
//! only while its client holds no more than what is free, in number and in bytes. So one client alone may hold half
//! of all there is, a hundred about a hundredth each, and however many hold all they can, there is something left
//! for one who holds nothing: requests that cannot be answered, because their clients do not read or ask for what is
//! far in the future, keep nobody else's out.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests waiting in one node.
pub(crate) const REQUESTS_MAX: usize = 65_536;
/// What a request counts beside its key and value, in bytes.
const REQUEST_COST: usize = 512;

/// What there is, and what is taken of it.
#[derive(Debug)]
pub(crate) struct Shares {
    bytes_max: usize,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// What one client has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Shares {
    pub(crate) fn new(bytes_max: usize) -> Shares {
        Shares { bytes_max, count: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Takes a share for a request whose key and value have `size` bytes, for a client that has `mine`; `None` if
    /// too little is left.
    pub(crate) fn take(&self, mine: &mut Share, size: usize) -> Option<usize> {
        let cost = size + REQUEST_COST;
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(cost, Ordering::Relaxed);
        let fits = mine.count < REQUESTS_MAX.saturating_sub(count)
            && mine.bytes + cost <= self.bytes_max.saturating_sub(bytes);
        mine.count += 1;
        mine.bytes += cost;
        if fits {
            return Some(cost);
        }
        self.give_back(mine, cost);
        None
    }

    /// Gives back what a request cost.
    pub(crate) fn give_back(&self, mine: &mut Share, cost: usize) {
        mine.count -= 1;
        mine.bytes -= cost;
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Gives back all that a client has.
    pub(crate) fn give_back_all(&self, mine: &mut Share) {
        let Share { count, bytes } = std::mem::take(mine);
        self.count.fetch_sub(count, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_may_have_half_of_all() {
        let shares = Shares::new(1 << 30);
        let mut mine = Share::default();
        while shares.take(&mut mine, 10).is_some() {}
        assert_eq!(mine.count, REQUESTS_MAX / 2);
        let mut other = Share::default();
        assert!(shares.take(&mut other, 10).is_some());
        shares.give_back_all(&mut mine);
        shares.give_back_all(&mut other);
        assert_eq!((shares.count.load(Ordering::Relaxed), shares.bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn something_is_left_for_one_who_holds_nothing_however_many_hold_all_they_can() {
        let shares = Shares::new(64 << 20);
        let mut greedy = vec![Share::default(); 9_999];
        // In turns, until nobody gets any more.
        while greedy.iter_mut().filter_map(|mine| shares.take(mine, 100)).count() > 0 {}
        let mut honest = Share::default();
        for _ in 0..3 {
            assert!(shares.take(&mut honest, 100).is_some(), "{honest:?}");
        }
        // The same where the bytes are what is short.
        let shares = Shares::new(64 << 20);
        let mut greedy = vec![Share::default(); 99];
        while greedy.iter_mut().filter_map(|mine| shares.take(mine, 100_000)).count() > 0 {}
        assert!(shares.take(&mut Share::default(), 100_000).is_some());
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let shares = Shares::new(1 << 20);
        let mut mine = Share::default();
        assert_eq!(shares.take(&mut mine, 2 << 20), None);
        assert_eq!(mine, Share::default());
        let cost = shares.take(&mut mine, 1).unwrap();
        shares.give_back(&mut mine, cost);
        assert_eq!((shares.count.load(Ordering::Relaxed), shares.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
