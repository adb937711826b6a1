//! The lines of a transcript.

use bytes::Bytes;
use gometa_zab::{
    Change, Configuration, DiskSpace, EnsembleId, HardState, IntegrityNotice, LogEntry, Message, NodeId,
    Notice, Role, Vote, VoteState, Write,
};

/// The subject of a line; a script can hide the lines of some subjects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// Datagrams.
    Votes,
    /// Heartbeats and their answers.
    Heartbeats,
    /// Connections, greetings, sync progress, roles.
    Links,
    /// Storage writes.
    Writes,
    /// Formation, discovery, synchronisation.
    Joining,
    /// Proposals, acks, commits, forwarded messages.
    Broadcast,
    /// Everything else: clients, disks, leaders.
    Story,
}

impl Topic {
    /// The topic that a script calls by this word.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse(word: &str) -> Result<Topic, String> {
        Ok(match word {
            "votes" => Topic::Votes,
            "heartbeats" => Topic::Heartbeats,
            "links" => Topic::Links,
            "writes" => Topic::Writes,
            "joining" => Topic::Joining,
            "broadcast" => Topic::Broadcast,
            other => return Err(format!("there is no topic {other}")),
        })
    }
}

/// A node's name: A is 1, B is 2.
pub fn name(node: NodeId) -> String {
    u8::try_from(node.0)
        .ok()
        .filter(|number| (1..=26).contains(number))
        .map_or_else(|| node.to_string(), |number| char::from(b'A' + number - 1).to_string())
}

fn names(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "none".to_owned(),
        nodes => nodes.iter().map(|node| name(*node)).collect::<Vec<_>>().join(", "),
    }
}

/// A node, or none.
pub fn name_or_none(node: Option<NodeId>) -> String {
    node.map_or_else(|| "none".to_owned(), name)
}

/// A node's role; `None` while it is down.
pub fn role(role: Option<Role>) -> String {
    match role {
        None => "down".to_owned(),
        Some(Role::Forming) => "forms the ensemble".to_owned(),
        Some(Role::Looking) => "looks".to_owned(),
        Some(Role::Following { leader, established: Some(epoch) }) => {
            format!("follows {} in epoch {epoch}", name(leader))
        }
        Some(Role::Following { leader, established: None }) => format!("joins {}", name(leader)),
        Some(Role::Leading { established: Some(epoch) }) => format!("leads epoch {epoch}"),
        Some(Role::Leading { established: None }) => "is about to lead".to_owned(),
    }
}

/// A vote.
pub fn vote(vote: &Vote) -> String {
    let state = match vote.state {
        VoteState::Looking => "looks",
        VoteState::Following => "follows",
        VoteState::Leading => "leads",
        VoteState::Seeking => "seeks",
    };
    let established =
        vote.established.map_or_else(String::new, |epoch| format!(", established in epoch {epoch}"));
    let candidate = vote.candidate;
    format!(
        "Vote: {state}, round {}, for {} with epoch {}, last {}{established}",
        vote.round,
        name(candidate.node),
        candidate.epoch,
        candidate.last
    )
}

/// How the payloads of entries and of relayed messages are shown, and the names of ensembles in the order of their
/// formation: G1, G2.
pub struct Names {
    pub payload: fn(&Bytes) -> String,
    pub relayed: fn(&Bytes) -> (Topic, String),
    ensembles: Vec<EnsembleId>,
}

impl Names {
    pub fn new(payload: fn(&Bytes) -> String, relayed: fn(&Bytes) -> (Topic, String)) -> Names {
        Names { payload, relayed, ensembles: Vec::new() }
    }

    /// A log entry with its payload.
    pub fn entry(&self, entry: &LogEntry) -> String {
        match entry.configuration() {
            Some(configuration) => format!("{} {}", entry.zxid, members(&configuration)),
            None => format!("{} {}", entry.zxid, (self.payload)(&entry.payload)),
        }
    }

    fn entries(&self, list: &[LogEntry]) -> String {
        match list {
            [one] => self.entry(one),
            [first, .., last] => format!("{} to {}", self.entry(first), self.entry(last)),
            [] => "nothing".to_owned(),
        }
    }

