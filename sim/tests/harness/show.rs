//! The lines of a transcript that concern clients and commands.

use bytes::Bytes;
use gometa_proto::v1::{
    self, NodeMessage, Response, WriteContext, command, node_message, request, response::Result as Answer,
};
use gometa_testkit::text::Topic;
use prost::Message as _;

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
        Some(command::Body::RaiseHorizon(raise)) => format!("raise the horizon to {}", raise.horizon),
        Some(command::Body::Write(v1::Request { write, operation: Some(what), .. })) => {
            written(write.unwrap_or_default(), &what)
        }
        Some(command::Body::Write(_)) | None => "nonsense".to_owned(),
    }
}

/// A message from one `Node` to another.
pub(crate) fn relayed(payload: &Bytes) -> (Topic, String) {
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
        Some(node_message::Body::MemberRequest(asked)) => {
            let asked = asked.request.and_then(|request| request.operation);
            format!("MemberRequest: {}", asked.as_ref().map_or_else(|| "nothing".to_owned(), operation))
        }
        Some(node_message::Body::MemberReply(reply)) => {
            format!("MemberReply: {}", reply.response.as_ref().map_or_else(|| "nothing".to_owned(), answer))
        }
        Some(node_message::Body::Contacts(contacts)) => format!("Contacts {:?}", contacts.sessions),
        None => "nonsense".to_owned(),
    };
    (Topic::Broadcast, text)
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
        Some(Answer::Page(page)) => format!("{} entries", page.count),
        Some(Answer::KeyHistory(page)) => format!("{} versions", page.versions.len()),
        Some(Answer::Txn(answer)) => format!("transaction {} at {}", answer.succeeded, answer.revision),
        Some(Answer::Settings(settings)) => format!("{} settings", settings.settings.len()),
        Some(Answer::Status(_)) => "its status".to_owned(),
        Some(Answer::MembersChanged(v1::MembersChanged { membership, changed })) => {
            let held = if *changed { "changed" } else { "nothing to change" };
            format!("{held}: {}", membership.as_ref().map_or_else(String::new, members))
        }
        Some(Answer::Membership(membership)) => members(membership),
        Some(Answer::LeadershipTransferred(transferred)) => {
            format!("node {:016x} leads", transferred.leader)
        }
        Some(Answer::StopAdvice(v1::StopAdvice { safe: true, .. })) => "safe to stop".to_owned(),
        Some(Answer::StopAdvice(advice)) => format!("not safe to stop: {}", advice.reason),
        Some(Answer::Error(error)) => {
            let actual = match error.actual_revision {
                0 => String::new(),
                actual => format!(", the key is at {actual}"),
            };
            format!("{}{actual}, outcome {}", error.error_kind().name(), error.error_outcome())
        }
        Some(Answer::Backup(_) | Answer::BackupChunk(_)) => "a backup".to_owned(),
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

/// The members of an ensemble; learners in parentheses.
fn members(membership: &v1::Membership) -> String {
    let member = |member: &v1::MemberRecord| match member.votes {
        true => format!("{:x}", member.node),
        false => format!("({:x})", member.node),
    };
    membership.members.iter().map(member).collect::<Vec<_>>().join(" ")
}
