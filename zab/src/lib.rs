//! The Zab protocol as a pure state machine: how a few nodes keep one replicated log.
//!
//! # Zab
//!
//! One node, the *leader*, gives each *proposal* its position in the log. A proposal is *committed* when a majority of
//! the voters, a *quorum*, has it on disk. Any two quorums have a voter in common; the guarantees below follow from
//! that and from the promises that voters make durable.
//!
//! A position is a *zxid*: the leader's *epoch* and a counter. Every epoch goes through four stages:
//!
//! 1. **Election** (`election`). Nodes without a leader exchange votes in datagrams, and prefer the node with the most
//!    recent history. The result is a hint; safety does not depend on it.
//! 2. **Discovery** (`leader`, `follower`). The candidate collects the promises of a quorum, chooses a higher epoch, and
//!    lets a quorum promise that epoch on disk and describe its histories. If a voter has a newer history than the
//!    candidate, the candidate gives up. Otherwise its log contains everything that was ever committed, since every
//!    committed proposal is on some node of the quorum; and no older leader can commit any more, since it would need
//!    the ack of a node that has promised the new epoch.
//! 3. **Synchronisation** (`sync`, `leader`, `follower`). The leader brings its followers to its own history: each
//!    truncates its log to the last common entry, then receives what it lacks. A follower acknowledges when first the
//!    history and then the epoch are durable. With acknowledgements from a quorum the leader is *established*, and its
//!    whole initial history is committed. A follower whose common entry is deleted in the leader's log receives a
//!    snapshot of the leader's state first ([`Effect::SendSnapshot`], [`Write::Install`]).
//! 4. **Broadcast** (`leader`, `follower`). Proposals are sent in order and pipelined; acks and commits are cumulative.
//!
//! A follower that loses its leader, and a leader that loses its quorum, begin again with 1. Once in an ensemble's
//! life, before all of this, its voters agree on its genesis: `formation`.
//!
//! # This crate
//!
//! One node, without IO: [`Zab::step`] takes [`Event`]s and returns [`Effect`]s. Time is an argument, randomness a
//! seed. There are no sockets, threads, clocks or files, and no standard library, so the same inputs give the same
//! outputs on a server and in a simulator.
//!
//! *Durability is an input.* The node issues writes, and storage reports when they are complete. Promises, votes and
//! acks are made only from state that storage has reported as durable (`state`).
//!
//! # Invariants
//!
//! - At most one leader is established in an epoch.
//! - Committed entries are in the initial history of every later established leader.
//! - Entries with the same zxid are equal, and so are the logs below them.
//! - Promised and current epochs never fall; entries that may have been applied are never truncated.
//! - A barrier passes only if this leader still led after the barrier was requested.
//! - No message of a peer causes a panic; a fault of the node's own storage or caller does.
//!
//! # Differences
//!
//! From the paper: a leader whose history is behind gives up instead of taking over the follower's; a follower
//! receives a difference instead of the whole history. From ZooKeeper: the counter of a zxid does not restart with an
//! epoch, so it is the position in the log; a promise names its leader, so that it can be repeated; there is no
//! synthetic first entry of an epoch. `docs/protocol.md` has the numbered rules that comments cite (*rule 12*) and the
//! list of deviations.
//!
//! # Reading order
//!
//! `types`, `message` · [`Event`], [`Effect`] · `configuration`, `quorum`, `history` · `state`, the part of a node that
//! all phases share · `election`, `leader` (with `progress`, `barrier`, `proposals`) and `follower` side by side ·
//! `machine`, the phases · `formation`.
#![deny(clippy::too_many_lines, clippy::wildcard_enum_match_arm)]
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[macro_use(planted, probe)]
extern crate gometa_marks;

mod barrier;
mod comparison;
mod config;
mod configuration;
mod effect;
mod election;
mod event;
mod fingerprint;
mod follower;
mod formation;
mod heard;
mod history;
mod integrity;
mod latency;
mod leader;
mod levels;
mod machine;
mod membership;
mod message;
mod plans;
mod progress;
mod proposals;
mod quorum;
mod refounding;
mod space;
mod state;
mod sync;
mod types;

pub use config::{Bounds, Config, Recovered, Timeouts};
pub use configuration::{Configuration, DesiredRole, LEARNERS_MAX, Learner, Replacement, VOTERS_MAX};
pub use effect::{
    ChangeRejection, Effect, Founding, HardState, Notice, Rejection, Role, TransferRejection, Write,
};
pub use event::Event;
pub use follower::BOUNDARIES_MAX;
pub use history::Epochs;
pub use integrity::{Fault, IntegrityNotice, STATE_HASHES_MAX, StateHash, StateReport};
pub use levels::{FIRST_LEVEL, Levels};
pub use machine::{FollowerStatus, PendingChange, WaitsFor, Zab};
pub use membership::{Change, Configurations, Refused};
pub use message::{
    Addresses, Candidate, Genesis, Hello, Kind, LogEntry, Message, Reason, Vote, VoteState, Voter,
};
pub use refounding::{
    FoundedOnState, NotRefounded, Refounding, configuration_in_force, found_on_state, next_history, position,
    refound,
};
pub use space::DiskSpace;
pub use sync::{Plan, plan};
pub use types::{EnsembleId, Epoch, Incarnation, LinkId, NodeId, Round, Ticks, Token, Zxid};
