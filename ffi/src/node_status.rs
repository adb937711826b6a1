//! How a node is.

use std::ffi::{CString, c_char};

use gometa_client::{NodeStatus, PeerStatus, Role};

use crate::{
    input::{self, lend},
    text::c_string,
};

/// What a node does in its ensemble.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_role_t {
    /// A role that this library does not know.
    GOMETA_ROLE_UNKNOWN = 0,
    /// Waits for every configured voter to form the ensemble.
    GOMETA_ROLE_FORMING = 1,
    /// Looks for a leader.
    GOMETA_ROLE_LOOKING = 2,
    /// Follows the leader.
    GOMETA_ROLE_FOLLOWING = 3,
    /// Leads.
    GOMETA_ROLE_LEADING = 4,
    /// Follows the leader, but is counted in no quorum.
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

/// How a node is. Free it with gometa_node_status_free. Any thread may read it. Getters of numbers give 0 for
/// NULL, of truths false, of strings an empty one.
pub struct gometa_node_status_t {
    status: NodeStatus,
    detail: CString,
    version: CString,
    peers: Vec<Peer>,
}

struct Peer {
    status: PeerStatus,
    message_address: CString,
    request_address: CString,
    detail: CString,
}

impl From<NodeStatus> for gometa_node_status_t {
    fn from(status: NodeStatus) -> gometa_node_status_t {
        let peer = |status: &PeerStatus| Peer {
            message_address: c_string(&status.member.message_address),
            request_address: c_string(status.member.request_address.as_deref().unwrap_or_default()),
            detail: c_string(&status.detail),
            status: status.clone(),
        };
        gometa_node_status_t {
            detail: c_string(&status.detail),
            version: c_string(&status.version),
            peers: status.peers.iter().map(peer).collect(),
            status,
        }
    }
}

/// The node's id; people are shown its address for nodes instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_node(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.node)
}

/// What it does. GOMETA_ROLE_UNKNOWN for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_role(status: *const gometa_node_status_t) -> gometa_role_t {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(gometa_role_t::GOMETA_ROLE_UNKNOWN, |status| status.status.role.into())
}

/// The id of the leader that it knows, 0 if it knows none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_leader(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.leader.unwrap_or(0))
}

/// The epoch of its leader.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_epoch(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.epoch)
}

/// The last revision in its log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_last_revision(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.last_revision)
}

/// The last revision that it knows to be committed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_commit_revision(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.commit_revision)
}

/// The last revision that it has applied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_applied_revision(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.applied_revision)
}

/// Sessions of clients.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_sessions(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.sessions)
}

/// Keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_keys(status: *const gometa_node_status_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.status.keys)
}

/// Whether it is counted in quorums.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_votes(status: *const gometa_node_status_t) -> bool {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.is_some_and(|status| status.status.votes)
}

/// One line that says what it waits for or why it is counted in no quorum; empty if all is well. It lives as
/// long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_detail(status: *const gometa_node_status_t) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(c"".as_ptr(), |status| status.detail.as_ptr())
}

/// The version of its program. It lives as long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_version(status: *const gometa_node_status_t) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(c"".as_ptr(), |status| status.version.as_ptr())
}

/// The hash of everything that it holds at its applied_revision, 16 bytes, and in *len* (may be NULL) their
/// number: equal on all nodes at one revision. It lives as long as the status. NULL and 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_state_hash(
    status: *const gometa_node_status_t,
    len: *mut usize,
) -> *const u8 {
    // SAFETY: NULL, or what the caller holds.
    let hash = unsafe { status.as_ref() }.map_or(&[][..], |status| &status.status.state_hash);
    // SAFETY: NULL, or a place of the caller's.
    let bytes = unsafe { lend(hash, len) };
    if status.is_null() { std::ptr::null() } else { bytes }
}

/// How many other members there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peers(status: *const gometa_node_status_t) -> usize {
    // SAFETY: NULL, or what the caller holds.
    unsafe { status.as_ref() }.map_or(0, |status| status.peers.len())
}

/// The id of the other member number *peer*, from 0. 0 if there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_node(
    status: *const gometa_node_status_t,
    peer: usize,
) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.map_or(0, |peer| peer.status.member.node)
}

/// The address for nodes, which people are shown, of the other member number *peer*, from 0. It lives as long
/// as the status. Empty if there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_message_address(
    status: *const gometa_node_status_t,
    peer: usize,
) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.map_or(c"".as_ptr(), |peer| peer.message_address.as_ptr())
}

/// The address for clients of the other member number *peer*, from 0; empty where it is not known, and if
/// there is none of this number. It lives as long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_request_address(
    status: *const gometa_node_status_t,
    peer: usize,
) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.map_or(c"".as_ptr(), |peer| peer.request_address.as_ptr())
}

/// Whether the other member number *peer*, from 0, is counted in quorums.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_votes(
    status: *const gometa_node_status_t,
    peer: usize,
) -> bool {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.is_some_and(|peer| peer.status.votes)
}

/// In a leader's status: whether the other member number *peer*, from 0, follows it now. In another's:
/// whether that member is the leader that it follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_connected(
    status: *const gometa_node_status_t,
    peer: usize,
) -> bool {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.is_some_and(|peer| peer.status.connected)
}

/// In a leader's status: the last revision that the other member number *peer*, from 0, has acknowledged as
/// durable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_acked_revision(
    status: *const gometa_node_status_t,
    peer: usize,
) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.map_or(0, |peer| peer.status.acked_revision)
}

/// What the node says of the other member number *peer*, from 0, in one line; empty if all is well. It lives
/// as long as the status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_peer_detail(
    status: *const gometa_node_status_t,
    peer: usize,
) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { peer_of(status, peer) }.map_or(c"".as_ptr(), |peer| peer.detail.as_ptr())
}

/// Frees a status. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_node_status_free(status: *mut gometa_node_status_t) {
    // SAFETY: NULL, or a status that the caller gives up.
    unsafe { input::free(status) };
}

/// The member of that number, if there is one.
///
/// # Safety
/// `status` is NULL or points to a status that lives as long as `'a`.
unsafe fn peer_of<'a>(status: *const gometa_node_status_t, peer: usize) -> Option<&'a Peer> {
    // SAFETY: the caller's promise.
    unsafe { status.as_ref() }?.peers.get(peer)
}
