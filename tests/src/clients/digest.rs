//! The digest of what a scan has returned: the number of its entries, and Adler-32 (RFC 1950) over key and value of each,
//! one after the other. Every language has it, or needs four lines for it.

use std::fmt;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    count: u64,
    low: u32,
    high: u32,
}

const MODULUS: u32 = 65_521;

impl Default for Digest {
    fn default() -> Digest {
        Digest { count: 0, low: 1, high: 0 }
    }
}

impl Digest {
    /// Adds an entry.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        for byte in key.iter().chain(value) {
            self.low = (self.low + u32::from(*byte)) % MODULUS;
            self.high = (self.high + self.low) % MODULUS;
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={} adler32={}", self.count, self.high << 16 | self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let mut digest = Digest::default();
        assert_eq!(digest.to_string(), "count=0 adler32=1");
        digest.add(b"Wiki", b"pedia");
        assert_eq!(digest.to_string(), "count=1 adler32=300286872");
    }
}
