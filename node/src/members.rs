//! Requests about the members: those of this node's clients, and those that this node carries out as leader.
//!
//! A request goes to the leader, which plans from its configuration what is to be done ([`plan`]): nothing, since it holds
//! already; one change; or to hand over, since a leader does not remove itself. All of them are idempotent, so a request
//! whose leader is lost is sent to the next one.

use std::collections::BTreeMap;

use gometa_proto::{
    ErrorKind,
    v1::{self, Error, request::Operation},
};
use gometa_zab::{
    Addresses, Change, ChangeRejection, Configuration, DesiredRole, FIRST_LEVEL, Incarnation, Learner,
    Levels, LinkId, NodeId, Refused, Replacement, Ticks, TransferRejection, Voter, Zxid,
};

use crate::requests::Ticket;

/// The most requests that a leader carries out at a time; further ones are refused.
const LEADING_MAX: usize = 256;

/// A request of a client of this node.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    /// Whether it was given to the present leader.
    given: bool,
    /// The leader that it was given to first.
    first_leader: Option<NodeId>,
    /// Whether a leader that it was given to is lost, and may have carried it out.
    exposed: bool,
}

impl Asked {
    /// Whether a leader that is lost may have carried it out, or the present one may, if it has not answered.
    fn may_apply(&self, unanswered: bool) -> bool {
        self.operation.kind().has_effect() && (self.exposed || unanswered)
    }
}

/// Where a request that a leader carries out comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asker {
    /// A client of this node.
    Own(Ticket),
    /// A follower, which knows the request as `id`.
    Follower { link: LinkId, id: u64 },
}

/// How far a leader is with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Its plan is to be made.
    New,
    /// The protocol core is asked for the change.
    Proposing,
    /// The change is in the log under this version, and is not committed.
    Committing(Zxid),
    /// Another change, with this version, comes first.
    Behind(Zxid),
    /// Too few voters are up to date: others may connect in a moment, as after a change of the leader. It is tried again at
    /// this time.
    Retrying(Ticks),
    /// The leadership is being handed over, to this node if one was named.
    HandingOver(Option<NodeId>),
    /// Nothing is to be done: a quorum is asked whether this node still leads.
    Confirming,
}

/// A request that this node carries out as leader.
#[derive(Clone, Debug)]
pub(crate) struct Led {
    pub(crate) asker: Asker,
    pub(crate) operation: Operation,
    pub(crate) deadline: Ticks,
    pub(crate) since: Ticks,
    pub(crate) stage: Stage,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct MemberRequests {
    next: u64,
    /// Those of this node's clients, in the order of their arrival.
    asked: BTreeMap<Ticket, Asked>,
    /// Those that were sent to the leader, by the number under which it answers.
    sent: BTreeMap<u64, Ticket>,
    /// On a leader: those under way, by number.
    pub(crate) led: BTreeMap<u64, Led>,
}

impl MemberRequests {
    /// Adds a request of a client.
    pub(crate) fn ask(&mut self, ticket: Ticket, operation: Operation) {
        self.asked.insert(ticket, Asked { operation, given: false, first_leader: None, exposed: false });
    }

    /// Whether a client's request may have been carried out, although it is not answered.
    pub(crate) fn may_apply(&self, ticket: Ticket) -> bool {
        self.asked.get(&ticket).is_some_and(|asked| asked.may_apply(asked.given))
    }

    /// Takes the requests that another leader than the first one settles by its mere leadership, and marks the others as
    /// given to this leader. Returns both.
    pub(crate) fn give(&mut self, leader: NodeId) -> (Vec<Ticket>, Vec<(Ticket, Operation)>) {
        let (mut settled, mut given) = (Vec::new(), Vec::new());
        for (ticket, asked) in self.asked.iter_mut().filter(|(_, asked)| !asked.given) {
            if let Operation::TransferLeadership(v1::TransferLeadership { to }) = asked.operation
                && asked.first_leader.is_some_and(
                    |first| {
                        if to == 0 { first != leader } else { to == leader.0 }
                    },
                )
            {
                settled.push(*ticket);
                continue;
            }
            asked.first_leader.get_or_insert(leader);
            asked.given = true;
            given.push((*ticket, asked.operation.clone()));
        }
        settled.iter().for_each(|ticket| drop(self.asked.remove(ticket)));
        (settled, given)
    }

    /// Numbers a request that is sent to the leader.
    pub(crate) fn send(&mut self, ticket: Ticket) -> u64 {
        self.next += 1;
        self.sent.insert(self.next, ticket);
        self.next
    }

    /// The request that the leader answers under this number.
    pub(crate) fn answered(&mut self, id: u64) -> Option<Ticket> {
        self.sent.remove(&id)
    }

