//! The status of a node.

use std::ffi::{CString, c_char};

use gometa_client::{NodeStatus, PeerStatus, Role, StorageStatus};

use crate::{
    input::{c_string, lend},
    macros::{free, optional, read},
};

/// The role of a node.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_role_t {
    /// A role that this version of the library does not know.
    GOMETA_ROLE_UNKNOWN = 0,
    /// Waiting for all configured voters to form the ensemble.
    GOMETA_ROLE_FORMING = 1,
    /// Looking for a leader.
    GOMETA_ROLE_LOOKING = 2,
    /// Following the leader.
    GOMETA_ROLE_FOLLOWING = 3,
    /// Leading.
    GOMETA_ROLE_LEADING = 4,
    /// Following the leader without counting in quorums.
    GOMETA_ROLE_LEARNING = 5,
}

impl From<Role> for gometa_role_t {
    fn from(role: Role) -> gometa_role_t {
        match role {
            Role::Forming => gometa_role_t::GOMETA_ROLE_FORMING,
            Role::Looking => gometa_role_t::GOMETA_ROLE_LOOKING,
            Role::Following => gometa_role_t::GOMETA_ROLE_FOLLOWING,
            Role::Leading => gometa_role_t::GOMETA_ROLE_LEADING,
            Role::Learning => gometa_role_t::GOMETA_ROLE_LEARNING,
            _ => gometa_role_t::GOMETA_ROLE_UNKNOWN,
        }
    }
}

/// The figures of what a node stores, for gometa_node_status_storage. Bytes are those on disk.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_storage_t {
    /// The log has the entries above this revision.
    GOMETA_STORAGE_LOG_BASE = 1,
    /// The size of the log. It ends at the node's last revision.
    GOMETA_STORAGE_LOG_BYTES = 2,
    /// The size of the state: keys and sessions.
    GOMETA_STORAGE_STATE_BYTES = 3,
    /// The free space on the file system of the data directory.
    GOMETA_STORAGE_FREE_BYTES = 4,
    /// The state is durable through this revision.
    GOMETA_STORAGE_FLUSHED_REVISION = 5,
    /// The time since the state was last flushed, or since the node was started.
    GOMETA_STORAGE_FLUSH_AGE_MS = 6,
    /// The size of the snapshot that is being sent or received, 0 if none; the sum if the node sends to several.
    GOMETA_STORAGE_SNAPSHOT_BYTES = 7,
    /// The bytes of it that are transferred.
    GOMETA_STORAGE_SNAPSHOT_DONE_BYTES = 8,
}

/// The status of a node. Free with gometa_node_status_free.
pub struct gometa_node_status_t {
    status: NodeStatus,
    detail: CString,
    pending_change: CString,
    version: CString,
    peers: Vec<Peer>,
}

struct Peer {
    status: PeerStatus,
    message_address: CString,
    request_address: CString,
    detail: CString,
}

impl From<Box<NodeStatus>> for gometa_node_status_t {
    fn from(status: Box<NodeStatus>) -> gometa_node_status_t {
        let peer = |status: &PeerStatus| Peer {
            message_address: c_string(&status.member.message_address),
            request_address: c_string(status.member.request_address.as_deref().unwrap_or_default()),
            detail: c_string(&status.detail),
            status: status.clone(),
        };
        gometa_node_status_t {
            detail: c_string(&status.detail),
            pending_change: c_string(&status.pending_change),
            version: c_string(&status.version),
            peers: status.peers.iter().map(peer).collect(),
            status: *status,
        }
    }
}

impl gometa_node_status_t {
    fn peer(&self, index: usize) -> Option<&Peer> {
        self.peers.get(index)
    }
}

/// Returns the node's id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_node_id(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.node)
}

/// Returns the node's role.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_role(status: *const gometa_node_status_t) -> gometa_role_t {
    read!(status, gometa_role_t::GOMETA_ROLE_UNKNOWN, |status| status.status.role.into())
}

/// Returns the id of the leader known to the node, 0 if none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_leader_id(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.leader.unwrap_or(0))
}

/// Returns the node's current epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_epoch(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.epoch)
}

/// Returns the position of the last log entry that is durable on the node. Not every log entry changes a key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_last_revision(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.last_revision)
}

/// Returns the position of the last log entry that the node knows to be committed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_commit_revision(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.commit_revision)
}

/// Returns the position of the last log entry that the node has applied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_applied_revision(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.applied_revision)
}

/// Returns the number of client sessions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_sessions(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.sessions)
}

