//! The members of an ensemble: their types, and the requests about them.
//!
//! All of them are idempotent: if the answer was lost, the same call again is a success. They need no session.

use bytes::Bytes;
use gometa_proto::v1::{self, request::Operation as Body, response};

use crate::{client::Client, error::Result};

/// The version of a membership. Versions ascend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct MembersVersion {
    /// The epoch of the leader that made the change; 0 for the founding members.
    pub epoch: u64,
    /// The revision of the change; 0 for the founding members.
    pub revision: u64,
}

/// The members of an ensemble, with their roles.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct Membership {
    /// The version.
    pub version: MembersVersion,
    /// The members, ascending by node.
    pub members: Vec<MemberRecord>,
    /// Whether the latest change is known to be committed.
    pub committed: bool,
    /// The feature level of the ensemble; 0 from a node that does not tell.
    pub level: u32,
}

/// A member, as the ensemble has recorded it.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct MemberRecord {
    /// The node's id.
    pub node: u64,
    /// The identity of its data directory, 16 bytes; empty for a voter that was absent when the ensemble was formed.
    pub incarnation: Bytes,
    /// The address for votes.
    pub election_address: String,
    /// The address for other nodes, by which people know the node.
    pub message_address: String,
    /// The address for clients.
    pub request_address: String,
    /// Whether it is a voter, which counts in quorums, and not a learner.
    pub votes: bool,
    /// Whether it is a learner that the leader makes a voter as soon as it is up to date.
    pub promised: bool,
    /// The member that is removed when this one is a voter: it takes that one's place.
    pub replaces: Option<u64>,
}

/// The result of a change of the members.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct MembersChanged {
    /// The members after it.
    pub membership: Membership,
    /// False if there was nothing to change.
    pub changed: bool,
}

/// A node that asks to be a member.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct NewMember {
    /// The node's id.
    pub node: u64,
    /// The identity of its data directory, 16 bytes.
    pub incarnation: Bytes,
    /// The address for votes, "host:port".
    pub election_address: String,
    /// The address for other nodes.
    pub message_address: String,
    /// The address for clients.
    pub request_address: String,
    /// Whether the leader makes it a voter as soon as it is up to date.
    pub voter: bool,
    /// The lowest feature level that its program supports; 0 for the first one.
    pub level_min: u32,
    /// The highest feature level that its program supports; 0 for the first one.
    pub level_max: u32,
}

/// Whether nodes can be stopped.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub struct StopAdvice {
    /// Whether the other voters are a quorum that has every committed write.
    pub safe: bool,
    /// Why not, in one line; empty if it is safe.
    pub reason: String,
}