    fn ensemble(&mut self, id: EnsembleId) -> String {
        let place = self.ensembles.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.ensembles.push(id);
            self.ensembles.len() - 1
        });
        format!("G{}", place + 1)
    }

    /// A message, without sender and receiver.
    pub fn message(&mut self, message: &Message) -> (Topic, String) {
        use Topic::{Broadcast, Heartbeats, Joining, Links};
        match message {
            Message::Hello(_) => (Links, "Hello".to_owned()),
            Message::Prepare(genesis) => (Joining, format!("Prepare {}", self.ensemble(genesis.ensemble))),
            Message::Prepared(ensemble) => (Joining, format!("Prepared {}", self.ensemble(*ensemble))),
            Message::Seal(ensemble) => (Joining, format!("Seal {}", self.ensemble(*ensemble))),
            Message::Formed(genesis) => (Joining, format!("Formed {}", self.ensemble(genesis.ensemble))),
            Message::FollowerEpoch { accepted, .. } => (Joining, format!("FollowerEpoch {accepted}")),
            Message::NewEpoch(epoch) => (Joining, format!("NewEpoch {epoch}")),
            Message::AckEpoch { epoch, current, last, .. } => {
                (Joining, format!("AckEpoch {epoch}: current epoch {current}, last {last}"))
            }
            Message::RefuseEpoch { accepted, leader } => {
                (Joining, format!("RefuseEpoch: promised {accepted} to {}", name_or_none(*leader)))
            }
            Message::Refuse(reason) => (Joining, format!("Refuse: {reason:?}")),
            Message::Duplicate(addresses) => {
                (Joining, format!("Duplicate: another one is at {}", addresses.message))
            }
            Message::Diff { base, .. } => (Joining, format!("Diff from {base}")),
            Message::Propose { previous, entries: list, commit, .. } => {
                let commit = if *commit > 0 { format!(", commit {commit}") } else { String::new() };
                (Broadcast, format!("Propose {} after {previous}{commit}", self.entries(list)))
            }
            Message::Progress { last, .. } => (Links, format!("Progress {last}")),
            Message::NewLeader { epoch, last } => (Joining, format!("NewLeader {epoch} through {last}")),
            Message::AckNewLeader { epoch, last } => {
                (Joining, format!("AckNewLeader {epoch} through {last}"))
            }
            Message::UpToDate { commit, .. } => (Joining, format!("UpToDate, commit {commit}")),
            Message::Ack { last, .. } => (Broadcast, format!("Ack {last}")),
            Message::Commit { commit, .. } => (Broadcast, format!("Commit {commit}")),
            Message::Heartbeat { id, .. } => (Heartbeats, format!("Heartbeat {id}")),
            Message::Alive { .. } => (Heartbeats, "Alive".to_owned()),
            Message::HeartbeatAck { id, space: DiskSpace::Ample, .. } => {
                (Heartbeats, format!("HeartbeatAck {id}"))
            }
            Message::HeartbeatAck { id, space, .. } => {
                (Heartbeats, format!("HeartbeatAck {id}, disk space {space:?}"))
            }
            Message::Quarantine { fault, .. } => (Broadcast, format!("Quarantine, {fault:?}")),
            Message::Handoff { target, last, .. } => {
                (Broadcast, format!("Handoff to {}, last {last}", name(*target)))
            }
            Message::Snapshot(part) => (Joining, format!("Snapshot {}", String::from_utf8_lossy(part))),
            Message::Relay(payload) => (self.relayed)(payload),
        }
    }

    /// A storage write, and its kind in one word. `before` is the hard state written last.
    pub fn write(&mut self, write: &Write, before: HardState) -> (&'static str, String) {
        match write {
            Write::Append(list) => ("append", self.entries(list)),
            Write::Truncate(to) => ("cut", format!("cut to {to}")),
            Write::Compact(to) => ("compact", format!("delete through {to}")),
            Write::Install(at) => ("install", format!("install the snapshot at {at}")),
            Write::HardState(hard) if hard.accepted_epoch > before.accepted_epoch => {
                let leader = name_or_none(hard.accepted_leader);
                ("promise", format!("promise {} to {leader}", hard.accepted_epoch))
            }
            Write::HardState(hard) => ("epoch", format!("current epoch {}", hard.current_epoch)),
            Write::Founding(founding) => {
                let sealed = if founding.sealed { "sealed" } else { "unsealed" };
                ("founding", format!("genesis {}, {sealed}", self.ensemble(founding.genesis.ensemble)))
            }
        }
    }

    pub fn notice(&mut self, me: &str, notice: &Notice) -> (Topic, String) {
        use Topic::{Joining, Links, Story};
        match notice {
            Notice::FoundsWithQuorum(absent) => {
                (Story, format!("{me} founds an ensemble without {}", names(absent)))
            }
            Notice::WaitingFor(nodes) => (Story, format!("{me} waits for {}", names(nodes))),
            Notice::ConfigurationDiffers { peer, only_theirs, only_ours } => {
                let peer = name(*peer);
                let only = format!("only theirs {only_theirs:?}, only ours {only_ours:?}");
                (Story, format!("{me} differs from {peer}: {only}"))
            }
            Notice::Formed { ensemble, votes } => {
                let votes = if *votes { "" } else { ", without a vote" };
                (Story, format!("{me} belongs to {}{votes}", self.ensemble(*ensemble)))
            }
            Notice::Looking { why, .. } => (Story, format!("{me} looks for a leader: {why}")),
            Notice::Elected { leader, .. } => (Story, format!("{me} elects {}", name(*leader))),
            Notice::Discovered { epoch, .. } => {
                (Joining, format!("{me} has a quorum's promise of epoch {epoch}"))
            }
            Notice::Established { epoch, last } => {
                (Story, format!("{me} is established in epoch {epoch}, initial history through {last}"))
            }
            Notice::Synchronising { peer, from, base, votes } => {
                let votes = if *votes { "" } else { ", which does not count" };
                let points = format!("last {from}, common point {base}");
                (Joining, format!("{me} synchronises {}{votes}: {points}", name(*peer)))
            }
            Notice::Synchronised { peer, last } => {
                (Joining, format!("{me} has {} up to date at {last}", name(*peer)))
            }
            Notice::UpToDate { epoch, leader } => {
                (Story, format!("{me} is up to date with {} in epoch {epoch}", name(*leader)))
            }
            Notice::SnapshotNeeded { peer, votes, from, base } => {
                let votes = if *votes { "" } else { ", which does not count" };
                let points = format!("last {from}, base {base}");
                (Joining, format!("{me} needs a snapshot for {}{votes}: {points}", name(*peer)))
            }
            Notice::SnapshotSent { peer, at } => {
                (Joining, format!("{me} sends {} a snapshot at {at}", name(*peer)))
            }
            Notice::SnapshotInstalled { from, at } => {
                (Story, format!("{me} replaces its log, which ended at {from}, by a snapshot at {at}"))
            }
            Notice::SnapshotDiscarded { at, last } => {
                (Story, format!("{me} discards a snapshot at {at}: its log ends at {last}"))
            }
            Notice::Truncated { from, to } => (Story, format!("{me} cuts its log from {from} to {to}")),
            Notice::LostFollower { peer, why } => {
                (Joining, format!("{me} loses follower {}: {why}", name(*peer)))
            }
            Notice::Refused { .. } | Notice::RefusedBy { .. } | Notice::HelloRefused { .. } => {
                (Links, format!("{me} notes a refusal"))
            }
            Notice::LevelsDiffer { peer, levels, .. } => {
                (Links, format!("{me} and {} have no common feature level: {levels}", name(*peer)))
            }
            Notice::Duplicate { peer, served, other } => {
                let places = format!("from {} and from {}", served.message, other.message);
                (Story, format!("{me} finds two nodes {}: {places}", name(*peer)))
            }
            Notice::DuplicateOfSelf { peer, addresses } => {
                let text = format!("another {me} is at {}", addresses.message);
                (Story, format!("{me} learns from {} that {text}", name(*peer)))
            }
            Notice::OtherEnsemble { peer, .. } => {
                (Story, format!("{me} receives a vote of {} for another ensemble", name(*peer)))
            }
            Notice::DiskSpace { space: DiskSpace::Ample, .. } => {
                (Story, format!("{me}: the disks have space again"))
            }
            Notice::DiskSpace { space, node } => {
                let level = if *space == DiskSpace::Low { "low" } else { "critical" };
                (Story, format!("{me}: disk space is {level} at {}", name(*node)))
            }
            Notice::SlowStorage { node, .. } => {
                (Links, format!("{me} learns of a slow disk: {}", name(*node)))
            }
            Notice::Integrity(notice) => (Story, integrity(me, *notice, name)),
            Notice::ChangeProposed { change, version } => {
                (Story, format!("{me} proposes {} at {version}", described(change, name)))
            }
            Notice::ChangeWaits { change, why } => {
                (Story, format!("{me} is to propose {}, which waits: {why:?}", described(change, name)))
            }
            Notice::TransferRejected { to, why } => {
                (Story, format!("{me} rejects a transfer to {}: {why:?}", any_or_name(*to)))
            }
            Notice::TransferBegun { to, why } => {
                (Story, format!("{me} begins a transfer to {}: {why}", any_or_name(*to)))
            }
            Notice::TransferTakenBack { why } => (Story, format!("{me} takes the transfer back: {why}")),
            Notice::HandedOver { epoch, target, last } => {
                (Story, format!("{me} hands epoch {epoch} over to {}, last {last}", name(*target)))
            }
            Notice::Handoff { epoch, target } => {
                (Story, format!("{me} is told that epoch {epoch} is handed over to {}", name(*target)))
            }
            Notice::UnrecordedIncarnation { peer } => {
                (Story, format!("{me} does not count {}: another data directory", name(*peer)))
            }
        }
    }
}

