//! The keys and values of the load.

use bytes::Bytes;

/// What all keys begin with.
pub(crate) const KEYS_PREFIX: &str = "bench/";

/// The most keys of a page.
pub(crate) const PAGE_KEYS: u32 = 1_000;

/// The name of a key; with a slash before it in ZooKeeper, where names are paths.
pub(crate) fn key_name(key: u32) -> String {
    format!("{KEYS_PREFIX}{key:08}")
}

/// Random values of one size.
pub(crate) struct Values {
    pool: Bytes,
    size: usize,
}

/// The number of different values.
const VALUES: usize = 4096;

impl Values {
    /// Values that do not compress, the same in every run.
    pub(crate) fn new(size: usize) -> Values {
        let mut random = Random::new(0);
        let words = std::iter::repeat_with(|| random.next()).flat_map(u64::to_le_bytes);
        Values { pool: words.take(size + VALUES).collect(), size }
    }

    /// One of the values.
    pub(crate) fn at(&self, number: u64) -> Bytes {
        let start = (number % VALUES as u64) as usize;
        self.pool.slice(start..start + self.size)
    }

    /// The length of each value.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

/// Random numbers by SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (self.next() % u64::from(bound)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_size_and_differ() {
        let values = Values::new(128);
        assert_eq!((values.size(), values.at(0).len(), values.at(u64::MAX).len()), (128, 128, 128));
        assert_ne!(values.at(0), values.at(1));
        assert_eq!(values.at(1), Values::new(128).at(1 + VALUES as u64));
    }

    #[test]
    fn random_numbers_reach_every_key() {
        let mut random = Random::new(1);
        let seen: std::collections::BTreeSet<u32> = (0..1000).map(|_| random.below(10)).collect();
        assert_eq!(seen.len(), 10);
    }
}
