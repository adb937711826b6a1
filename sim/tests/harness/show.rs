//! How a transcript puts what happens into words.

use bytes::Bytes;
use gometa_proto::v1::{
    self, NodeMessage, Response, WriteContext, command, node_message, request, response::Result as Answer,
};
use gometa_zab::{HardState, LogEntry, Message, NodeId, Notice, Vote, VoteState};
use prost::Message as _;

/// What a line is about; a script can hide what it is not about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Topic {
    /// Datagrams.
    Votes,
    /// Heartbeats and their answers.
    Heartbeats,
    /// Connections, greetings, roles.
    Links,
    /// Storage writes.
    Writes,
    /// Discovery and synchronisation: what happens between an election and its end.
    Joining,
    /// Proposals, acknowledgements, commits, what is forwarded.
    Broadcast,
    /// Everything else: clients, disks, leaders.
    Story,
}

/// A node's name: A is 1, B is 2.
pub(crate) fn name(node: NodeId) -> String {
    u8::try_from(node.0)
        .ok()
        .filter(|number| (1..=26).contains(number))
        .map_or_else(|| node.to_string(), |number| char::from(b'A' + number - 1).to_string())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An operation, without its session.
fn operation(operation: &request::Operation) -> String {
    match operation {
        request::Operation::Add(add) => format!("add {} = {}", text(&add.key), text(&add.value)),
        request::Operation::Set(set) => format!("set {} = {}", text(&set.key), text(&set.value)),
        request::Operation::Cas(cas) => {
            format!("cas {} at {} = {}", text(&cas.key), cas.revision, text(&cas.value))
        }
        request::Operation::Delete(delete) => format!("delete {}", text(&delete.key)),
        other => format!("{} {other:?}", other.kind().name()),
    }
}

/// A write with its place in its session: the smallest seq awaited is named where it is not this one.
pub(crate) fn written(context: WriteContext, what: &request::Operation) -> String {
    let from = if context.lowest == context.seq {
        String::new()
    } else {
        format!(", awaits from {}", context.lowest)
    };
    format!("{} (session {}, seq {}{from})", operation(what), context.session, context.seq)
}

/// What a log entry carries.
pub(crate) fn command(payload: &Bytes) -> String {
    match gometa_store::decode_command(payload.clone()).ok().and_then(|command| command.body) {
        Some(command::Body::CreateSession(_)) => "open a session".to_owned(),
        Some(command::Body::EndSessions(end)) => format!("end sessions {:?}", end.sessions),
        Some(command::Body::Write(v1::Request { write, operation: Some(what), .. })) => {
            written(write.unwrap_or_default(), &what)
        }
        Some(command::Body::Write(_)) | None => "nonsense".to_owned(),
    }
}

/// A log entry.
pub(crate) fn entry(entry: &LogEntry) -> String {
    format!("{} {}", entry.zxid, command(&entry.payload))
}

fn entries(list: &[LogEntry]) -> String {
    list.iter().map(entry).collect::<Vec<_>>().join(" and ")
}

/// What one node tells another's upper half.
fn relayed(payload: &Bytes) -> (Topic, String) {
    let text = match NodeMessage::decode(payload.clone()).ok().and_then(|message| message.body) {
        Some(node_message::Body::Forward(forward)) => {
            let commands: Vec<String> = forward.commands.iter().map(command).collect();
            format!("Forward {}", commands.join(" and "))
        }
        Some(node_message::Body::ForwardRejected(_)) => "ForwardRejected".to_owned(),
        Some(node_message::Body::BarrierRequest(_)) => "BarrierRequest".to_owned(),
        Some(node_message::Body::BarrierReply(reply)) if reply.passed => {
            format!("BarrierReply: read at {}", reply.commit)
        }
        Some(node_message::Body::BarrierReply(_)) => "BarrierReply: not passed".to_owned(),
        Some(node_message::Body::Contacts(contacts)) => format!("Contacts {:?}", contacts.sessions),
        Some(node_message::Body::Announcements(_)) => return (Topic::Links, "Announcements".to_owned()),
        None => "nonsense".to_owned(),
    };
    (Topic::Broadcast, text)
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

/// A message, without sender and receiver.
pub(crate) fn message(message: &Message) -> (Topic, String) {
    match message {
        Message::Hello(_)
        | Message::Prepare(_)
        | Message::Prepared(_)
        | Message::Seal(_)
        | Message::Formed(_)
        | Message::Duplicate(_)
        | Message::Progress { .. } => (Topic::Links, kind(message).to_owned()),
        Message::FollowerEpoch { accepted, .. } => (Topic::Joining, format!("FollowerEpoch {accepted}")),
        Message::NewEpoch(epoch) => (Topic::Joining, format!("NewEpoch {epoch}")),
        Message::AckEpoch { epoch, current, last, .. } => {
            (Topic::Joining, format!("AckEpoch {epoch}: current epoch {current}, last {last}"))
        }
        Message::RefuseEpoch { accepted, .. } => {
            (Topic::Joining, format!("RefuseEpoch: promised {accepted}"))
        }
        Message::Refuse(reason) => (Topic::Links, format!("Refuse: {reason:?}")),
        Message::Diff { base, .. } => (Topic::Joining, format!("Diff from {base}")),
        Message::NewLeader { epoch, last } => (Topic::Joining, format!("NewLeader {epoch} through {last}")),
        Message::AckNewLeader { epoch, last } => {
            (Topic::Joining, format!("AckNewLeader {epoch} through {last}"))
        }
        Message::UpToDate { commit, .. } => (Topic::Joining, format!("UpToDate, commit {commit}")),
        Message::Propose { entries: list, .. } => (Topic::Broadcast, format!("Propose {}", entries(list))),
        Message::Ack { last, .. } => (Topic::Broadcast, format!("Ack {last}")),
        Message::Commit { commit, .. } => (Topic::Broadcast, format!("Commit {commit}")),
        Message::Relay(payload) => relayed(payload),
        Message::Heartbeat { id, .. } => (Topic::Heartbeats, format!("Heartbeat {id}")),
        Message::Alive { .. } => (Topic::Heartbeats, "Alive".to_owned()),
        Message::HeartbeatAck { id, .. } => (Topic::Heartbeats, format!("HeartbeatAck {id}")),
    }
}

/// A write of the protocol's, in words, and in one word, for `fail`. `before` is the hard state written last.
pub(crate) fn write(write: &gometa_zab::Write, before: HardState) -> (&'static str, String) {
    match write {
        gometa_zab::Write::Append(list) => ("append", entries(list)),
        gometa_zab::Write::Truncate(to) => ("cut", format!("cut to {to}")),
        gometa_zab::Write::HardState(hard) if hard.accepted_epoch > before.accepted_epoch => {
            let leader = hard.accepted_leader.map_or_else(|| "nobody".to_owned(), name);
            ("promise", format!("promise {} to {leader}", hard.accepted_epoch))
        }
        gometa_zab::Write::HardState(hard) => ("epoch", format!("current epoch {}", hard.current_epoch)),
        gometa_zab::Write::Founding(_) => ("founding", "genesis".to_owned()),
    }
}

/// A vote.
pub(crate) fn vote(vote: &Vote) -> String {
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

/// What a node notes.
pub(crate) fn notice(me: &str, notice: &Notice) -> (Topic, String) {
    match notice {
        Notice::Looking { why, .. } => (Topic::Story, format!("{me} looks for a leader: {why}")),
        Notice::Elected { leader, .. } => (Topic::Story, format!("{me} elects {}", name(*leader))),
        Notice::Established { epoch, last } => {
            (Topic::Story, format!("{me} is established in epoch {epoch}, initial history through {last}"))
        }
        Notice::UpToDate { epoch, leader } => {
            (Topic::Story, format!("{me} is up to date with {} in epoch {epoch}", name(*leader)))
        }
        Notice::Truncated { from, to } => (Topic::Story, format!("{me} cuts its log from {from} to {to}")),
        Notice::LostFollower { peer, why } => {
            (Topic::Joining, format!("{me} loses follower {}: {why}", name(*peer)))
        }
        Notice::Discovered { epoch, .. } => {
            (Topic::Joining, format!("{me} has a quorum's promise of epoch {epoch}"))
        }
        Notice::Synchronising { peer, from, base, .. } => {
            (Topic::Joining, format!("{me} synchronises {}: last {from}, common point {base}", name(*peer)))
        }
        Notice::Synchronised { peer, last } => {
            (Topic::Joining, format!("{me} has {} up to date at {last}", name(*peer)))
        }
        Notice::OtherEnsemble { peer, .. } => {
            (Topic::Story, format!("{me} hears a vote of {} for another ensemble", name(*peer)))
        }
        Notice::Refused { .. } | Notice::RefusedBy { .. } | Notice::GreetingRefused { .. } => {
            (Topic::Links, format!("{me} notes a refusal"))
        }
        other => (Topic::Story, format!("{me} notes {other:?}")),
    }
}

/// An answer to a client.
pub(crate) fn answer(response: &Response) -> String {
    match &response.result {
        Some(Answer::SessionOpened(opened)) => format!("session {} is open", opened.session),
        Some(Answer::SessionEnded(v1::SessionEnded { existed: true })) => "the session has ended".to_owned(),
        Some(Answer::SessionEnded(_)) => "there was no session to end".to_owned(),
        Some(Answer::Written(written)) => {
            format!("written at {}, version {}", written.revision, written.version)
        }
        Some(Answer::Deleted(deleted)) => format!("deleted at {}", deleted.revision),
        Some(Answer::Entry(entry)) => entry_found(entry),
        Some(Answer::Status(_)) => "its status".to_owned(),
        Some(Answer::Error(error)) => {
            let actual = match error.actual_revision {
                0 => String::new(),
                actual => format!(", the key is at {actual}"),
            };
            format!("{}{actual}, outcome {}", error.error_kind().name(), error.error_outcome())
        }
        None => "nothing".to_owned(),
    }
}

/// A key's record.
pub(crate) fn entry_found(entry: &v1::Entry) -> String {
    format!(
        "{} = {} at {}, version {}",
        text(&entry.key),
        text(&entry.value),
        entry.mod_revision,
        entry.version
    )
}
