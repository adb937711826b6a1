//! How a transcript puts what happens into words.

use gometa_zab::{
    Effect, EnsembleId, HardState, LogEntry, Message, NodeId, Notice, Rejection, VoteState, Write,
};

/// What a line is about; a script can hide what it is not about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Topic {
    /// Datagrams.
    Votes,
    /// Heartbeats and their answers.
    Heartbeats,
    /// Connections, greetings, sync progress, roles: what other lines tell as well.
    Links,
    /// Storage writes.
    Writes,
    /// Everything else.
    Protocol,
}

/// A node's name: A is 1, B is 2.
pub(crate) fn name(node: NodeId) -> String {
    u8::try_from(node.0)
        .ok()
        .filter(|number| (1..=26).contains(number))
        .map_or_else(|| node.to_string(), |number| char::from(b'A' + number - 1).to_string())
}

fn names(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "nobody".to_owned(),
        nodes => nodes.iter().map(|node| name(*node)).collect::<Vec<_>>().join(", "),
    }
}

/// A log entry with its payload.
pub(crate) fn entry(entry: &LogEntry) -> String {
    format!("{} {}", entry.zxid, String::from_utf8_lossy(&entry.payload))
}

fn entries(list: &[LogEntry]) -> String {
    match list {
        [one] => entry(one),
        [first, .., last] => format!("{} to {}", entry(first), entry(last)),
        [] => "nothing".to_owned(),
    }
}

/// The order in which ensembles were founded gives them names: G1, G2.
#[derive(Default)]
pub(crate) struct Names {
    ensembles: Vec<EnsembleId>,
}