impl Client {
    /// Returns the members with their roles, as the node in use knows them.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) also while the ensemble is not formed,
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded), and refusals of all nodes.
    pub async fn membership(&self) -> Result<Membership> {
        self.call(Body::ListMembers(v1::ListMembers {}), |result| match result {
            response::Result::Membership(membership) => Some(Membership::from_wire(membership)),
            _ => None,
        })
        .await
    }

    /// Adds a learner. Nodes do this themselves, with `gometa-server -join`.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if another node with this id is a member,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if its program does not support the ensemble's feature level,
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument), and those of every change: see
    /// [`promote_member`](Self::promote_member).
    pub async fn add_learner(&self, new: NewMember) -> Result<MembersChanged> {
        self.change(Body::AddLearner(v1::AddLearner {
            node: new.node,
            incarnation: new.incarnation,
            election_address: new.election_address,
            message_address: new.message_address,
            request_address: new.request_address,
            voter: new.voter,
            level_min: new.level_min,
            level_max: new.level_max,
        }))
        .await
    }

    /// Makes a learner a voter. With `follows`, only if this is the version of the members.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) if the learner is not up to date, too few of
    /// the voters after the change are, or `follows` is another version;
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the node is no member;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable),
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded), and refusals of all nodes.
    /// [`Error::outcome`](crate::Error::outcome) tells whether the change may have been made.
    pub async fn promote_member(&self, node: u64, follows: Option<MembersVersion>) -> Result<MembersChanged> {
        self.change(Body::PromoteMember(v1::PromoteMember { node, follows: wire(follows) })).await
    }

    /// Removes a voter or a learner; it is no error if the node is no member. With `follows`, only if this is the version of
    /// the members. A leader hands over before it is removed.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) if it is the last voter, if too few of the
    /// voters after the change are up to date, or `follows` is another version; and those of
    /// [`promote_member`](Self::promote_member).
    pub async fn remove_member(&self, node: u64, follows: Option<MembersVersion>) -> Result<MembersChanged> {
        self.change(Body::RemoveMember(v1::RemoveMember { node, follows: wire(follows) })).await
    }

    /// Replaces a voter: makes the learner `replacement` a voter, and removes `node`. Returns when this is recorded; the
    /// leader then does it in steps, as soon as the learner is up to date, and goes on after a change of the leader. It is
    /// done when [`membership`](Self::membership) does not list `node` and lists `replacement` as a voter. With `follows`,
    /// only if this is the version of the members.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) if `replacement` is a voter already, `node`
    /// is a learner, one of the two takes part in another replacement, or `follows` is another version;
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if one of them is no member,
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if they are the same; and those of
    /// [`promote_member`](Self::promote_member).
    pub async fn replace_member(
        &self,
        node: u64,
        replacement: u64,
        follows: Option<MembersVersion>,
    ) -> Result<MembersChanged> {
        let follows = wire(follows);
        self.change(Body::ReplaceMember(v1::ReplaceMember { node, replacement, follows })).await
    }

    /// Leaves a learner that is to become a voter a learner; a replacement of another member by this one ends. With
    /// `follows`, only if this is the version of the members.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) if it is a voter already, and those of
    /// [`promote_member`](Self::promote_member).
    pub async fn cancel_promotion(
        &self,
        node: u64,
        follows: Option<MembersVersion>,
    ) -> Result<MembersChanged> {
        self.change(Body::CancelPromotion(v1::CancelPromotion { node, follows: wire(follows) })).await
    }

    /// Hands the leadership over to a voter, or to any other one. Returns the node that leads now.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) if no such voter is up to date, with disk
    /// space and without a fault; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the node is no member; and those
    /// of [`promote_member`](Self::promote_member).
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64> {
        let body = Body::TransferLeadership(v1::TransferLeadership { to: to.unwrap_or_default() });
        self.call(body, |result| match result {
            response::Result::LeadershipTransferred(transferred) => Some(transferred.leader),
            _ => None,
        })
        .await
    }

    /// Raises the feature level of the ensemble, the last step of an upgrade. There is no way back: from then on nodes of a
    /// version that does not support it are refused. It is no error if the ensemble has this level, or a higher one.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) if a member is not connected, or runs a version
    /// that does not support the level: nothing is changed;
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if `level` is 0; and those of
    /// [`promote_member`](Self::promote_member).
    pub async fn finalize_upgrade(&self, level: u32) -> Result<MembersChanged> {
        self.change(Body::FinalizeUpgrade(v1::FinalizeUpgrade { level })).await
    }

    /// Asks whether these nodes can be stopped together without stopping the ensemble.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if one is no member,
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if none is named, and those of
    /// [`membership`](Self::membership).
    pub async fn safe_to_stop(&self, nodes: impl Into<Vec<u64>>) -> Result<StopAdvice> {
        let body = Body::SafeToStop(v1::SafeToStop { nodes: nodes.into() });
        self.call(body, |result| match result {
            response::Result::StopAdvice(v1::StopAdvice { safe, reason }) => {
                Some(StopAdvice { safe, reason })
            }
            _ => None,
        })
        .await
    }

    async fn change(&self, body: Body) -> Result<MembersChanged> {
        self.call(body, |result| match result {
            response::Result::MembersChanged(v1::MembersChanged { membership, changed }) => {
                let membership = Membership::from_wire(membership.unwrap_or_default());
                Some(MembersChanged { membership, changed })
            }
            _ => None,
        })
        .await
    }
}

fn wire(version: Option<MembersVersion>) -> Option<v1::MembersVersion> {
    version.map(|MembersVersion { epoch, revision }| v1::MembersVersion { epoch, counter: revision })
}

impl Membership {
    pub(crate) fn from_wire(membership: v1::Membership) -> Self {
        let v1::Membership { version, members, committed, level } = membership;
        let v1::MembersVersion { epoch, counter } = version.unwrap_or_default();
        Self {
            version: MembersVersion { epoch, revision: counter },
            members: members.into_iter().map(MemberRecord::from_wire).collect(),
            committed,
            level,
        }
    }
}

impl MemberRecord {
    pub(crate) fn from_wire(member: v1::MemberRecord) -> Self {
        let v1::MemberRecord {
            node,
            incarnation,
            election_address,
            message_address,
            request_address,
            votes,
            promised,
            replaces,
        } = member;
        let replaces = Some(replaces).filter(|node| *node != 0);
        Self {
            node,
            incarnation,
            election_address,
            message_address,
            request_address,
            votes,
            promised,
            replaces,
        }
    }
}