/// The members of a configuration.
fn members(configuration: &Configuration) -> String {
    let voters: Vec<NodeId> = configuration.voters().iter().map(|voter| voter.node).collect();
    let learners: Vec<NodeId> = configuration.learners().iter().map(|learner| learner.node).collect();
    let learners =
        if learners.is_empty() { String::new() } else { format!(", learners {}", names(&learners)) };
    format!("voters {}{learners}", names(&voters))
}

/// The target of a transfer of the leadership.
fn any_or_name(to: Option<NodeId>) -> String {
    to.map_or_else(|| "the best voter".to_owned(), name)
}

/// A change of the configuration, in words.
fn described(change: &Change, name: impl Fn(NodeId) -> String) -> String {
    match change {
        Change::AddLearner(learner) => format!("to add the learner {}", name(learner.node)),
        Change::ReplaceIncarnation { node, .. } => format!("another data directory of {}", name(*node)),
        Change::RemoveLearner(node) => format!("to remove the learner {}", name(*node)),
        Change::Promote(node) => format!("to promote {}", name(*node)),
        Change::RemoveVoter(node) => format!("to remove the voter {}", name(*node)),
        Change::Exchange { node, .. } => format!("to exchange {}", name(*node)),
        Change::SetAddresses { node, .. } => format!("other addresses of {}", name(*node)),
        Change::SetDesiredRole { node, desired } => {
            format!("{desired:?} as the desired role of {}", name(*node))
        }
        Change::Replace(it) => format!("to replace {} by {}", name(it.old), name(it.new)),
        Change::RaiseLevel(level) => format!("feature level {level}"),
        Change::CancelReplacement(node) => format!("to cancel the replacement by {}", name(*node)),
    }
}