impl Names {
    fn ensemble(&mut self, id: EnsembleId) -> String {
        let place = self.ensembles.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.ensembles.push(id);
            self.ensembles.len() - 1
        });
        format!("G{}", place + 1)
    }

    /// A message, without sender and receiver.
    pub(crate) fn message(&mut self, message: &Message) -> (Topic, String) {
        let text = match message {
            Message::Hello(_) => return (Topic::Links, "Hello".to_owned()),
            Message::Prepare(genesis) => format!("Prepare {}", self.ensemble(genesis.ensemble)),
            Message::Prepared(ensemble) => format!("Prepared {}", self.ensemble(*ensemble)),
            Message::Seal(ensemble) => format!("Seal {}", self.ensemble(*ensemble)),
            Message::Formed(genesis) => format!("Formed {}", self.ensemble(genesis.ensemble)),
            Message::FollowerEpoch { accepted, .. } => format!("FollowerEpoch {accepted}"),
            Message::NewEpoch(epoch) => format!("NewEpoch {epoch}"),
            Message::AckEpoch { epoch, current, last, .. } => {
                format!("AckEpoch {epoch}: current epoch {current}, last {last}")
            }
            Message::RefuseEpoch { accepted, leader } => {
                let leader = leader.map_or_else(|| "nobody".to_owned(), name);
                format!("RefuseEpoch: promised {accepted} to {leader}")
            }
            Message::Refuse(reason) => format!("Refuse: {reason:?}"),
            Message::Duplicate(addresses) => format!("Duplicate: another one is at {}", addresses.message),
            Message::Diff { base, .. } => format!("Diff from {base}"),
            Message::Propose { previous, entries: list, commit, .. } => {
                let commit = if *commit > 0 { format!(", commit {commit}") } else { String::new() };
                format!("Propose {} after {previous}{commit}", entries(list))
            }
            Message::Progress { last, .. } => return (Topic::Links, format!("Progress {last}")),
            Message::NewLeader { epoch, last } => format!("NewLeader {epoch} through {last}"),
            Message::AckNewLeader { epoch, last } => format!("AckNewLeader {epoch} through {last}"),
            Message::UpToDate { commit, .. } => format!("UpToDate, commit {commit}"),
            Message::Ack { last, .. } => format!("Ack {last}"),
            Message::Commit { commit, .. } => format!("Commit {commit}"),
            Message::Heartbeat { id, .. } => return (Topic::Heartbeats, format!("Heartbeat {id}")),
            Message::Alive { .. } => return (Topic::Heartbeats, "Alive".to_owned()),
            Message::HeartbeatAck { id, .. } => return (Topic::Heartbeats, format!("HeartbeatAck {id}")),
            Message::Relay(payload) => format!("Relay {}", String::from_utf8_lossy(payload)),
        };
        (Topic::Protocol, text)
    }

    fn write(&mut self, write: &Write, before: HardState) -> String {
        match write {
            Write::Append(list) => entries(list),
            Write::Truncate(to) => format!("cut to {to}"),
            Write::HardState(hard) if hard.accepted_epoch > before.accepted_epoch => {
                let leader = hard.accepted_leader.map_or_else(|| "nobody".to_owned(), name);
                format!("promise {} to {leader}", hard.accepted_epoch)
            }
            Write::HardState(hard) => format!("current epoch {}", hard.current_epoch),
            Write::Founding(founding) => {
                let sealed = if founding.sealed { "sealed" } else { "unsealed" };
                format!("genesis {}, {sealed}", self.ensemble(founding.genesis.ensemble))
            }
        }
    }

    fn notice(&mut self, me: &str, notice: &Notice) -> (Topic, String) {
        let text = match notice {
            Notice::WaitingFor(nodes) => format!("{me} waits for {}", names(nodes)),
            Notice::ConfigurationDiffers { peer, only_theirs, only_ours } => {
                let peer = name(*peer);
                format!("{me} differs from {peer}: only theirs {only_theirs:?}, only ours {only_ours:?}")
            }
            Notice::Formed { ensemble, votes } => {
                let votes = if *votes { "" } else { ", without a vote" };
                format!("{me} belongs to {}{votes}", self.ensemble(*ensemble))
            }
            Notice::Looking { why, .. } => format!("{me} looks for a leader: {why}"),
            Notice::Elected { leader, .. } => format!("{me} elects {}", name(*leader)),
            Notice::Discovered { epoch, .. } => format!("{me} has a quorum's promise of epoch {epoch}"),
            Notice::Established { epoch, last } => {
                format!("{me} is established in epoch {epoch}, initial history through {last}")
            }
            Notice::Synchronising { peer, from, base, votes } => {
                let votes = if *votes { "" } else { ", which does not count" };
                format!("{me} synchronises {}{votes}: last {from}, common point {base}", name(*peer))
            }
            Notice::Synchronised { peer, last } => format!("{me} has {} up to date at {last}", name(*peer)),
            Notice::UpToDate { epoch, leader } => {
                format!("{me} is up to date with {} in epoch {epoch}", name(*leader))
            }
            Notice::Truncated { from, to } => format!("{me} cuts its log from {from} to {to}"),
            Notice::LostFollower { peer, why } => format!("{me} loses follower {}: {why}", name(*peer)),
            Notice::Refused { .. } | Notice::RefusedBy { .. } | Notice::GreetingRefused { .. } => {
                return (Topic::Links, format!("{me} notes a refusal"));
            }
            Notice::Duplicate { peer, served, other } => {
                format!(
                    "{me} hears {} twice: from {} and from {}",
                    name(*peer),
                    served.message,
                    other.message
                )
            }
            Notice::DuplicateOfThis { peer, addresses } => {
                format!("{me} hears from {} that another {me} is at {}", name(*peer), addresses.message)
            }
            Notice::OtherEnsemble { peer, .. } => {
                format!("{me} hears a vote of {} for another ensemble", name(*peer))
            }
            Notice::SlowStorage { node, .. } => {
                return (Topic::Links, format!("{me} hears of a slow disk: {}", name(*node)));
            }
            Notice::Amnesiac { peer } => {
                format!("{me} does not count {}: another data directory", name(*peer))
            }
        };
        (Topic::Protocol, text)
    }

    /// A line for an effect of a node; `to` is who is at the other end of the link, `before` the hard state
    /// that was written last.
    pub(crate) fn effect(
        &mut self,
        node: NodeId,
        to: Option<NodeId>,
        before: HardState,
        effect: &Effect,
    ) -> (Topic, String) {
        let me = name(node);
        let other = to.map_or_else(|| "nobody".to_owned(), name);
        match effect {
            Effect::Write { token, write } => {
                (Topic::Writes, format!("{me} writes {token}: {}", self.write(write, before)))
            }
            Effect::Read { from, to, .. } => (Topic::Links, format!("{me} reads {from} to {to}")),
            Effect::Datagram { to, vote } => {
                let state = match vote.state {
                    VoteState::Looking => "looks",
                    VoteState::Following => "follows",
                    VoteState::Leading => "leads",
                    VoteState::Seeking => "seeks",
                };
                let established = vote
                    .established
                    .map_or_else(String::new, |epoch| format!(", established in epoch {epoch}"));
                let candidate = vote.candidate;
                let text = format!(
                    "{me} → {} Vote: {state}, round {}, for {} with epoch {}, last {}{established}",
                    name(*to),
                    vote.round,
                    name(candidate.node),
                    candidate.epoch,
                    candidate.last
                );
                (Topic::Votes, text)
            }
            Effect::Connect { peer } => (Topic::Links, format!("{me} dials {}", name(*peer))),
            Effect::Send { message, .. } => {
                let (topic, text) = self.message(message);
                (topic, format!("{me} → {other} {text}"))
            }
            Effect::Close { .. } => (Topic::Links, format!("{me} closes the connection with {other}")),
            Effect::Commit { counter } => (Topic::Protocol, format!("{me} applies through {counter}")),
            Effect::Proposed { zxid, .. } => (Topic::Protocol, format!("{me} proposes {zxid}")),
            Effect::Rejected { why, .. } => {
                let why = match why {
                    Rejection::NotLeader => "it does not lead",
                    Rejection::Full => "too much is in flight",
                };
                (Topic::Protocol, format!("{me} rejects a proposal: {why}"))
            }
            Effect::BarrierPassed { id, commit } => {
                (Topic::Protocol, format!("{me} passes barrier {id}: read at {commit}"))
            }
            Effect::BarrierFailed { id } => (Topic::Protocol, format!("{me} fails barrier {id}")),
            Effect::Relayed { payload, .. } => {
                (Topic::Protocol, format!("{me} is told {}", String::from_utf8_lossy(payload)))
            }
            Effect::Role(role) => (Topic::Links, format!("{me} is {role:?}")),
            Effect::Notice(notice) => self.notice(&me, notice),
            Effect::Stop(reason) => (Topic::Protocol, format!("{me} stops: {reason}")),
        }
    }
}

/// The name of a message's kind, for `hold`.
pub(crate) fn kind(message: &Message) -> &'static str {
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
        Message::Relay(_) => "Relay",
    }
}