    /// Takes a request that is answered. Returns whether an earlier leader may have carried it out.
    pub(crate) fn finish(&mut self, ticket: Ticket) -> bool {
        self.asked.remove(&ticket).is_some_and(|asked| asked.may_apply(false))
    }

    /// Begins to carry out a request; false if there are too many.
    pub(crate) fn lead(&mut self, asker: Asker, operation: Operation, deadline: Ticks, now: Ticks) -> bool {
        if self.led.len() >= LEADING_MAX {
            return false;
        }
        self.next += 1;
        self.led.insert(self.next, Led { asker, operation, deadline, since: now, stage: Stage::New });
        true
    }

    /// The leadership is over, or this node follows no leader any more: what was given to it is given to the next one.
    pub(crate) fn leader_lost(&mut self) {
        probe!("members.request-held", self.asked.values().any(|asked| asked.given));
        self.led.clear();
        self.sent.clear();
        for asked in self.asked.values_mut() {
            asked.exposed |= std::mem::take(&mut asked.given);
        }
    }

    /// Forgets requests whose clients wait no longer.
    pub(crate) fn retain(&mut self, waits: impl Fn(Ticket) -> bool, now: Ticks) {
        self.asked.retain(|ticket, _| waits(*ticket));
        self.sent.retain(|_, ticket| waits(*ticket));
        self.led.retain(|_, led| match led.asker {
            Asker::Own(ticket) => waits(ticket),
            Asker::Follower { .. } => led.deadline > now,
        });
    }
}

/// What a leader has to do for a request.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Plan {
    /// Nothing: it holds already, or is a question.
    Holds,
    /// Make this change.
    Change(Change),
    /// Hand over, to this node if one is named.
    HandOver(Option<NodeId>),
    /// It is refused.
    Refuse(Error),
}

/// Plans a request on the leader `me`, whose configuration this is.
pub(crate) fn plan(operation: &Operation, configuration: &Configuration, me: NodeId) -> Plan {
    let plan = match operation {
        Operation::AddLearner(add) => plan_add(add, configuration),
        Operation::PromoteMember(promote) => plan_promote(NodeId(promote.node), configuration),
        Operation::RemoveMember(remove) => plan_remove(NodeId(remove.node), configuration, me),
        Operation::ReplaceMember(replace) => {
            let replacement = Replacement { old: NodeId(replace.node), new: NodeId(replace.replacement) };
            plan_replace(replacement, configuration)
        }
        Operation::CancelPromotion(cancel) => plan_cancel(NodeId(cancel.node), configuration),
        Operation::FinalizeUpgrade(finalize) if finalize.level <= configuration.level() => Plan::Holds,
        Operation::FinalizeUpgrade(finalize) => Plan::Change(Change::RaiseLevel(finalize.level)),
        Operation::TransferLeadership(transfer) => plan_transfer(transfer.to, configuration, me),
        Operation::SafeToStop(question) => {
            let unknown = question.nodes.iter().find(|node| !configuration.contains(NodeId(**node)));
            unknown.map_or(Plan::Holds, |node| Plan::Refuse(no_member(NodeId(*node))))
        }
        _ => Plan::Refuse(Error::not_applied(ErrorKind::Unsupported, "the leader has no such operation")),
    };
    let follows = match operation {
        Operation::PromoteMember(promote) => promote.follows,
        Operation::RemoveMember(remove) => remove.follows,
        Operation::ReplaceMember(replace) => replace.follows,
        Operation::CancelPromotion(cancel) => cancel.follows,
        _ => None,
    };
    let version = configuration.version();
    match follows {
        Some(v1::MembersVersion { epoch, counter })
            if Zxid::new(epoch, counter) != version && !matches!(plan, Plan::Holds) =>
        {
            Plan::Refuse(precondition(format!(
                "the members have changed: their version is {version}, not ({epoch}, {counter})"
            )))
        }
        _ => plan,
    }
}

fn plan_add(add: &v1::AddLearner, configuration: &Configuration) -> Plan {
    let node = NodeId(add.node);
    let incarnation = incarnation_of(add);
    let desired = if add.voter { DesiredRole::Voter } else { DesiredRole::Learner };
    let member = configuration.members().into_iter().find(|member| member.node == node);
    let levels = Levels { min: add.level_min.max(FIRST_LEVEL), max: add.level_max.max(FIRST_LEVEL) };
    let level = configuration.level();
    if !levels.contains(level) {
        let message = format!(
            "the ensemble runs at feature level {level}, the program of node {node} supports {levels}: install a version \
             that supports it"
        );
        return Plan::Refuse(Error::not_applied(ErrorKind::Unsupported, message));
    }
    let Some(member) = member else {
        let addresses = Addresses {
            election: add.election_address.clone(),
            message: add.message_address.clone(),
            request: add.request_address.clone(),
        };
        return Plan::Change(Change::AddLearner(Learner { node, incarnation, addresses, desired }));
    };
    let known = member.incarnation == Some(incarnation);
    if !known && member.addresses.message != add.message_address {
        return Plan::Refuse(Error::not_applied(
            ErrorKind::AlreadyExists,
            format!(
                "node {node} is a member already, at {} and with another data directory: set another Id in Host of the new \
                 node's file, or remove that member first",
                member.addresses.message
            ),
        ));
    }
    let learner = configuration.learner(node);
    if known && add.voter && learner.is_some_and(|learner| learner.desired == DesiredRole::Learner) {
        return Plan::Change(Change::SetDesiredRole { node, desired });
    }
    // The leader records another data directory of the same node when that connects.
    Plan::Holds
}

