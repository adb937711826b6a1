//! The numeric settings of a node's file: keys, bounds and defaults.

use serde::de::{Error, MapAccess};

use super::json::NumberSeed;

/// A setting with a whole number.
pub(super) struct Setting<T> {
    pub(super) key: &'static str,
    /// The unit, for error messages.
    unit: &'static str,
    min: u64,
    max: u64,
    pub(super) default: T,
}

/// The time between a leader's heartbeats.
pub(super) const HEARTBEAT_MS: Setting<u64> =
    Setting { key: "HeartbeatMs", unit: "milliseconds", min: 10, max: 60_000, default: 100 };
/// The time without messages after which leader and follower consider each other lost.
pub(super) const ELECTION_TIMEOUT_MS: Setting<u64> =
    Setting { key: "ElectionTimeoutMs", unit: "milliseconds", min: 100, max: 600_000, default: 1_000 };
/// The time without contact after which a session ends.
pub(super) const SESSION_TIMEOUT_MS: Setting<u32> =
    Setting { key: "SessionTimeoutMs", unit: "milliseconds", min: 1_000, max: 86_400_000, default: 60_000 };
/// The number of connected clients.
pub(super) const CLIENTS_MAX: Setting<usize> =
    Setting { key: "ClientsMax", unit: "clients", min: 16, max: 1_000_000, default: CLIENTS_MAX_DEFAULT };
/// The memory for clients' frames, requests and answers together.
pub(super) const CLIENT_MEMORY_MB: Setting<usize> =
    Setting { key: "ClientMemoryMb", unit: "MiB", min: 16, max: 65_536, default: 256 };
/// The default of `ClientsMax`.
pub const CLIENTS_MAX_DEFAULT: usize = 10_000;

impl<T: TryFrom<u64>> Setting<T> {
    /// Reads the setting's value.
    pub(super) fn read<'de, M: MapAccess<'de>>(&self, map: &mut M) -> Result<Option<T>, M::Error> {
        let Setting { key, unit, min, max, .. } = *self;
        let number = map.next_value_seed(NumberSeed { key, unit, min, max })?;
        match T::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(M::Error::custom(format_args!("{key} is too large for this machine"))),
        }
    }
}
