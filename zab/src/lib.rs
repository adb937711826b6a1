//! The Zab protocol as a pure state machine: how a few nodes keep one history.
//!
//! # What Zab is
//!
//! An ensemble of nodes keeps a log. One of them, the *leader*, gives each *proposal* its place in it, and a
//! proposal is *committed* when a majority of the voters, a *quorum*, has it on disk. Any two quorums share a
//! node, and everything below follows from that and from what this node has promised.
//!
//! A place in the log is a *zxid*: the leader's *epoch*, and a counter. Leaderships are numbered by epochs, and
//! each goes through four stages:
//!
//! 1. **Election** (`election`). Nodes without a leader agree by datagrams on whom to try: the one with the most
//!    recent history. This is only a guess, and nothing depends on its being right.
//! 2. **Discovery** (`leader`, `follower`). The candidate asks a quorum which epochs they have promised, picks a
//!    higher one, and has a quorum promise that (on disk) and tell how recent their histories are. If one of them
//!    knows more, the candidate gives up. Otherwise it holds everything that may ever have been committed, for
//!    any committed proposal is on some node of its quorum; and no older leader can commit anything any more, for
//!    that would take a quorum without this promise.
//! 3. **Synchronisation** (`sync`, `leader`, `follower`). The leader brings its followers to its own history: each
//!    goes back to the last entry that both logs share, then takes what it lacks. A follower that has made the
//!    history durable, and then the epoch, says so. With a quorum of these the leader is *established*, and its
//!    whole initial history is committed, whoever proposed it.
//! 4. **Broadcast** (`leader`, `follower`). Proposals go out in order, acknowledgements and commits come back
//!    cumulatively, and nothing waits for one proposal before taking the next.
//!
//! When a follower loses its leader, or a leader its quorum, it begins again with 1. Before any of this, once in
//! an ensemble's life, its voters agree on what they are: `formation`.
//!
//! # What this crate is
//!
//! One node of that, and nothing but the thinking: [`Zab::step`] takes what happened ([`Event`]) and says what to
//! do ([`Effect`]). Time is an argument, randomness a seed. There are no sockets, threads, clocks or files in
//! here, and no standard library to get them from, so the same inputs give the same outputs, on a server and in a
//! simulator that tries what no server lives to see.
//!
//! *Durability is an input.* The node asks for writes and is told when they are durable. Every promise, vote and
//! acknowledgement is made from what storage has reported, never from what was asked of it (`state`).
//!
//! # What holds
//!
//! - At most one leader is established in an epoch.
//! - What is committed is in the initial history of every later established leader.
//! - Entries with the same zxid are the same, and so are the logs below them.
//! - Promised and current epochs never fall; nothing that may have been applied is ever cut.
//! - A barrier passes only if the leader still led after it was asked for.
//! - Whatever a peer sends, the node does not panic; whatever its own storage or program gets wrong, it does.
//!
//! # Where it differs
//!
//! From the paper: the leader does not take over a follower's better history, it makes way for its owner; a
//! follower gets a difference and not the whole history. From ZooKeeper: the counter of a zxid goes on from epoch
//! to epoch, so it is the position in the log; a promise names its leader, so that it can be repeated; an entry
//! carries its predecessor's zxid; there is no synthetic first entry of an epoch. `docs/protocol.md` has the rules
//! by number (comments here cite them: *rule 12*) and the list of deviations.
//!
//! # What it leaves out
//!
//! Changes of membership and snapshots: messages and log entries have their places, and a follower that would
//! need a snapshot is refused.
//!
//! # Reading order
//!
//! `types` and `message` for the words · [`Event`] and [`Effect`] for the world outside · `ensemble` and `history`
//! for quorums and logs · `state` for what a node has in every phase, and `pace` for how fast its storage is ·
//! `election`, `leader` (with `peer`) and `follower` side by side · `machine`, which turns one into the other · `formation`, last.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[macro_use(planted, probe)]
extern crate gometa_marks;

mod barrier;
mod config;
mod configuration;
mod effect;
mod election;
mod event;
mod fingerprint;
mod follower;
mod formation;
mod history;
mod latency;
mod leader;
mod machine;
mod message;
mod progress;
mod proposals;
mod quorum;
mod state;
mod sync;
mod types;

pub use config::{Bounds, Config, Recovered, Timeouts};
pub use configuration::Configuration;
pub use effect::{Effect, Founding, HardState, Notice, Rejection, Role, Write};
pub use event::Event;
pub use follower::BOUNDARIES_MAX;
pub use history::Epochs;
pub use machine::{FollowerStatus, Zab};
pub use message::{
    Addresses, Candidate, Genesis, Hello, Kind, LEVEL, LogEntry, Message, Reason, Vote, VoteState, Voter,
};
pub use sync::{Plan, plan};
pub use types::{EnsembleId, Epoch, Incarnation, LinkId, NodeId, Round, Ticks, Token, Zxid};
