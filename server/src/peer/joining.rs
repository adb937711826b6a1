//! Joining an ensemble: asks its members, by their request addresses, to record this node (docs/operations.md, "Add a node").
//!
//! The answer lists the members. They are hints only: the node dials them for the genesis, and follows their leader. It asks
//! again until it is a member of its own configuration, since all of them may be gone meanwhile; to repeat the request is
//! harmless.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gometa_client::{Client, MemberRecord, NewMember};
use gometa_proto::check;
use gometa_zab::{Addresses, EnsembleId, Incarnation, Levels, NodeId, Voter};
use tracing::{info, warn};

use crate::inbox::{Inbox, Item};

/// The time for one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two requests that fail.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The time in which a member finds its leader.
const MEMBER_PATIENCE: Duration = Duration::from_secs(2);
/// The time after which a node that was recorded, and is not yet a member, asks again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// The time between two log lines with the same reason.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A node that joins.
pub(crate) struct Joining {
    /// The request addresses of members.
    pub(crate) members: Vec<String>,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) addresses: Addresses,
    /// Whether it is to become a voter.
    pub(crate) voter: bool,
    /// The ensemble of its data directory, if it was a member before.
    pub(crate) ensemble: Option<EnsembleId>,
    /// Set when it is a member and has a leader.
    pub(crate) joined: Arc<AtomicBool>,
}

impl Joining {
    /// Asks until this node is a member with a leader, and puts the members into the inbox. A node that is a member as far as it
    /// knows asks only when it finds no leader for a while: it may have been removed.
    pub(crate) async fn run(self, inbox: Arc<Inbox>, member: bool) {
        if member {
            tokio::time::sleep(MEMBER_PATIENCE).await;
        }
        let mut logged: Option<(String, Instant)> = None;
        let mut recorded = false;
        while !self.joined.load(Ordering::Relaxed) {
            let pause = match self.ask().await {
                Ok((members, changed)) => {
                    if !std::mem::replace(&mut recorded, true) {
                        info!(members = members.len(), changed, "recorded by the ensemble, joining");
                    }
                    inbox.put_answer(Item::MembersHeard(members));
                    REPEAT_INTERVAL
                }
                Err(reason) => {
                    let due = logged
                        .as_ref()
                        .is_none_or(|(last, at)| *last != reason || at.elapsed() >= LOG_INTERVAL);
                    if due {
                        warn!(members = self.members.join(","), reason, "cannot join yet, will be retried");
                        logged = Some((reason, Instant::now()));
                    }
                    RETRY_INTERVAL
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks once. Returns the members, and whether the request has changed them.
    async fn ask(&self) -> Result<(Vec<Voter>, bool), String> {
        // A client of its own each time: the members that it learns of may be gone.
        let builder = Client::builder().name("gometa-server").timeout(TIMEOUT);
        let client = builder.build(&self.members).map_err(|error| error.to_string())?;
        if let Some(own) = self.ensemble {
            let status = client.status().await.map_err(|error| error.to_string())?;
            let same = status
                .ensemble
                .as_ref()
                .is_none_or(|theirs| theirs.id == own.id.to_be_bytes()[..] && theirs.history == own.history);
            let later = |theirs: &gometa_client::EnsembleId| {
                theirs.id == own.id.to_be_bytes()[..] && theirs.history > own.history
            };
            if status.ensemble.as_ref().is_some_and(later) {
                return Err("the ensemble was founded anew, and the data directory of this node is of its earlier history: \
                            move it away, and start with an empty one"
                    .to_owned());
            }
            if !same {
                return Err("the data directory of this node belongs to another ensemble: to join this one, start with an \
                            empty directory"
                    .to_owned());
            }
        }
        let new = NewMember {
            node: self.node.0,
            incarnation: Bytes::copy_from_slice(&self.incarnation.0.to_be_bytes()),
            election_address: self.addresses.election.clone(),
            message_address: self.addresses.message.clone(),
            request_address: self.addresses.request.clone(),
            voter: self.voter,
            level_min: Levels::SUPPORTED.min,
            level_max: Levels::SUPPORTED.max,
        };
        let result = client.add_learner(new).await;
        client.close().await;
        let answer = result.map_err(|error| error.message().to_owned())?;
        Ok((answer.membership.members.into_iter().filter_map(voter).collect(), answer.changed))
    }
}

/// A member of an answer; `None` if it has an invalid address.
fn voter(member: MemberRecord) -> Option<Voter> {
    let addresses = Addresses {
        election: member.election_address,
        message: member.message_address,
        request: member.request_address,
    };
    let valid =
        [&addresses.election, &addresses.message].into_iter().all(|text| check::address(text).is_ok());
    valid.then_some(Voter { node: NodeId(member.node), incarnation: None, addresses })
}
