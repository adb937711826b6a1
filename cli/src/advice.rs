//! Advice: what to try next after a failure, in one line.
//!
//! The kind of an error is not specific enough. Its message contains the messages of nodes and of the system, by whose
//! words causes are recognised, the most specific first.

use gometa_client::{Error, ErrorKind, Operation, Outcome};

use crate::words::quoted;

/// Causes of failures that are not those of the call itself: words of the message, and the advice.
const CAUSES: &[(&str, &str)] = &[
    (
        "another ensemble",
        "name peers of one ensemble only; `gometa status --peers ADDRESS` shows the members of a node's ensemble",
    ),
    (
        "does not speak",
        "another program listens there: name a node's RequestAddr, host:port, with --peers or GOMETA_PEERS",
    ),
    (
        "too many sessions",
        "the ensemble has its maximum number of sessions: close clients that are not needed, or wait until unused \
         sessions expire (SessionTimeoutMs)",
    ),
    (
        "connections",
        "the node has reached its ClientsMax: close connections that are not needed, or name other peers",
    ),
    ("too many requests", "the node is overloaded: repeat the command later, or with a longer --timeout"),
    ("too many writes", "the ensemble is overloaded: repeat the command later, or with a longer --timeout"),
    ("requests in flight", "send fewer requests at a time"),
    (
        "not formed yet",
        "every configured voter must run once to form the ensemble; `gometa status` shows which nodes answer",
    ),
    (
        "no leader",
        "a majority of the voters must run and reach each other; `gometa status` shows which are missing",
    ),
    ("lookup address", "check the host name; names are resolved at every attempt, so no restart is needed"),
];

/// Advice for the error of a call. `source` names where the peers' addresses come from.
pub(crate) fn for_error(error: &Error, source: &str) -> Option<String> {
    let key = error.key().map(quoted).unwrap_or_default();
    let about_members = error.operation().has_effect() && !error.operation().is_write();
    if about_members && error.outcome() == Outcome::Unknown {
        return Some("the change may have been made: repeat the command, which is harmless".to_owned());
    }
    if error.operation() == Operation::Txn && error.outcome() == Outcome::Unknown {
        return Some("read its keys before repeating the transaction".to_owned());
    }
    if error.kind() == ErrorKind::GuardFailed
        && error.operation() == Operation::Delete
        && error.outcome() == Outcome::Unknown
    {
        return Some(
            "the guard has failed during the deletions: keys that were deleted before stay deleted"
                .to_owned(),
        );
    }
    if error.operation() == Operation::SetSetting && error.outcome() == Outcome::Unknown {
        return Some("the setting may have been changed: `gometa settings` shows its value".to_owned());
    }
    if error.operation().is_write() && error.outcome() == Outcome::Unknown {
        return Some(format!("read the key before repeating the write: gometa get {key}"));
    }
    let advice = match (error.kind(), error.actual_revision()) {
        (ErrorKind::NotFound, _) if about_members || error.operation() == Operation::SafeToStop => {
            "`gometa member list` shows the members; a node joins with: gometa-server -join=…".to_owned()
        }
        (ErrorKind::NotFound, _) => format!("create it with: gometa set {key} VALUE"),
        (ErrorKind::AlreadyExists, revision) => {
            let revision = revision.unwrap_or_default();
            format!("replace it with: gometa set {key} VALUE, or: gometa cas {key} {revision} VALUE")
        }
        (ErrorKind::CasMismatch, Some(0)) if error.operation() == Operation::Cas => {
            format!("the key does not exist; create it with: gometa cas {key} 0 VALUE")
        }
        (ErrorKind::CasMismatch, Some(0)) => "the key does not exist".to_owned(),
        (ErrorKind::CasMismatch, revision) => {
            let revision =
                revision.map(|revision| format!("at revision {revision}")).unwrap_or("changed".to_owned());
            format!("the key is {revision} now; read it with: gometa get {key}")
        }
        (ErrorKind::GuardFailed, None | Some(0)) => {
            "nothing was written: if the guard's key is a lock, it is lost; take it again, and read again what it protects"
                .to_owned()
        }
        (ErrorKind::GuardFailed, Some(_)) => {
            "nothing was written: if the guard's key is a lock, it was lost and taken anew; `gometa get KEY -o json` \
             shows the create_revision that a guard is compared with"
                .to_owned()
        }
        (ErrorKind::HistoryChanged, _) => {
            "the latest writes may be lost, and revisions of the old history are void: read again what the command depends \
             on, then repeat it"
                .to_owned()
        }
        (
            ErrorKind::DeadlineExceeded
            | ErrorKind::Unavailable
            | ErrorKind::NotLeader
            | ErrorKind::ConnectionLost
            | ErrorKind::ResourceExhausted,
            _,
        ) => return Some(unanswered(error.kind(), error.message(), source)),
        (ErrorKind::SessionExpired, _) => "repeat the command: it opens a new session".to_owned(),
        (ErrorKind::InvalidArgument | ErrorKind::Unsupported, _) if error.message().contains("refused: ") => {
            "are these nodes of one ensemble, and of this version? `gometa status` shows each of them"
                .to_owned()
        }
        (ErrorKind::InvalidArgument, _) if error.message().contains("another ensemble") => {
            return Some(unanswered(error.kind(), error.message(), source));
        }
        (ErrorKind::Unsupported, _) => {
            "the node is older than this command; `gometa -o json status` shows the version of each node"
                .to_owned()
        }
        (ErrorKind::TooLarge, _) if error.operation() == Operation::Txn => {
            "a transaction has at most 128 comparisons, 128 operations in each branch, and 1 MiB in all; its keys have at \
             most 8 MiB of values"
                .to_owned()
        }
        (ErrorKind::TooLarge, _) => "keys have at most 4 KiB, values at most 1 MiB".to_owned(),
        (ErrorKind::Internal, _) => "this is a bug in gometa: report it, with the log of the node".to_owned(),
        // The message of an invalid argument is enough; the other kinds do not occur in this command.
        _ => return None,
    };
    Some(advice)
}