/// The name of a message's kind, for `hold`.
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "Hello",
        Message::Prepare(_) => "Prepare",
        Message::Prepared(_) => "Prepared",
        Message::Seal(_) => "Seal",
        Message::Formed(_) => "Formed",
        Message::FollowerEpoch { .. } => "FollowerEpoch",
        Message::NewEpoch(_) => "NewEpoch",
        Message::AckEpoch { .. } => "AckEpoch",
        Message::RefuseEpoch { .. } => "RefuseEpoch",
        Message::Refuse(_) => "Refuse",
        Message::Duplicate(_) => "Duplicate",
        Message::Diff { .. } => "Diff",
        Message::Propose { .. } => "Propose",
        Message::Progress { .. } => "Progress",
        Message::NewLeader { .. } => "NewLeader",
        Message::AckNewLeader { .. } => "AckNewLeader",
        Message::UpToDate { .. } => "UpToDate",
        Message::Ack { .. } => "Ack",
        Message::Commit { .. } => "Commit",
        Message::Heartbeat { .. } => "Heartbeat",
        Message::Alive { .. } => "Alive",
        Message::HeartbeatAck { .. } => "HeartbeatAck",
        Message::Quarantine { .. } => "Quarantine",
        Message::Handoff { .. } => "Handoff",
        Message::Snapshot(_) => "Snapshot",
        Message::Relay(_) => "Relay",
    }
}

fn integrity(me: &str, notice: IntegrityNotice, name: impl Fn(NodeId) -> String) -> String {
    match notice {
        IntegrityNotice::AtFault { node, fault } => format!("{me} finds {} at fault: {fault:?}", name(node)),
        IntegrityNotice::Waits { node, fault } => {
            format!("{me} cannot do without {}, at fault: {fault:?}", name(node))
        }
        IntegrityNotice::StatesDiffer { counter } => {
            format!("{me} finds different states at {counter}, and no majority")
        }
        IntegrityNotice::Refused { fault } => format!("{me} does not confirm {fault:?}"),
    }
}
