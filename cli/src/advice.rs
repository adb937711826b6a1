//! What to try next after a failure, in one line.
//!
//! An error's kind says what failed; why it failed is in its message, which repeats what nodes and the system have said.
//! So the causes below are recognised by their words, the most specific first.

use gometa_client::{Error, ErrorKind, Operation, Outcome};

use crate::words::quoted;

/// Causes of failures that another node, another time or more nodes may mend: words of the message, and the advice.
const CAUSES: &[(&str, &str)] = &[
    (
        "another ensemble",
        "name only the peers of one ensemble; `gometa status --peers ADDRESS` shows the members of the ensemble of a node",
    ),
    (
        "does not speak",
        "something else listens there: name a node's RequestAddr, host:port, with --peers or GOMETA_PEERS",
    ),
    (
        "too many sessions",
        "clients that write hold all sessions of the ensemble: end those that are not needed, or wait until sessions \
         without contact expire (SessionTimeoutMs)",
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
        "every configured voter must run once to form the ensemble; `gometa status` shows who answers",
    ),
    (
        "no leader",
        "a majority of the voters must run and reach each other; `gometa status` shows which are missing",
    ),
    ("lookup address", "check the host's name; names are resolved at every attempt, so no restart is needed"),
];

/// What to try after a failed call. `source` says where the peers' addresses come from.
pub(crate) fn of_call(error: &Error, source: &str) -> Option<String> {
    let key = error.key().map(quoted).unwrap_or_default();
    if error.operation().is_write() && error.outcome() == Outcome::Unknown {
        return Some(format!("read the key before you repeat the write: gometa get {key}"));
    }
    let advice = match (error.kind(), error.actual_revision()) {
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
            format!("the key is {revision} now; see what it is: gometa get {key}")
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
            "are these nodes of one ensemble, and of this version? `gometa status` asks each".to_owned()
        }
        (ErrorKind::InvalidArgument, _) if error.message().contains("another ensemble") => {
            return Some(unanswered(error.kind(), error.message(), source));
        }
        (ErrorKind::Unsupported, _) => {
            "the node is older than this command; `gometa -o json status` shows the version of each node"
                .to_owned()
        }
        (ErrorKind::TooLarge, _) => "keys have at most 4 KiB, values at most 1 MiB".to_owned(),
        (ErrorKind::Internal, _) => {
            "this is a fault of gometa itself: report it, with the log of the node".to_owned()
        }
        // The message of an invalid argument says what is expected; the others never reach this command yet.
        _ => return None,
    };
    Some(advice)
}

/// What to try when none of several nodes that were asked for their status has answered.
pub(crate) fn of_silence(reasons: &str, source: &str) -> String {
    cause(reasons).map_or_else(|| unreachable(source), str::to_owned)
}

/// What to try when a call has no answer.
fn unanswered(kind: ErrorKind, message: &str, source: &str) -> String {
    if let Some(advice) = cause(message) {
        return advice.to_owned();
    }
    match kind {
        ErrorKind::DeadlineExceeded => {
            "the node was reached and gave no answer in time: `gometa status` shows whether there is a leader and a \
             quorum; --timeout TIME waits longer"
                .to_owned()
        }
        ErrorKind::ResourceExhausted | ErrorKind::NotLeader => "repeat the command later".to_owned(),
        _ => format!("{}; `gometa status` shows who answers", unreachable(source)),
    }
}

fn cause(message: &str) -> Option<&'static str> {
    let known = CAUSES.iter().find(|(words, _)| message.contains(words)).map(|(_, advice)| *advice);
    // A node that has just died resets connections too, but then others of its connections are refused.
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

    /// Every kind, with the messages that reach this command and words of the advice; `None`: there is none.
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
            (CasMismatch, Operation::Cas, "the key is at revision 7", Some("see what it is")),
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
                Some("was reached and gave no answer"),
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
                Some("host's name"),
            ),
            (
                Unavailable,
                Operation::Get,
                "a:1: does not speak gometa's client protocol: an HTTP server answers there",
                Some("something else listens"),
            ),
            (NotLeader, Operation::Get, "not the leader", Some("later")),
            (ConnectionLost, Operation::Get, "a:1: connection refused", Some("is the ensemble running")),
            (
                TooLarge,
                Operation::Set,
                "a value of 2097152 bytes exceeds the limit of 1048576 bytes",
                Some("1 MiB"),
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
            (Internal, Operation::Get, "the node answered something else", Some("fault of gometa itself")),
            (Forked, Operation::Get, "forked", None),
            (Forgotten, Operation::Get, "forgotten", None),
        ];
        for kind in ErrorKind::ALL {
            assert!(table.iter().any(|(known, ..)| known == kind), "{kind:?} is in no line of the table");
        }
        for (kind, operation, message, expected) in table {
            let advice = of_call(&Error::new(*kind, *operation, *message), "GOMETA_PEERS");
            match expected {
                Some(words) => {
                    assert!(advice.as_ref().is_some_and(|a| a.contains(words)), "{message}: {advice:?}")
                }
                None => assert_eq!(advice, None, "{message}"),
            }
            if !["no such key"].iter().any(|words| message.contains(words)) && operation.is_write() {
                let doubtful = of_call(&Error::new(*kind, *operation, *message).with_unknown_outcome(), "");
                assert!(doubtful.unwrap().contains("read the key before"), "{message}");
            }
        }
    }

    #[test]
    fn silence_of_all_nodes_does_not_advise_the_command_that_has_just_failed() {
        let advice = of_silence("no node answers: a:1: connection refused", "GOMETA_PEERS");
        assert!(
            advice.contains("is the ensemble running") && advice.contains("from GOMETA_PEERS"),
            "{advice}"
        );
        assert!(!advice.contains("gometa status"), "{advice}");
    }
}
