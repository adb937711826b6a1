//! The fingerprint of a node: a hash of its state, for searches through the states of an ensemble that must recognise
//! a state. Servers do not use it.
//!
//! Two nodes with the same fingerprint produce the same effects for the same events from then on, if the caller
//! ensures this:
//!
//! - *Time* advances in eras. Within an era the clock stands still; from one era to the next it advances by more than
//!   twice the election timeout and every other timeout, except `Timeouts::disk`, which is never reached. Then only
//!   the order of a stored time and the current time matters: past, now or future.
//! - *Tokens* are compared only with the last reported one, so the hash has their distance from it. Since writes
//!   complete in order, the distance identifies the write.
//! - *Datagrams* of the nodes are not delivered; those that are have a round and a sequence above all earlier ones. So
//!   neither is part of the hash.
//! - Random numbers only add jitter to votes; ids of reads are used within one step of the caller.
//! - The [`Config`](crate::Config) is the same.
//!
//! [`Core`] is destructured without `..`: a new field is part of the fingerprint or does not compile.

use core::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use crate::{
    machine::Zab,
    state::Core,
    types::{Ticks, Token},
};

/// Calls `write_i64`, as no other type of this crate does, so that `Relative` recognises times.
impl Hash for Ticks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i64(self.0.cast_signed());
    }
}

/// Calls `write_i128`, as no other type of this crate does, so that `Relative` recognises tokens.
impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i128(self.0.into());
    }
}

/// A hasher that makes times and tokens relative.
struct Relative<'a, H> {
    inner: &'a mut H,
    now: Ticks,
    persisted: Token,
}

impl<H: Hasher> Hasher for Relative<'_, H> {
    fn finish(&self) -> u64 {
        self.inner.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.inner.write(bytes);
    }

    /// A time.
    fn write_i64(&mut self, time: i64) {
        self.inner.write_u8(match time.cast_unsigned().cmp(&self.now.0) {
            Ordering::Less => 0,
            Ordering::Equal => 1,
            Ordering::Greater => 2,
        });
    }

    /// A token.
    fn write_i128(&mut self, token: i128) {
        self.inner.write_u64((token - i128::from(self.persisted.0)).max(0) as u64);
    }
}

impl Hash for Core {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Core {
            config: _,
            now: _,
            hard,
            founding,
            configurations,
            hints,
            history,
            compaction,
            space,
            integrity,
            handed_over,
            round: _,
            commit,
            epoch_floor,
            rediscovered,
            links,
            dialling,
            effects: _, // Empty between steps.
            stopped,
            pending_writes,
            latency: _,       // Compared with timeouts that are never reached, and reported.
            slow_reported: _, // For notices.
            last_token,
            persisted: _,
            last_read: _,
            state_stalled,
            vote_sequence: _,
            seen_votes: _,
            heard: _, // For the status.
            foreign_members,
            failures,
            random: _,
            #[cfg(gometa_instrumented)]
                remembered: _, // Only for planted faults.
        } = self;
        (hard, founding, configurations, hints, history, compaction, commit, epoch_floor, rediscovered)
            .hash(state);
        (space, integrity, handed_over).hash(state);
        (links, dialling, stopped, state_stalled, pending_writes, last_token, foreign_members, failures)
            .hash(state);
    }
}

impl Zab {
    /// Hashes the state of this node, with relative times and tokens. The module `fingerprint` documents when two nodes
    /// with the same hash are equivalent.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Core { now, persisted, .. } = self.core;
        self.hash(&mut Relative { inner: hasher, now, persisted });
    }
}
