//! Who the members are.

use std::ffi::{CString, c_char};

use gometa_client::{Role, View};

use crate::{input, node_status::gometa_role_t, text::c_string};

/// The members of the ensemble, as the node in use knows them. Free it with gometa_members_free. Any thread
/// may read it.
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

impl From<View> for gometa_members_t {
    fn from(view: View) -> gometa_members_t {
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

/// What the node in use does. GOMETA_ROLE_UNKNOWN for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_role(members: *const gometa_members_t) -> gometa_role_t {
    // SAFETY: NULL, or what the caller holds.
    unsafe { members.as_ref() }.map_or(gometa_role_t::GOMETA_ROLE_UNKNOWN, |members| members.role.into())
}

/// The leader's address for clients, empty where it is not known. It lives as long as *members*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_leader(members: *const gometa_members_t) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { members.as_ref() }.map_or(c"".as_ptr(), |members| members.leader.as_ptr())
}

/// How many members there are. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_count(members: *const gometa_members_t) -> usize {
    // SAFETY: NULL, or what the caller holds.
    unsafe { members.as_ref() }.map_or(0, |members| members.members.len())
}

/// The id of member number *member*, from 0. 0 for NULL and where there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_node(members: *const gometa_members_t, member: usize) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    let members = unsafe { members.as_ref() };
    members.and_then(|members| members.members.get(member)).map_or(0, |member| member.node)
}

/// The address for nodes, which people are shown, of member number *member*, from 0. It lives as long as
/// *members*. Empty for NULL and where there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_message_address(
    members: *const gometa_members_t,
    member: usize,
) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    let members = unsafe { members.as_ref() };
    members
        .and_then(|members| members.members.get(member))
        .map_or(c"".as_ptr(), |member| member.message_address.as_ptr())
}

/// The address for clients of member number *member*, from 0; empty where it is not known, for NULL, and
/// where there is none of this number. It lives as long as *members*.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_request_address(
    members: *const gometa_members_t,
    member: usize,
) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    let members = unsafe { members.as_ref() };
    members
        .and_then(|members| members.members.get(member))
        .map_or(c"".as_ptr(), |member| member.request_address.as_ptr())
}

/// Frees them. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_members_free(members: *mut gometa_members_t) {
    // SAFETY: NULL, or members that the caller gives up.
    unsafe { input::free(members) };
}
