//! 14. **Durable before sent**: when an ack of any kind, a vote or a promise is *sent*, the sender's crash image
//!     (what certainly survives a crash now) already contains what it claims. And with 13: no ack for an epoch
//!     other than the promised one, or to another leader than it was promised to. And rule 11a: nothing issued is
//!     still in flight when a node offers its history to a new leader.

use gometa_zab::{Epoch, Message, Vote, VoteState, Zxid};

use super::{Check, ensure, node_id};
use crate::disk::Disk;

const NAME: &str = "14 durable before sent";

/// The epoch is the durable promise, and was given to the receiver.
fn promised(node: usize, peer: Option<usize>, disk: &Disk, epoch: Epoch, what: &str) -> Check {
    let state = disk.durable.hard_state;
    let bound = peer.is_none_or(|peer| state.accepted_leader == Some(node_id(peer)));
    ensure!(
        state.accepted_epoch == epoch && bound,
        "13 epochs",
        "n{node} sends {what} of epoch {epoch} to {peer:?}, its durable promise is {state:?}"
    );
    Ok(())
}

/// The current epoch is this one, and the log holds `last`.
fn holds(node: usize, disk: &Disk, epoch: Epoch, last: Zxid, what: &str) -> Check {
    let state = disk.durable.hard_state;
    ensure!(
        state.current_epoch == epoch,
        NAME,
        "n{node} sends {what} of epoch {epoch}, its durable hard state is {state:?}"
    );
    contains(node, disk, last, what)
}

fn contains(node: usize, disk: &Disk, last: Zxid, what: &str) -> Check {
    ensure!(
        disk.durable.contains(last),
        NAME,
        "n{node} claims {last} in {what}, its durable log ends at {}",
        disk.durable.last()
    );
    Ok(())
}

fn settled(node: usize, disk: &Disk, what: &str) -> Check {
    let unsynced = disk.unsynced();
    ensure!(
        unsynced == 0,
        "rule 11a, settled before discovery",
        "n{node} sends {what} with {unsynced} writes under way"
    );
    Ok(())
}

/// The counter that is recorded as released with a write just issued is in the log after that write.
pub(super) fn released(node: usize, disk: &Disk, released: u64) -> Check {
    let last = disk.issued.last();
    ensure!(
        released <= last.counter,
        NAME,
        "n{node} records {released} as released in a log that ends at {last}"
    );
    Ok(())
}

/// A message is sent.
pub(super) fn message(node: usize, peer: Option<usize>, disk: &Disk, message: &Message) -> Check {
    let state = disk.durable.hard_state;
    match message {
        Message::FollowerEpoch { accepted, .. } => {
            ensure!(
                state.accepted_epoch == *accepted,
                NAME,
                "n{node} reports {accepted}, durable is {state:?}"
            );
            settled(node, disk, "its accepted epoch")
        }
        Message::NewEpoch(epoch) => {
            let own = state.accepted_leader == Some(node_id(node));
            let holds = own && state.accepted_epoch == *epoch;
            ensure!(holds, NAME, "n{node} asks for epoch {epoch}, its own durable promise is {state:?}");
            Ok(())
        }
        Message::AckEpoch { epoch, current, last, oldest, boundaries } => {
            promised(node, peer, disk, *epoch, "AckEpoch")?;
            settled(node, disk, "AckEpoch")?;
            let image = &disk.durable;
            let exact = state.current_epoch == *current && image.last() == *last;
            ensure!(
                exact && image.contains(*oldest) && image.boundaries().ends_with(boundaries),
                NAME,
                "n{node} reports current epoch {current}, last {last}, {boundaries:?} above {oldest}; durable: {state:?}, \
                 {:?} above {}",
                image.boundaries(),
                image.base
            );
            Ok(())
        }
        Message::RefuseEpoch { accepted, leader } => {
            let holds = state.accepted_epoch == *accepted && state.accepted_leader == *leader;
            ensure!(holds, NAME, "n{node} refuses with {accepted} for {leader:?}, durable is {state:?}");
            Ok(())
        }
        Message::Progress { last, .. } => contains(node, disk, *last, "Progress"),
        Message::AckNewLeader { epoch, last } => {
            promised(node, peer, disk, *epoch, "AckNewLeader")?;
            holds(node, disk, *epoch, *last, "AckNewLeader")
        }
        Message::Ack { epoch, last } => {
            promised(node, peer, disk, *epoch, "Ack")?;
            holds(node, disk, *epoch, *last, "Ack")
        }
        Message::HeartbeatAck { epoch, .. } => promised(node, peer, disk, *epoch, "HeartbeatAck"),
        Message::UpToDate { epoch, .. } => {
            let holds = state.current_epoch == *epoch;
            ensure!(holds, NAME, "n{node} says UpToDate in epoch {epoch}, durable is {state:?}");
            Ok(())
        }
        Message::Prepared(ensemble) => {
            let founding = disk.durable.founding.as_ref();
            let holds = founding.is_some_and(|founding| founding.genesis.ensemble == *ensemble);
            ensure!(holds, NAME, "n{node} says it prepared {ensemble:?}, durable is {founding:?}");
            Ok(())
        }
        Message::Seal(ensemble) => {
            let founding = disk.durable.founding.as_ref();
            let holds = founding.is_some_and(|founding| founding.genesis.ensemble == *ensemble);
            ensure!(holds, NAME, "n{node} seals {ensemble:?}, durable is {founding:?}");
            Ok(())
        }
        Message::Formed(genesis) => {
            let founding = disk.durable.founding.as_ref();
            let holds = founding.is_some_and(|founding| founding.sealed && founding.genesis == *genesis);
            ensure!(holds, NAME, "n{node} says {:?} is sealed, durable is {founding:?}", genesis.ensemble);
            Ok(())
        }
        Message::Hello(_)
        | Message::Alive { .. }
        | Message::Quarantine { .. }
        | Message::Handoff { .. }
        | Message::Prepare(_)
        | Message::Refuse(_)
        | Message::Duplicate(_)
        | Message::Diff { .. }
        | Message::Propose { .. }
        | Message::NewLeader { .. }
        | Message::Commit { .. }
        | Message::Heartbeat { .. }
        | Message::Snapshot(_)
        | Message::Relay(_) => Ok(()),
    }
}

/// A vote is sent.
pub(super) fn vote(node: usize, disk: &Disk, vote: &Vote) -> Check {
    let image = &disk.durable;
    if let Some(ensemble) = vote.ensemble {
        let sealed = image.founding.as_ref();
        let holds = sealed.is_some_and(|founding| founding.sealed && founding.genesis.ensemble == ensemble);
        ensure!(holds, NAME, "n{node} votes in {ensemble:?}, durable is {sealed:?}");
    }
    if vote.state == VoteState::Looking && vote.candidate.node == node_id(node) {
        let durable = vote.candidate.epoch <= image.hard_state.current_epoch;
        ensure!(
            durable,
            NAME,
            "n{node} votes for itself with {:?}, durable is {:?}",
            vote.candidate,
            image.hard_state
        );
        // A snapshot may have taken the place of the log without the node's knowledge; it is of a later state.
        if vote.candidate.last >= image.base {
            contains(node, disk, vote.candidate.last, "a vote")?;
        }
    }
    Ok(())
}
