//! The operations on the ensemble's members, in the forms of [`operations`](crate::operations).

use gometa_client::{Error, MemberChange, MembersVersion, Operation, Request};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::{gometa_future_t, take_reply},
    input::invalid,
    macros::{optional, read, required},
    membership::{gometa_members_version_t, gometa_membership_t, gometa_stop_advice_t},
    operations::{block, start},
    status::gometa_status_t,
};

unsafe fn membership_of() -> Result<Request, Error> {
    Ok(Request::Membership)
}

/// Reads the members with their roles, as known to the node that the client is connected to. Blocks. Free
/// `*membership` with gometa_membership_free.
///
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_membership(
    client: *const gometa_client_t,
    membership: *mut *mut gometa_membership_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(ListMembers, client, error, membership_of(), Membership => new membership)
}

/// Starts gometa_client_membership. Read the result with gometa_future_membership.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_membership_async(
    client: *const gometa_client_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(ListMembers, client, future, error, membership_of())
}

unsafe fn change(
    change: MemberChange,
    node: u64,
    follows: *const gometa_members_version_t,
) -> Result<Request, Error> {
    let follows = read!(follows, None, |version| Some(MembersVersion::from(*version)));
    Ok(Request::ChangeMember { change, node, follows })
}

unsafe fn promote(node: u64, follows: *const gometa_members_version_t) -> Result<Request, Error> {
    // SAFETY: NULL or valid; see the module `macros`.
    unsafe { change(MemberChange::Promote, node, follows) }
}

/// Makes a learner a voter, also if that has been done. Blocks. Free `*membership`, the members after the change, with
/// gometa_membership_free. `follows` is the version of the members that the change is to follow; NULL for any.
///
/// Returns GOMETA_FAILED_PRECONDITION if the learner is not up to date, if too few of the voters after the change are,
/// or if `follows` is another version; the error's message says what is missing.
/// Returns GOMETA_NOT_FOUND if the node is no member.
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
/// After an error, gometa_error_outcome says whether the change may have been made. The same call again is safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_promote_member(
    client: *const gometa_client_t,
    node: u64,
    follows: *const gometa_members_version_t,
    membership: *mut *mut gometa_membership_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(PromoteMember, client, error, promote(node, follows), MembersChanged => new membership)
}

/// Starts gometa_client_promote_member. Read the result with gometa_future_membership.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_promote_member_async(
    client: *const gometa_client_t,
    node: u64,
    follows: *const gometa_members_version_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(PromoteMember, client, future, error, promote(node, follows))
}

unsafe fn remove(node: u64, follows: *const gometa_members_version_t) -> Result<Request, Error> {
    // SAFETY: NULL or valid; see the module `macros`.
    unsafe { change(MemberChange::Remove, node, follows) }
}

/// Removes a voter or a learner; succeeds if the node is no member. A leader hands over before it is removed. Blocks.
/// `follows` and `membership` are those of gometa_client_promote_member.
///
/// Returns GOMETA_FAILED_PRECONDITION also if it is the last voter, and otherwise the errors of
/// gometa_client_promote_member, except for GOMETA_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_remove_member(
    client: *const gometa_client_t,
    node: u64,
    follows: *const gometa_members_version_t,
    membership: *mut *mut gometa_membership_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(RemoveMember, client, error, remove(node, follows), MembersChanged => new membership)
}

/// Starts gometa_client_remove_member. Read the result with gometa_future_membership.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_remove_member_async(
    client: *const gometa_client_t,
    node: u64,
    follows: *const gometa_members_version_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(RemoveMember, client, future, error, remove(node, follows))
}

unsafe fn replace(
    node: u64,
    replacement: u64,
    follows: *const gometa_members_version_t,
) -> Result<Request, Error> {
    // SAFETY: NULL or valid; see the module `macros`.
    unsafe { change(MemberChange::ReplaceBy(replacement), node, follows) }
}

/// Replaces the voter `node`: makes the learner `replacement` a voter, and removes `node`. Blocks until this is
/// recorded. The leader then does it in steps, as soon as the learner is up to date, also after a change of the leader;
/// it is done when gometa_client_membership lists `replacement` as a voter and `node` not at all. `follows` and
/// `membership` are those of gometa_client_promote_member.
///
/// Returns GOMETA_FAILED_PRECONDITION if `replacement` is a voter already, if `node` is a learner, if one of the two
/// takes part in another replacement, or if `follows` is another version.
/// Returns GOMETA_INVALID_ARGUMENT if `node` and `replacement` are the same, and otherwise the errors of
/// gometa_client_promote_member.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_replace_member(
    client: *const gometa_client_t,
    node: u64,
    replacement: u64,
    follows: *const gometa_members_version_t,
    membership: *mut *mut gometa_membership_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(ReplaceMember, client, error, replace(node, replacement, follows), MembersChanged => new membership)
}