fn plan_promote(node: NodeId, configuration: &Configuration) -> Plan {
    if configuration.learner(node).is_some() {
        Plan::Change(Change::Promote(node))
    } else if configuration.contains(node) {
        Plan::Holds
    } else {
        Plan::Refuse(no_member(node))
    }
}

fn plan_remove(node: NodeId, configuration: &Configuration, me: NodeId) -> Plan {
    if configuration.learner(node).is_some() {
        Plan::Change(Change::RemoveLearner(node))
    } else if !configuration.contains(node) {
        Plan::Holds
    } else if configuration.voters().len() == 1 {
        Plan::Refuse(precondition(describe_refusal(Refused::LastVoter)))
    } else if node == me {
        Plan::HandOver(None)
    } else {
        Plan::Change(Change::RemoveVoter(node))
    }
}

fn plan_replace(replacement: Replacement, configuration: &Configuration) -> Plan {
    let Replacement { old, new } = replacement;
    let learner = configuration.learner(new);
    if configuration.replaced_by(new) == Some(old) {
        return Plan::Holds;
    }
    if !configuration.contains(old) {
        // It is removed already, and the new one is a voter or on its way.
        let done = configuration.contains(new) && learner.is_none_or(|it| it.desired == DesiredRole::Voter);
        return if done { Plan::Holds } else { Plan::Refuse(no_member(old)) };
    }
    match learner {
        Some(_) => Plan::Change(Change::Replace(replacement)),
        None if configuration.contains(new) => {
            Plan::Refuse(precondition(format!("node {new} is a voter already: remove node {old} instead")))
        }
        None => Plan::Refuse(no_member(new)),
    }
}

fn plan_cancel(node: NodeId, configuration: &Configuration) -> Plan {
    if configuration.replaced_by(node).is_some() {
        return Plan::Change(Change::CancelReplacement(node));
    }
    match configuration.learner(node) {
        Some(learner) if learner.desired == DesiredRole::Learner => Plan::Holds,
        Some(_) => Plan::Change(Change::SetDesiredRole { node, desired: DesiredRole::Learner }),
        None if configuration.contains(node) => {
            Plan::Refuse(precondition(format!("node {node} is a voter already: remove it instead")))
        }
        None => Plan::Refuse(no_member(node)),
    }
}

fn plan_transfer(to: u64, configuration: &Configuration, me: NodeId) -> Plan {
    let node = NodeId(to);
    if to == 0 {
        Plan::HandOver(None)
    } else if node == me {
        Plan::Holds
    } else if configuration.voters().iter().any(|voter| voter.node == node) {
        Plan::HandOver(Some(node))
    } else if configuration.contains(node) {
        Plan::Refuse(precondition(format!("node {node} is a learner, which cannot lead: promote it first")))
    } else {
        Plan::Refuse(no_member(node))
    }
}

/// The incarnation of a node that asks to be a member; the request is checked.
fn incarnation_of(add: &v1::AddLearner) -> Incarnation {
    let bytes = <[u8; 16]>::try_from(&add.incarnation[..]).unwrap_or_default();
    Incarnation(u128::from_be_bytes(bytes))
}

fn precondition(message: String) -> Error {
    Error::not_applied(ErrorKind::FailedPrecondition, message)
}

fn no_member(node: NodeId) -> Error {
    Error::not_applied(ErrorKind::NotFound, format!("node {node} is no member"))
}

/// Why a change is not possible, for people.
fn describe_refusal(refused: Refused) -> String {
    match refused {
        Refused::LastVoter => "it is the last voter: promote another member first".to_owned(),
        Refused::TooMany => format!(
            "an ensemble has at most {} voters and {} learners",
            gometa_zab::VOTERS_MAX,
            gometa_zab::LEARNERS_MAX
        ),
        Refused::Member => "it is a member already".to_owned(),
        Refused::NotALearner => "it is no learner".to_owned(),
        Refused::NotAVoter => "it is no voter, or no member".to_owned(),
        Refused::SameIncarnation => "its data directory is recorded already".to_owned(),
        Refused::InReplacement => {
            "a member takes part in another replacement: wait for its end, or cancel it".to_owned()
        }
        Refused::NoReplacement => "it replaces no other member".to_owned(),
        Refused::NotALaterLevel => "the ensemble has this feature level, or a higher one, already".to_owned(),
    }
}

