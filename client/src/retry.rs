//! Retries: what is sent again, and the outcome of a call that fails.
//!
//! Retries of a write are safe: all attempts have the same (session, seq), which makes them idempotent. The outcome needs
//! care: a node's "not applied" is about the attempt that it answers. A call has that outcome only if no earlier attempt
//! of its (session, seq) can take effect; and only then may the write move to a new session, which has no record of the
//! attempts in the old one. [`Attempts`] keeps the record, [`decide`] decides.

use std::time::Duration;

use gometa_proto::{ErrorKind, Outcome};

/// The shortest pause before a retry.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause before a retry: short compared to an election, so that a new leader is found soon.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The attempts of one write under one (session, seq), or of one change of the members. Always empty for a call without an
/// effect.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Attempts {
    /// Whether the latest attempt has no answer.
    unanswered: bool,
    /// Whether an earlier attempt may take effect or has taken effect.
    earlier_may_apply: bool,
}

impl Attempts {
    /// Records that an attempt was queued: it may reach a node.
    pub(crate) fn sent(&mut self) {
        self.earlier_may_apply |= self.unanswered;
        self.unanswered = true;
    }

    /// Records that the latest attempt has failed with this outcome.
    pub(crate) fn failed(&mut self, outcome: Outcome) {
        self.earlier_may_apply |= self.unanswered && outcome == Outcome::Unknown;
        self.unanswered = false;
    }

    /// Whether any attempt may take effect or has taken effect.
    pub(crate) fn may_apply(&self) -> bool {
        self.unanswered || self.earlier_may_apply
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// The call fails.
    Fail {
        kind: ErrorKind,
        /// The outcome of the call, all attempts together.
        outcome: Outcome,
    },
    /// Retry on another node, if there is one.
    OtherNode,
    /// Retry on the same node.
    SameNode,
    /// Retry in a new session.
    NewSession,
}

/// Decides what follows an attempt that failed with `kind`. `write`: the request was a numbered write. `attempts`
/// includes this failure.
pub(crate) fn decide(kind: ErrorKind, write: bool, attempts: Attempts) -> Decision {
    let outcome = if attempts.may_apply() { Outcome::Unknown } else { Outcome::NotApplied };
    match kind {
        ErrorKind::NotLeader | ErrorKind::Unavailable | ErrorKind::ConnectionLost | ErrorKind::Closed => {
            Decision::OtherNode
        }
        // The deadline on the node is not later than the call's, which ends the call: until then there is time.
        ErrorKind::ResourceExhausted | ErrorKind::DeadlineExceeded => Decision::SameNode,
        ErrorKind::SessionExpired if write && outcome == Outcome::NotApplied => Decision::NewSession,
        // Recorded under this (session, seq) when it was applied: the outcome of all attempts.
        ErrorKind::AlreadyExists | ErrorKind::CasMismatch | ErrorKind::GuardFailed => {
            Decision::Fail { kind, outcome: Outcome::NotApplied }
        }
        // Below the session's floor although its answer is awaited: a fault of this client or of the node.
        ErrorKind::Forgotten => Decision::Fail {
            kind: ErrorKind::Internal,
            outcome: if write { Outcome::Unknown } else { Outcome::NotApplied },
        },
        _ => Decision::Fail { kind, outcome },
    }
}

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: PAUSE_MIN, cap: PAUSE_MAX }
    }
}

impl Backoff {
    /// The next pause: between half and all of 10 ms, 20 ms, … 200 ms.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = jitter(self.next);
        self.next = (self.next * 2).min(self.cap);
        pause
    }
}

/// A random time between half of `pause` and all of it.
pub(crate) fn jitter(pause: Duration) -> Duration {
    // Without random numbers there is no jitter, which is harmless.
    let share = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(steps: &[Option<Outcome>]) -> Attempts {
        let mut attempts = Attempts::default();
        for step in steps {
            attempts.sent();
            if let Some(outcome) = step {
                attempts.failed(*outcome);
            }
        }
        attempts
    }

    #[test]
    fn not_applied_is_promised_only_if_all_attempts_are_known_not_to_apply() {
        let (no, unknown) = (Some(Outcome::NotApplied), Some(Outcome::Unknown));
        for (steps, may_apply) in [
            (&[][..], false),
            (&[no], false),
            (&[no, no], false),
            (&[None], true),
            (&[unknown], true),
            (&[None, no], true),
            (&[unknown, no], true),
            (&[no, None, no], true),
            (&[no, unknown], true),
        ] {
            assert_eq!(record(steps).may_apply(), may_apply, "{steps:?}");
        }
    }

    #[test]
    fn expired_session_moves_only_an_unsent_write() {
        let kind = ErrorKind::SessionExpired;
        let first = record(&[Some(Outcome::NotApplied)]);
        assert_eq!(decide(kind, true, first), Decision::NewSession);
        let retried = record(&[None, Some(Outcome::NotApplied)]);
        assert_eq!(decide(kind, true, retried), Decision::Fail { kind, outcome: Outcome::Unknown });
    }

    #[test]
    fn recorded_outcomes_are_those_of_all_attempts_and_others_of_one() {
        let retried = record(&[None, Some(Outcome::NotApplied)]);
        for kind in [ErrorKind::AlreadyExists, ErrorKind::CasMismatch, ErrorKind::GuardFailed] {
            assert_eq!(decide(kind, true, retried), Decision::Fail { kind, outcome: Outcome::NotApplied });
        }
        for kind in [ErrorKind::TooLarge, ErrorKind::InvalidArgument, ErrorKind::Internal] {
            assert_eq!(decide(kind, true, retried), Decision::Fail { kind, outcome: Outcome::Unknown });
            let read = Attempts::default();
            assert_eq!(decide(kind, false, read), Decision::Fail { kind, outcome: Outcome::NotApplied });
        }
        let forgotten = decide(ErrorKind::Forgotten, true, retried);
        assert_eq!(forgotten, Decision::Fail { kind: ErrorKind::Internal, outcome: Outcome::Unknown });
    }

    #[test]
    fn pauses_grow_to_the_cap() {
        let mut backoff = Backoff::default();
        for whole_ms in [10, 20, 40, 80, 160, 200, 200] {
            let pause = backoff.pause();
            let whole = Duration::from_millis(whole_ms);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
    }
}