/// Advice if no node has answered a request for its status.
pub(crate) fn for_no_answer(reasons: &str, source: &str) -> String {
    cause(reasons).map_or_else(|| unreachable(source), str::to_owned)
}

/// Advice for a call without an answer.
fn unanswered(kind: ErrorKind, message: &str, source: &str) -> String {
    if let Some(advice) = cause(message) {
        return advice.to_owned();
    }
    match kind {
        ErrorKind::DeadlineExceeded => {
            "the node was reached but did not answer in time: `gometa status` shows whether there is a leader and a \
             quorum; --timeout TIME waits longer"
                .to_owned()
        }
        ErrorKind::ResourceExhausted | ErrorKind::NotLeader => "repeat the command later".to_owned(),
        _ => format!("{}; `gometa status` shows which nodes answer", unreachable(source)),
    }
}

fn cause(message: &str) -> Option<&'static str> {
    let known = CAUSES.iter().find(|(words, _)| message.contains(words)).map(|(_, advice)| *advice);
    // A node that has just died resets connections, too, but then refuses others.
    let wrong_port = ["before its welcome", "connection reset"].iter().any(|words| message.contains(words))
        && !message.contains("connection refused");
    known.or(wrong_port.then_some(
        "is it a node's RequestAddr? ElectionAddr and MessageAddr are for nodes only; the node's configuration file has all three",
    ))
}

