//! What a node is, as a hash: for programs that search through the states of an ensemble and must know a state
//! again. Servers do not use it.
//!
//! Two nodes with the same fingerprint answer the same events with the same effects, now and for ever after, under
//! these conditions, which the caller sees to:
//!
//! - *Time* comes in eras. Within an era the clock stands still; from one to the next it moves by more than twice
//!   the election time-out and more than any other, `Timeouts::disk` excepted, which is never reached. Then all that
//!   a node can ever ask of a time it keeps is whether that is past, now or to come: a deadline to come is met in the
//!   next era whatever it is, and whatever is past is past its patience.
//! - *Tokens* are compared with the last one that was reported, and with nothing else; so is the hash. Which write
//!   a token names follows from its distance, for writes are done in their order.
//! - *Datagrams* are not delivered among the nodes; what is delivered instead comes with a round and a sequence
//!   above all earlier ones. So neither round nor sequences matter, and are left out.
//! - Random numbers only scatter the deadlines of votes; ids of reads are used up within a step of the caller's.
//! - The configuration is the same.
//!
//! Everything else that a node holds is hashed because that is derived, or because this lists it ([`Core`] is taken
//! apart without `..`): what is added to a node is in its fingerprint, or does not compile.

use core::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use crate::{
    machine::Zab,
    state::Core,
    types::{Ticks, Token},
};

/// As no other type of this crate, so that the hasher, `Relative`, can tell times.
impl Hash for Ticks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i64(self.0.cast_signed());
    }
}

/// As no other type of this crate, so that the hasher, `Relative`, can tell tokens.
impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i128(self.0.into());
    }
}

/// A hasher that takes times and tokens relatively.
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
            configuration,
            history,
            round: _,
            commit,
            epoch_floor,
            rediscovered,
            links,
            dialling,
            effects: _, // Empty between steps.
            stopped,
            pending,
            latency: _,   // Compared with timeouts that are never reached, and reported.
            slow_told: _, // For notices.
            last_token,
            persisted: _,
            next_read: _,
            vote_sequence: _,
            seen: _,
            foreign,
            failures,
            random: _,
            #[cfg(gometa_instrumented)]
                remembered: _, // No part of any node but one with a planted fault.
        } = self;
        (hard, founding, configuration, history, commit, epoch_floor, rediscovered).hash(state);
        (links, dialling, stopped, pending, last_token, foreign, failures).hash(state);
    }
}

impl Zab {
    /// Hashes what this node is, times and tokens relatively; the module `fingerprint` says under which conditions
    /// two nodes that hash alike are alike.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Core { now, persisted, .. } = self.core;
        self.hash(&mut Relative { inner: hasher, now, persisted });
    }
}
