//! The members with their roles, and what the requests about them return.

use std::ffi::{CString, c_char};

use gometa_client::{MemberRecord, MembersChanged, MembersVersion, Membership, StopAdvice};

use crate::{
    input::{c_string, lend},
    macros::{free, optional, read},
};

/// The version of the members. Versions ascend: compare the epochs, then the revisions. Both are 0 for the founding
/// members, which is a version like any other.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct gometa_members_version_t {
    /// The epoch of the leader that made the change.
    pub epoch: u64,
    /// The revision of the change.
    pub revision: u64,
}

impl From<MembersVersion> for gometa_members_version_t {
    fn from(version: MembersVersion) -> gometa_members_version_t {
        gometa_members_version_t { epoch: version.epoch, revision: version.revision }
    }
}

impl From<gometa_members_version_t> for MembersVersion {
    fn from(version: gometa_members_version_t) -> MembersVersion {
        MembersVersion { epoch: version.epoch, revision: version.revision }
    }
}

/// The members of the ensemble with their roles. Free with gometa_membership_free.
pub struct gometa_membership_t {
    version: MembersVersion,
    committed: bool,
    changed: bool,
    members: Vec<Member>,
}

struct Member {
    record: MemberRecord,
    election_address: CString,
    message_address: CString,
    request_address: CString,
}

impl gometa_membership_t {
    fn new(membership: Membership, changed: bool) -> gometa_membership_t {
        let member = |record: MemberRecord| Member {
            election_address: c_string(&record.election_address),
            message_address: c_string(&record.message_address),
            request_address: c_string(&record.request_address),
            record,
        };
        gometa_membership_t {
            version: membership.version,
            committed: membership.committed,
            changed,
            members: membership.members.into_iter().map(member).collect(),
        }
    }

    fn get(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }
}

impl From<Box<Membership>> for gometa_membership_t {
    fn from(membership: Box<Membership>) -> gometa_membership_t {
        gometa_membership_t::new(*membership, false)
    }
}

impl From<Box<MembersChanged>> for gometa_membership_t {
    fn from(changed: Box<MembersChanged>) -> gometa_membership_t {
        gometa_membership_t::new(changed.membership, changed.changed)
    }
}

/// Returns the version of the members, for the parameter `follows` of a change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_version(
    membership: *const gometa_membership_t,
) -> gometa_members_version_t {
    read!(membership, MembersVersion::default(), |membership| membership.version).into()
}

/// Returns whether the latest change is known to be committed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_is_committed(membership: *const gometa_membership_t) -> bool {
    read!(membership, false, |membership| membership.committed)
}

/// Returns whether the call that returned `membership` has changed it. False for gometa_client_membership, and if
/// there was nothing to change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_has_changed(membership: *const gometa_membership_t) -> bool {
    read!(membership, false, |membership| membership.changed)
}

/// Returns the number of members. They are in ascending order of their ids.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_count(membership: *const gometa_membership_t) -> usize {
    read!(membership, 0, |membership| membership.members.len())
}

/// Returns the id of a member by index, 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_node_id(
    membership: *const gometa_membership_t,
    index: usize,
) -> u64 {
    read!(membership, None, |membership| membership.get(index)).map_or(0, |member| member.record.node)
}

/// Returns whether the member at `index` is a voter, which counts in quorums, and not a learner.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_is_voter(
    membership: *const gometa_membership_t,
    index: usize,
) -> bool {
    read!(membership, None, |membership| membership.get(index)).is_some_and(|member| member.record.votes)
}

/// Returns whether the member at `index` is a learner that the leader makes a voter as soon as it is up to date.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_is_promised(
    membership: *const gometa_membership_t,
    index: usize,
) -> bool {
    read!(membership, None, |membership| membership.get(index)).is_some_and(|member| member.record.promised)
}

/// Returns the id of the member that is removed when the member at `index` is a voter, since this one takes its place;
/// 0 if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_replaces(
    membership: *const gometa_membership_t,
    index: usize,
) -> u64 {
    let member = read!(membership, None, |membership| membership.get(index));
    member.and_then(|member| member.record.replaces).unwrap_or(0)
}

/// Returns the identity of the data directory of the member at `index`, 16 bytes, and its length in `*len`, which may
/// be NULL. The length is 0 for a voter that was absent when the ensemble was formed, and if `index` is out of range.
/// Valid as long as `membership`. NULL if `membership` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_incarnation(
    membership: *const gometa_membership_t,
    index: usize,
    len: *mut usize,
) -> *const u8 {
    let member = read!(membership, None, |membership| membership.get(index));
    let bytes = lend(member.map_or(&[][..], |member| &member.record.incarnation), optional!(len));
    if membership.is_null() { std::ptr::null() } else { bytes }
}

/// Returns the address for votes (ElectionAddr) of the member at `index`. Empty if out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_election_address(
    membership: *const gometa_membership_t,
    index: usize,
) -> *const c_char {
    read!(membership, None, |membership| membership.get(index))
        .map_or(c"".as_ptr(), |member| member.election_address.as_ptr())
}

/// Returns the peer address (MessageAddr) of the member at `index`; logs name members by it. Empty if out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_message_address(
    membership: *const gometa_membership_t,
    index: usize,
) -> *const c_char {
    read!(membership, None, |membership| membership.get(index))
        .map_or(c"".as_ptr(), |member| member.message_address.as_ptr())
}

/// Returns the client address (RequestAddr) of the member at `index`. Empty if out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_request_address(
    membership: *const gometa_membership_t,
    index: usize,
) -> *const c_char {
    read!(membership, None, |membership| membership.get(index))
        .map_or(c"".as_ptr(), |member| member.request_address.as_ptr())
}

/// Frees a membership. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_membership_free(membership: *mut gometa_membership_t) {
    free!(membership);
}

/// Whether nodes can be stopped. Free with gometa_stop_advice_free.
pub struct gometa_stop_advice_t {
    safe: bool,
    reason: CString,
}

impl From<Box<StopAdvice>> for gometa_stop_advice_t {
    fn from(advice: Box<StopAdvice>) -> gometa_stop_advice_t {
        gometa_stop_advice_t { safe: advice.safe, reason: c_string(&advice.reason) }
    }
}

/// Returns whether the other voters are a quorum that is connected and has every committed write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_stop_advice_is_safe(advice: *const gometa_stop_advice_t) -> bool {
    read!(advice, false, |advice| advice.safe)
}

/// Returns one line: why it is not safe. Empty if it is. Valid as long as `advice`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_stop_advice_reason(advice: *const gometa_stop_advice_t) -> *const c_char {
    read!(advice, c"".as_ptr(), |advice| advice.reason.as_ptr())
}

/// Frees an advice. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_stop_advice_free(advice: *mut gometa_stop_advice_t) {
    free!(advice);
}
