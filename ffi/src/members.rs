//! The members of the ensemble.

use std::ffi::{CString, c_char};

use gometa_client::{Role, View};

use crate::{
    input::c_string,
    macros::{free, read},
    node_status::gometa_role_t,
};

/// The members of the ensemble and its leader, as known to one node. Free with gometa_members_free.
pub struct gometa_members_t {
    role: Role,
    leader: CString,
    members: Vec<Member>,
}

struct Member {
    node: u64,
    message_address: CString,
    request_address: CString,
}

impl From<Box<View>> for gometa_members_t {
    fn from(view: Box<View>) -> gometa_members_t {
        let member = |member: &gometa_client::Member| Member {
            node: member.node,
            message_address: c_string(&member.message_address),
            request_address: c_string(member.request_address.as_deref().unwrap_or_default()),
        };
        gometa_members_t {
            role: view.role,
            leader: c_string(view.leader.as_deref().unwrap_or_default()),
            members: view.members.iter().map(member).collect(),
        }
    }
}

impl gometa_members_t {
    fn get(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }
}

/// Returns the role of the node that answered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_role(members: *const gometa_members_t) -> gometa_role_t {
    read!(members, gometa_role_t::GOMETA_ROLE_UNKNOWN, |members| members.role.into())
}

/// Returns the leader's client address, empty if it is unknown. Valid as long as `members`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_leader_address(members: *const gometa_members_t) -> *const c_char {
    read!(members, c"".as_ptr(), |members| members.leader.as_ptr())
}

/// Returns the number of members, the answering node included. Their order is fixed within this object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_count(members: *const gometa_members_t) -> usize {
    read!(members, 0, |members| members.members.len())
}

/// Returns the id of a member by index, 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_node_id(members: *const gometa_members_t, index: usize) -> u64 {
    read!(members, None, |members| members.get(index)).map_or(0, |member| member.node)
}

/// Returns the peer address (MessageAddr) of the member at `index`; logs name members by it. Empty if out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_message_address(
    members: *const gometa_members_t,
    index: usize,
) -> *const c_char {
    read!(members, None, |members| members.get(index))
        .map_or(c"".as_ptr(), |member| member.message_address.as_ptr())
}

/// Returns the client address (RequestAddr) of a member by index. Empty if unknown or `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_request_address(
    members: *const gometa_members_t,
    index: usize,
) -> *const c_char {
    read!(members, None, |members| members.get(index))
        .map_or(c"".as_ptr(), |member| member.request_address.as_ptr())
}

/// Frees a list of members. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_free(members: *mut gometa_members_t) {
    free!(members);
}
