//! The numeric settings of a node's file: keys, bounds and defaults.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// A setting with a whole number within bounds, both included; reads its value.
pub(super) struct Setting<T> {
    key: &'static str,
    /// The unit, for error messages.
    unit: &'static str,
    min: u64,
    max: u64,
    pub(super) default: T,
}

/// What each setting means: see [`ServerConfig`](super::ServerConfig).
pub(super) const HEARTBEAT_MS: Setting<u64> =
    Setting { key: "HeartbeatMs", unit: "milliseconds", min: 10, max: 60_000, default: 100 };
pub(super) const ELECTION_TIMEOUT_MS: Setting<u64> =
    Setting { key: "ElectionTimeoutMs", unit: "milliseconds", min: 100, max: 600_000, default: 1_000 };
pub(super) const SESSION_TIMEOUT_MS: Setting<u32> =
    Setting { key: "SessionTimeoutMs", unit: "milliseconds", min: 1_000, max: 86_400_000, default: 60_000 };
pub(super) const CLIENTS_MAX: Setting<usize> =
    Setting { key: "ClientsMax", unit: "clients", min: 16, max: 1_000_000, default: CLIENTS_MAX_DEFAULT };
pub(super) const CLIENT_MEMORY_MB: Setting<usize> =
    Setting { key: "ClientMemoryMb", unit: "MiB", min: 16, max: 65_536, default: 256 };
pub(super) const CACHE_MB: Setting<usize> =
    Setting { key: "CacheMb", unit: "MiB", min: 8, max: 65_536, default: 128 };
pub(super) const DISK_RESERVE_MB: Setting<u64> =
    Setting { key: "DiskReserveMb", unit: "MiB", min: 0, max: 1_048_576, default: 0 };
pub(super) const SCRUB_INTERVAL_S: Setting<u64> =
    Setting { key: "ScrubIntervalS", unit: "seconds", min: 0, max: 31_536_000, default: 86_400 };
/// The default of `ClientsMax`.
pub const CLIENTS_MAX_DEFAULT: usize = 10_000;

impl<T> Setting<T> {
    fn out_of_bounds<E: Error>(&self, value: impl fmt::Display) -> E {
        let Setting { key, unit, min, max, .. } = self;
        E::custom(format_args!("{key} is {value}: expected {unit} from {min} to {max}"))
    }
}

impl<'de, T: TryFrom<u64>> DeserializeSeed<'de> for Setting<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl<T: TryFrom<u64>> Visitor<'_> for Setting<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a whole number of {} from {} to {}", self.key, self.unit, self.min, self.max)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        if !(self.min..=self.max).contains(&value) {
            return Err(self.out_of_bounds(value));
        }
        T::try_from(value).map_err(|_| E::custom(format_args!("{} is too large for this machine", self.key)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Err(self.out_of_bounds(value))
    }
}