/// Starts gometa_client_replace_member. Read the result with gometa_future_membership.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_replace_member_async(
    client: *const gometa_client_t,
    node: u64,
    replacement: u64,
    follows: *const gometa_members_version_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(ReplaceMember, client, future, error, replace(node, replacement, follows))
}

unsafe fn cancel(node: u64, follows: *const gometa_members_version_t) -> Result<Request, Error> {
    // SAFETY: NULL or valid; see the module `macros`.
    unsafe { change(MemberChange::CancelPromotion, node, follows) }
}

/// Leaves a learner that is to become a voter a learner; a replacement of another member by this one ends. Blocks.
/// `follows` and `membership` are those of gometa_client_promote_member.
///
/// Returns GOMETA_FAILED_PRECONDITION if the node is a voter already, and the errors of gometa_client_promote_member.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_cancel_promotion(
    client: *const gometa_client_t,
    node: u64,
    follows: *const gometa_members_version_t,
    membership: *mut *mut gometa_membership_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(CancelPromotion, client, error, cancel(node, follows), MembersChanged => new membership)
}

/// Starts gometa_client_cancel_promotion. Read the result with gometa_future_membership.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_cancel_promotion_async(
    client: *const gometa_client_t,
    node: u64,
    follows: *const gometa_members_version_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(CancelPromotion, client, future, error, cancel(node, follows))
}

unsafe fn transfer(to: u64) -> Result<Request, Error> {
    Ok(Request::TransferLeadership { to: (to != 0).then_some(to) })
}

/// Hands the leadership over to the voter `to`, or with 0 to any other one. Blocks. `leader`, the id of the node that
/// leads now, may be NULL.
///
/// Returns GOMETA_FAILED_PRECONDITION if no such voter is up to date, with disk space and without a fault, and the
/// errors of gometa_client_promote_member. The same call again is safe with a `to` that is not 0; with 0 it hands over
/// again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_transfer_leadership(
    client: *const gometa_client_t,
    to: u64,
    leader: *mut u64,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(TransferLeadership, client, error, transfer(to), Leader => leader)
}

/// Starts gometa_client_transfer_leadership. Read the result with gometa_future_leader.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_transfer_leadership_async(
    client: *const gometa_client_t,
    to: u64,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(TransferLeadership, client, future, error, transfer(to))
}

unsafe fn question(nodes: *const u64, count: usize) -> Result<Request, Error> {
    if nodes.is_null() {
        return Err(invalid(Operation::SafeToStop, "nodes is NULL"));
    }
    if count > NODES_MAX {
        return Err(invalid(Operation::SafeToStop, format!("{count} nodes are more than an ensemble has")));
    }
    // SAFETY: not NULL, and it covers `count` numbers; see the module `macros`.
    let nodes = unsafe { std::slice::from_raw_parts(nodes, count) };
    Ok(Request::SafeToStop { nodes: nodes.to_vec() })
}

/// More than the members of any ensemble, whose number the nodes check.
const NODES_MAX: usize = 1 << 16;

/// Asks whether the `count` members whose ids are at `nodes` can be stopped together without stopping the ensemble.
/// Blocks. Free `*advice` with gometa_stop_advice_free.
///
/// Returns GOMETA_NOT_FOUND if one is no member, GOMETA_INVALID_ARGUMENT if `count` is 0.
/// Returns GOMETA_UNAVAILABLE, GOMETA_DEADLINE_EXCEEDED and GOMETA_CLOSED like gometa_client_get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_safe_to_stop(
    client: *const gometa_client_t,
    nodes: *const u64,
    count: usize,
    advice: *mut *mut gometa_stop_advice_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    block!(SafeToStop, client, error, question(nodes, count), StopAdvice => new advice)
}

/// Starts gometa_client_safe_to_stop. Read the result with gometa_future_stop_advice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_safe_to_stop_async(
    client: *const gometa_client_t,
    nodes: *const u64,
    count: usize,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    start!(SafeToStop, client, future, error, question(nodes, count))
}
