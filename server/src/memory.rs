//! The bound of a node's memory, and how it is divided.
//!
//! Three numbers are configured: the number of connected clients (`ClientsMax`), the memory for their frames, requests
//! and answers together (`ClientMemoryMb`), and that for blocks of the state's files (`CacheMb`). Everything else has a bound of its own; their sum is [`NODE_BYTES`]. A node's
//! resident memory stays below
//!
//! ```text
//! NODE_BYTES + ClientsMax × CONNECTION_BYTES + ClientMemoryMb + CacheMb
//! ```
//!
//! for any input except that of peers. `docs/operations.md` states the formula, `-check` prints its result, and a test
//! floods three nodes and measures. The session table is not included: it has bounds of its own
//! (`gometa_proto::limits`).

use gometa_proto::limits;

use crate::config::ServerConfig;

/// Bytes in a MiB.
pub(crate) const MIB: usize = 1 << 20;

/// The memory of a node without clients: the program, RocksDB's memtables, the protocol's window and recent
/// entries, applied entries that are not stored ([`UNSTORED_BYTES_MAX`]), records that entries need (20 MiB), those of the
/// ranges that the next transaction may delete (10 MiB), forwarded writes (4 MiB), pages, histories of keys and results of
/// transactions that are being read (8 of 2 MiB), both lanes of the inbox, and the nodes' port.
pub(crate) const NODE_BYTES: usize = 380 * MIB;
/// The bound of entries that are applied and not in the table yet; then applying waits.
pub(crate) const UNSTORED_BYTES_MAX: usize = 32 * MIB;
/// The memory of one connection that is not counted in bytes: its task, its small buffers, and an incomplete frame of
/// [`SMALL_FRAME_MAX`].
pub(crate) const CONNECTION_BYTES: usize = 24 << 10;
/// The longest client frame that needs no reservation.
pub(crate) const SMALL_FRAME_MAX: usize = 4 << 10;

/// The bounds of a node's clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClientLimits {
    /// The number of connections.
    pub(crate) clients_max: usize,
    /// Bytes of frames, requests and answers together.
    pub(crate) bytes: usize,
}

impl ClientLimits {
    pub(crate) fn from_config(config: &ServerConfig) -> ClientLimits {
        ClientLimits { clients_max: config.clients_max, bytes: config.client_memory_mb * MIB }
    }

    /// The bound for large frames that are being received, in bytes; at least two fit.
    pub(crate) fn frames(&self) -> usize {
        (self.bytes / 4).max(2 * limits::CLIENT_FRAME_MAX)
    }

    /// The bound for waiting requests, in bytes.
    pub(crate) fn requests(&self) -> usize {
        self.bytes / 4
    }

    /// The bound for unread answers, in bytes.
    pub(crate) fn answers(&self) -> usize {
        self.bytes / 2
    }
}

/// The bound of a node's resident memory, in bytes.
pub(crate) fn memory_max(config: &ServerConfig) -> usize {
    let configured = (config.client_memory_mb + config.cache_mb) * MIB;
    NODE_BYTES + config.clients_max * CONNECTION_BYTES + configured
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_manual_states_the_formula_and_its_result() {
        let manual = include_str!("../../docs/operations.md");
        let formula = format!(
            "{} MiB + `ClientsMax` × {} KiB + `ClientMemoryMb` + `CacheMb`",
            NODE_BYTES / MIB,
            CONNECTION_BYTES >> 10
        );
        assert!(manual.contains(&formula), "{formula}");
        let config = ServerConfig::on_this_machine("test", 0, 1, PathBuf::new());
        let result = format!("by default {} MiB", memory_max(&config) / MIB);
        assert!(manual.contains(&result), "{result}");
        assert_eq!(config.clients_max, 10_000);
        assert!(manual.contains("| `ClientsMax` | 10,000 |"));
        assert!(manual.contains(&format!("| `ClientMemoryMb` | {} |", config.client_memory_mb)));
    }

    #[test]
    fn the_parts_are_no_more_than_the_whole() {
        for mebibytes in [16, 64, 256, 65_536] {
            let client = ClientLimits { clients_max: 1, bytes: mebibytes * MIB };
            assert!(client.frames() + client.requests() + client.answers() <= client.bytes);
            assert!(client.requests() > 2 * limits::PAYLOAD_MAX);
        }
    }
}