fn unreachable(source: &str) -> String {
    format!(
        "is the ensemble running, and are these its request addresses (from {source})? name others with --peers \
         host:port,… or GOMETA_PEERS"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind, with messages that occur and words of the advice, None for no advice.
    #[test]
    fn every_error_gets_advice_that_fits_its_cause() {
        use ErrorKind::*;
        let table: &[(ErrorKind, Operation, &str, Option<&str>)] = &[
            (InvalidArgument, Operation::Get, "the key is empty; keys have at least 1 byte", None),
            (
                InvalidArgument,
                Operation::Get,
                "refused: invalid argument: a second Hello",
                Some("of one ensemble"),
            ),
            (InvalidArgument, Operation::Get, "belongs to another ensemble", Some("peers of one ensemble")),
            (NotFound, Operation::Get, "there is no such key", Some("gometa set")),
            (AlreadyExists, Operation::Add, "the key exists at revision 7", Some("gometa cas")),
            (CasMismatch, Operation::Cas, "the key is at revision 7", Some("read it with")),
            (
                Unavailable,
                Operation::Get,
                "no connection to any node within 5s (a:1: connection refused)",
                Some("is the ensemble running"),
            ),
            (
                Unavailable,
                Operation::Get,
                "no connection to any node within 5s (a:1: connection reset)",
                Some("RequestAddr?"),
            ),
            (
                Unavailable,
                Operation::Get,
                "no connection to any node within 5s (a:1: connection reset; b:1: connection refused)",
                Some("is the ensemble running"),
            ),
            (
                DeadlineExceeded,
                Operation::Get,
                "no answer from a:1 within 5s",
                Some("was reached but did not answer"),
            ),
            (
                DeadlineExceeded,
                Operation::Set,
                "no success within 5s; before: a:1: there are too many sessions",
                Some("SessionTimeoutMs"),
            ),
            (
                DeadlineExceeded,
                Operation::Set,
                "no success within 5s; before: a:1: this node has no leader, or the leader no quorum",
                Some("majority of the voters"),
            ),
            (
                DeadlineExceeded,
                Operation::Set,
                "no success within 5s; before: a:1: the ensemble is not formed yet",
                Some("every configured voter"),
            ),
            (
                DeadlineExceeded,
                Operation::Set,
                "no success within 5s; before: a:1: too many writes are in flight",
                Some("overloaded"),
            ),
            (
                Unavailable,
                Operation::Get,
                "no connection to any node within 5s (a:1: failed to lookup address information)",
                Some("host name"),
            ),
            (
                Unavailable,
                Operation::Get,
                "a:1: does not speak gometa's client protocol: an HTTP server answers there",
                Some("another program listens"),
            ),
            (NotLeader, Operation::Get, "not the leader", Some("later")),
            (ConnectionLost, Operation::Get, "a:1: connection refused", Some("is the ensemble running")),
            (
                TooLarge,
                Operation::Set,
                "a value of 2097152 bytes exceeds the limit of 1048576 bytes",
                Some("1 MiB"),
            ),
            (
                TooLarge,
                Operation::Txn,
                "a transaction of 2097152 bytes exceeds the limit of 1052800 bytes",
                Some("128 comparisons"),
            ),
            (SessionExpired, Operation::Set, "the session has ended, or never was", Some("new session")),
            (Unauthenticated, Operation::Set, "unauthenticated", None),
            (PermissionDenied, Operation::Set, "permission denied", None),
            (
                ResourceExhausted,
                Operation::Set,
                "refused: resource exhausted: this node serves no more than 9 connections",
                Some("ClientsMax"),
            ),
            (
                ResourceExhausted,
                Operation::Set,
                "this node has too many requests waiting",
                Some("overloaded"),
            ),
            (ResourceExhausted, Operation::Set, "something new", Some("later")),
            (Compacted, Operation::Get, "compacted", None),
            (Cancelled, Operation::Get, "cancelled", None),
            (Closed, Operation::Get, "the client was closed", None),
            (
                Unsupported,
                Operation::Get,
                "a request of a kind that this node does not know",
                Some("older than this command"),
            ),
            (Internal, Operation::Get, "the node's answer does not fit the request", Some("bug in gometa")),
            (Forked, Operation::Get, "forked", None),
            (Forgotten, Operation::Get, "forgotten", None),
            (FailedPrecondition, Operation::RemoveMember, "node 1 is the last voter", None),
            (GuardFailed, Operation::Set, "the key of the guard does not exist", Some("take it again")),
            (HistoryChanged, Operation::Set, "history changed", Some("read again")),
        ];
        for kind in ErrorKind::ALL {
            assert!(table.iter().any(|(known, ..)| known == kind), "{kind:?} is in no line of the table");
        }
        for (kind, operation, message, expected) in table {
            let advice = for_error(&Error::new(*kind, *operation, *message), "GOMETA_PEERS");
            match expected {
                Some(words) => {
                    assert!(advice.as_ref().is_some_and(|a| a.contains(words)), "{message}: {advice:?}")
                }
                None => assert_eq!(advice, None, "{message}"),
            }
            if !["no such key"].iter().any(|words| message.contains(words)) && operation.is_write() {
                let unknown = for_error(&Error::new(*kind, *operation, *message).with_unknown_outcome(), "");
                let words = ["read the key before repeating", "read its keys before repeating"];
                let unknown = unknown.unwrap();
                assert!(words.iter().any(|words| unknown.contains(words)), "{message}: {unknown}");
            }
        }
    }

    #[test]
    fn status_without_answers_does_not_advise_status() {
        let advice = for_no_answer("no node answers: a:1: connection refused", "GOMETA_PEERS");
        assert!(
            advice.contains("is the ensemble running") && advice.contains("from GOMETA_PEERS"),
            "{advice}"
        );
        assert!(!advice.contains("gometa status"), "{advice}");
    }
}