/// Why a change of the members is rejected, and what helps, for people. `name` returns how they know a node.
pub fn describe_rejection(why: &ChangeRejection, name: impl Fn(NodeId) -> String) -> String {
    match why {
        ChangeRejection::Impossible(refused) => describe_refusal(*refused),
        ChangeRejection::Pending(version) => format!(
            "an earlier change of the members, of revision {}, is not committed: more of its voters must be connected",
            version.counter
        ),
        ChangeRejection::NotLeader => "this node does not lead".to_owned(),
        ChangeRejection::Transferring => "the leadership is being handed over".to_owned(),
        ChangeRejection::OwnVote => {
            "the leader would lose its own vote: transfer the leadership first".to_owned()
        }
        ChangeRejection::LearnerBehind(None) => {
            "the learner is not connected, or catches up with the leader: look at `gometa status` and at its log"
                .to_owned()
        }
        ChangeRejection::LearnerBehind(Some(behind)) => {
            format!("the learner is {behind} revisions behind the leader: wait until it has caught up")
        }
        ChangeRejection::Level { absent, unsupported } => {
            let older = unsupported.iter().map(|(node, levels)| format!("{} supports {levels}", name(*node)));
            let absent = absent.iter().map(|node| format!("{} is not connected", name(*node)));
            format!(
                "not every member supports this feature level: {}; upgrade these, start them, or remove them",
                older.chain(absent).collect::<Vec<_>>().join(", ")
            )
        }
        ChangeRejection::NoQuorum(missing) => {
            let missing: Vec<String> = missing.iter().map(|node| name(*node)).collect();
            format!(
                "the ensemble would stop: of the voters after this change, {} {} not connected and up to date",
                missing.join(", "),
                if missing.len() == 1 { "is" } else { "are" }
            )
        }
    }
}

/// Why a transfer of the leadership is rejected, for people.
pub const fn describe_transfer_rejection(why: TransferRejection) -> &'static str {
    match why {
        TransferRejection::NotLeader => "this node does not lead",
        TransferRejection::UnderWay => "a transfer to another node is under way",
        TransferRejection::NoTarget => {
            "no such voter is connected, up to date, with disk space and without a fault"
        }
    }
}

/// The error of a rejected change. While the leadership changes, the client sends the request again.
pub(crate) fn rejected(why: &ChangeRejection, name: impl Fn(NodeId) -> String) -> Error {
    let message = describe_rejection(why, name);
    match why {
        ChangeRejection::NotLeader | ChangeRejection::Transferring => leadership_changes(message),
        ChangeRejection::Impossible(_)
        | ChangeRejection::Pending(_)
        | ChangeRejection::OwnVote
        | ChangeRejection::LearnerBehind(_)
        | ChangeRejection::NoQuorum(_)
        | ChangeRejection::Level { .. } => precondition(message),
    }
}

/// The error of a transfer that was rejected.
pub(crate) fn transfer_rejected(why: TransferRejection) -> Error {
    let message = describe_transfer_rejection(why).to_owned();
    match why {
        TransferRejection::NotLeader => leadership_changes(message),
        TransferRejection::UnderWay | TransferRejection::NoTarget => precondition(message),
    }
}

fn leadership_changes(message: String) -> Error {
    Error::not_applied(ErrorKind::Unavailable, message).with_retry_after_ms(50)
}

/// The error of a transfer that was taken back.
pub(crate) fn transfer_taken_back(why: &str) -> Error {
    precondition(format!("the leadership was not handed over: {why}"))
}

/// The members of a configuration, for clients.
pub fn membership(configuration: &Configuration, commit: u64) -> v1::Membership {
    let version = configuration.version();
    let record = |voter: &Voter| {
        let learner = configuration.learner(voter.node);
        let incarnation = voter.incarnation.map(|incarnation| incarnation.0.to_be_bytes().to_vec());
        v1::MemberRecord {
            node: voter.node.0,
            incarnation: incarnation.unwrap_or_default().into(),
            election_address: voter.addresses.election.clone(),
            message_address: voter.addresses.message.clone(),
            request_address: voter.addresses.request.clone(),
            votes: learner.is_none(),
            promised: learner.is_some_and(|learner| learner.desired != DesiredRole::Learner),
            replaces: configuration.replaced_by(voter.node).map_or(0, |old| old.0),
        }
    };
    v1::Membership {
        version: Some(v1::MembersVersion { epoch: version.epoch.0, counter: version.counter }),
        members: configuration.members().iter().map(record).collect(),
        committed: version.counter <= commit,
        level: configuration.level(),
    }
}