/// Returns the number of keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_keys(status: *const gometa_node_status_t) -> u64 {
    read!(status, 0, |status| status.status.keys)
}

/// Returns a gometa_storage_t, refreshed about once a second; 0 if there is no such figure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_storage(status: *const gometa_node_status_t, figure: u32) -> u64 {
    read!(status, 0, |status| storage_figure(&status.status.storage, figure))
}

fn storage_figure(storage: &StorageStatus, figure: u32) -> u64 {
    let snapshot = storage.snapshot.unwrap_or_default();
    match figure {
        1 => storage.log_base,
        2 => storage.log_bytes,
        3 => storage.state_bytes,
        4 => storage.free_bytes,
        5 => storage.flushed_revision,
        6 => storage.flush_age_ms,
        7 => snapshot.total_bytes,
        8 => snapshot.transferred_bytes,
        _ => 0,
    }
}

/// Returns whether the node counts in quorums.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_is_voter(status: *const gometa_node_status_t) -> bool {
    read!(status, false, |status| status.status.votes)
}

/// Returns one line: what the node waits for, or why it does not count in quorums. Empty if it is healthy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_detail(status: *const gometa_node_status_t) -> *const c_char {
    read!(status, c"".as_ptr(), |status| status.detail.as_ptr())
}

/// Returns one line: the change of the members that is not made yet, and what it waits for. Empty if there is none.
/// Valid as long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_pending_change(
    status: *const gometa_node_status_t,
) -> *const c_char {
    read!(status, c"".as_ptr(), |status| status.pending_change.as_ptr())
}

/// Returns the version of the server. Valid as long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_version(status: *const gometa_node_status_t) -> *const c_char {
    read!(status, c"".as_ptr(), |status| status.version.as_ptr())
}

/// Returns the hash of all data at the applied revision, 16 bytes, and its length in `*len`, which may be NULL. Nodes
/// with the same applied revision have the same hash. Valid as long as the status. NULL if `status` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_state_hash(
    status: *const gometa_node_status_t,
    len: *mut usize,
) -> *const u8 {
    let bytes = lend(read!(status, &[][..], |status| &status.status.state_hash), optional!(len));
    if status.is_null() { std::ptr::null() } else { bytes }
}

/// Returns the number of peers, the other members of the ensemble.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_count(status: *const gometa_node_status_t) -> usize {
    read!(status, 0, |status| status.peers.len())
}

/// Returns the id of a peer by index, 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_id(
    status: *const gometa_node_status_t,
    index: usize,
) -> u64 {
    read!(status, None, |status| status.peer(index)).map_or(0, |peer| peer.status.member.node)
}

/// Returns the peer address (MessageAddr) of the peer at `index`; logs name peers by it. Empty if out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_message_address(
    status: *const gometa_node_status_t,
    index: usize,
) -> *const c_char {
    read!(status, None, |status| status.peer(index))
        .map_or(c"".as_ptr(), |peer| peer.message_address.as_ptr())
}

/// Returns the client address (RequestAddr) of a peer by index. Empty if unknown or `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_request_address(
    status: *const gometa_node_status_t,
    index: usize,
) -> *const c_char {
    read!(status, None, |status| status.peer(index))
        .map_or(c"".as_ptr(), |peer| peer.request_address.as_ptr())
}

/// Returns whether a peer, by index, counts in quorums.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_is_voter(
    status: *const gometa_node_status_t,
    index: usize,
) -> bool {
    read!(status, None, |status| status.peer(index)).is_some_and(|peer| peer.status.votes)
}

/// If the node leads: whether the peer at `index` follows it. Otherwise: whether the peer at `index` is its leader.
/// This is not a test of the network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_connected(
    status: *const gometa_node_status_t,
    index: usize,
) -> bool {
    read!(status, None, |status| status.peer(index)).is_some_and(|peer| peer.status.connected)
}

/// If the node leads: the last revision that the peer at `index` has acknowledged as durable. Otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_acked_revision(
    status: *const gometa_node_status_t,
    index: usize,
) -> u64 {
    read!(status, None, |status| status.peer(index)).map_or(0, |peer| peer.status.acked_revision)
}

/// Returns one line about a peer, by index. Empty if it is healthy. Valid as long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_detail(
    status: *const gometa_node_status_t,
    index: usize,
) -> *const c_char {
    read!(status, None, |status| status.peer(index)).map_or(c"".as_ptr(), |peer| peer.detail.as_ptr())
}

/// Frees a status. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_free(status: *mut gometa_node_status_t) {
    free!(status);
}
