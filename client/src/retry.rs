//! What may be repeated, and what an error may promise: the one place where both are decided.
//!
//! A write is sent under the same (session, seq) however often, so repeating it is always safe. What needs
//! care is what to say when it fails in the end: an answer "not applied" speaks of the attempt that it
//! answers. It is passed on only if every earlier attempt of that (session, seq) is known not to take effect;
//! and only then may the write move to a new session, for the new one knows nothing of the old one's attempts.
//! [`Attempts`] keeps that record; [`judge`] decides.

use std::time::Duration;

use gometa_proto::{ErrorKind, Outcome};

/// First pause before another attempt.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause before another attempt. Short against an election, so that a new leader is found soon.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What is known of the attempts of one write under one (session, seq).
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Attempts {
    /// An attempt is on its way, or has ended without an answer.
    open: bool,
    /// An earlier attempt may yet take effect, or has.
    doubt: bool,
}

impl Attempts {
    /// From here on an attempt may reach a node.
    pub(crate) fn sent(&mut self) {
        self.doubt |= self.open;
        self.open = true;
    }

    /// The attempt on its way was answered with a failure of this outcome.
    pub(crate) fn failed(&mut self, outcome: Outcome) {
        self.doubt |= self.open && outcome == Outcome::Unknown;
        self.open = false;
    }

    /// Whether any attempt can take effect or has.
    pub(crate) fn may_apply(&self) -> bool {
        self.open || self.doubt
    }
}

/// What to do about a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The call has failed.
    Fail {
        /// As which kind.
        kind: ErrorKind,
        /// What is known of the whole call.
        outcome: Outcome,
    },
    /// Try again on another node, if there is one.
    Leave,
    /// Try again on the same node.
    Stay,
    /// Open a new session and try again in it.
    NewSession,
}

/// Decides about an attempt that failed with `kind`; `write` says whether the request was a numbered write, and
/// `attempts` is the record with this failure in it.
pub(crate) fn judge(kind: ErrorKind, write: bool, attempts: Attempts) -> Verdict {
    let outcome = if write && attempts.may_apply() { Outcome::Unknown } else { Outcome::NotApplied };
    match kind {
        ErrorKind::NotLeader | ErrorKind::Unavailable | ErrorKind::ConnectionLost | ErrorKind::Closed => {
            Verdict::Leave
        }
        // A node's deadline is never later than ours, which ends the call; before it, there is time to ask again.
        ErrorKind::ResourceExhausted | ErrorKind::DeadlineExceeded => Verdict::Stay,
        ErrorKind::SessionExpired if write && outcome == Outcome::NotApplied => Verdict::NewSession,
        // Recorded under this (session, seq) when it was applied: they speak of all attempts.
        ErrorKind::AlreadyExists | ErrorKind::CasMismatch => {
            Verdict::Fail { kind, outcome: Outcome::NotApplied }
        }
        // Below the floor although we still wait for it: a fault of ours or the node's, not the user's affair.
        ErrorKind::Forgotten => Verdict::Fail {
            kind: ErrorKind::Internal,
            outcome: if write { Outcome::Unknown } else { Outcome::NotApplied },
        },
        _ => Verdict::Fail { kind, outcome },
    }
}

/// Pauses that grow, up to a cap, with jitter so that clients do not come in step.
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
    /// The next pause: between a half and the whole of 10 ms, 20 ms, … 200 ms.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = jitter(self.next);
        self.next = (self.next * 2).min(self.cap);
        pause
    }
}

/// Between a half and the whole of `pause`.
pub(crate) fn jitter(pause: Duration) -> Duration {
    // Without randomness all pauses are whole, which is a matter of politeness only.
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
        assert_eq!(judge(kind, true, first), Verdict::NewSession);
        let retried = record(&[None, Some(Outcome::NotApplied)]);
        assert_eq!(judge(kind, true, retried), Verdict::Fail { kind, outcome: Outcome::Unknown });
    }

    #[test]
    fn recorded_outcomes_speak_of_all_attempts_and_others_of_one() {
        let retried = record(&[None, Some(Outcome::NotApplied)]);
        for kind in [ErrorKind::AlreadyExists, ErrorKind::CasMismatch] {
            assert_eq!(judge(kind, true, retried), Verdict::Fail { kind, outcome: Outcome::NotApplied });
        }
        for kind in [ErrorKind::TooLarge, ErrorKind::InvalidArgument, ErrorKind::Internal] {
            assert_eq!(judge(kind, true, retried), Verdict::Fail { kind, outcome: Outcome::Unknown });
            assert_eq!(judge(kind, false, retried), Verdict::Fail { kind, outcome: Outcome::NotApplied });
        }
        let forgotten = judge(ErrorKind::Forgotten, true, retried);
        assert_eq!(forgotten, Verdict::Fail { kind: ErrorKind::Internal, outcome: Outcome::Unknown });
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
