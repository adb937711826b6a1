//! How much memory a node may take, whatever arrives: the one formula, and how it is shared out.
//!
//! Two numbers are configured: how many clients may be connected (`ClientsMax`), and what their frames, requests and
//! answers may hold together (`ClientMemoryMb`). Everything else has a bound of its own, and is added up in
//! [`NODE_BYTES`]. A node's resident memory stays below
//!
//! ```text
//! NODE_BYTES + ClientsMax × CONNECTION_BYTES + ClientMemoryMb
//! ```
//!
//! under any input from those who are not its peers; `docs/operations.md` has the same formula, `-check` prints what
//! it gives, and a test floods three nodes and looks. What the ensemble *keeps* on behalf of its clients comes on
//! top: the table of sessions is held in memory and has bounds of its own (`gometa_proto::limits`).

use gometa_proto::limits;

use crate::config::ServerConfig;

/// Bytes in a MiB.
pub(crate) const MIB: usize = 1 << 20;

/// What a node takes beside its clients: the program, RocksDB's cache and tables being written, the protocol's
/// window and tail, what is applied and not stored ([`UNSTORED_BYTES_MAX`]), what is remembered of forwarded writes
/// (4 MiB), both lanes of the inbox, and everything on the nodes' port.
pub(crate) const NODE_BYTES: usize = 356 * MIB;
/// What is applied and not in the table yet; then applying waits.
pub(crate) const UNSTORED_BYTES_MAX: usize = 32 * MIB;
/// What one connected client may hold that is not accounted in bytes: its task, its small buffers, and a frame of
/// [`SMALL_FRAME`] that is not whole.
pub(crate) const CONNECTION_BYTES: usize = 24 << 10;
/// A frame up to this length is taken in without asking for room.
pub(crate) const SMALL_FRAME: usize = 4 << 10;

/// What a node allows its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowance {
    /// Connections.
    pub(crate) clients_max: usize,
    /// Bytes of frames, requests and answers.
    pub(crate) bytes: usize,
}

impl Allowance {
    /// What a configuration says.
    pub(crate) fn of(config: &ServerConfig) -> Allowance {
        Allowance { clients_max: config.clients_max, bytes: config.client_memory_mb * MIB }
    }

    /// For large frames that are arriving, in bytes; at least two fit.
    pub(crate) fn frames(&self) -> usize {
        (self.bytes / 4).max(2 * limits::CLIENT_FRAME_MAX)
    }

    /// For requests that wait for their answers, in bytes.
    pub(crate) fn requests(&self) -> usize {
        self.bytes / 4
    }

    /// For answers that wait for their clients to read them, in bytes.
    pub(crate) fn answers(&self) -> usize {
        self.bytes / 2
    }

    /// What the node's resident memory stays below, in bytes.
    pub(crate) fn memory_max(&self) -> usize {
        NODE_BYTES + self.clients_max * CONNECTION_BYTES + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_manual_states_the_formula_and_what_it_gives() {
        let manual = include_str!("../../docs/operations.md");
        let formula = format!(
            "{} MiB + `ClientsMax` × {} KiB + `ClientMemoryMb`",
            NODE_BYTES / MIB,
            CONNECTION_BYTES >> 10
        );
        assert!(manual.contains(&formula), "{formula}");
        let config = ServerConfig::on_this_machine("test", 0, 1, PathBuf::new());
        let allowance = Allowance::of(&config);
        let result = format!("by default {} MiB", allowance.memory_max() / MIB);
        assert!(manual.contains(&result), "{result}");
        assert_eq!(config.clients_max, 10_000);
        assert!(manual.contains("| `ClientsMax` | 10,000 |"));
        assert!(manual.contains(&format!("| `ClientMemoryMb` | {} |", config.client_memory_mb)));
    }

    #[test]
    fn the_parts_are_no_more_than_the_whole() {
        for mebibytes in [16, 64, 256, 65_536] {
            let allowance = Allowance { clients_max: 1, bytes: mebibytes * MIB };
            assert!(allowance.frames() + allowance.requests() + allowance.answers() <= allowance.bytes);
            assert!(allowance.requests() > 2 * limits::PAYLOAD_MAX);
        }
    }
}
