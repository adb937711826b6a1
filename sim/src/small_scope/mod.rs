//! Every state of a small ensemble, searched breadth first: three nodes, two writes, a crash.
//!
//! A seeded run takes one way of very many. Here all of them are taken, within a scope: three nodes begin in some
//! [`Scenario`], most of them around an election, and from there everything that can happen next happens next, until
//! nothing new is found. The nodes are the real [`gometa_zab::Zab`], a clone for each state, on the simulator's
//! [`crate::disk::Disk`]; the promises are the simulator's own [`crate::checkers`], asked at every step. What is
//! found first is found by the shortest way, which is printed.
//!
//! # What can happen
//!
//! In any order: the next message of a connection arrives; a node's next write becomes durable; a dial succeeds; a
//! node that was down starts; a node learns that a connection has ended. And as often as the [`Budget`] says: a write
//! or a read is asked of an established leader; a process ends, and of its writes in flight any number of the first
//! survives; a node deletes its log through what it has applied; a connection breaks, with any part of what was in flight; an election timeout passes at a node; an
//! election ends for one node; a leader is requested to change the members.
//!
//! # Changes of the members
//!
//! [`SCENARIOS`] have three voters for ever. In [`CHANGES`] there are learners, voters that have lost their directories,
//! and ensembles of two; any established leader may be requested to promote any learner, to remove any voter, and to
//! exchange a voter that has lost its directory. What the leader rejects has not happened. A leader also proposes by itself
//! what is due in the step in which it is established. The judge counts by the configurations that were proposed
//! (invariant 20).
//!
//! # What is left out
//!
//! - *Votes.* A looking node receives an election result, any result: that any node leads or is to be followed. Nothing
//!   may depend on an election's being right (rule 1), so this is more than elections bring about. The votes that nodes
//!   send are checked (invariant 14), and lost.
//! - *Clocks.* A node's time stands still but for election timeouts, which pass as a whole, and at that node only.
//!   Heartbeats go out at the beginning of a leadership and for reads.
//! - *Formation*, failing disks, a fourth node. A directory is lost only on the way to where a scenario begins.
//! - *Conditions of time*: that a learner has answered lately, and that the recorded directory of a voter was silent
//!   before it is exchanged.
//! - *Groups.* Writes become durable one by one, and a node takes one input at a time.
//! - *Reads from storage* are done at once, and so is applying; a snapshot is made at once and is one message.
//! - *Coming to rest.* Whatever is promised for ever is checked, what is promised for later (invariant 21) is not.
//!
//! # When two states are the same
//!
//! If nodes, connections and judgements are. A node is known by its fingerprint (`zab::fingerprint` says what is not in
//! it and why: times and tokens count relatively, rounds and sequences of votes do not count), a disk by its contents,
//! a connection by what is in flight, and a judgement ([`crate::checkers`]: what was ever proposed, committed,
//! established, promised) by all of it. So two histories are distinguished as long as an invariant could distinguish
//! them. A test puts the same inputs to nodes of the same fingerprint. Digests have 128 bits: at 10⁹ states, two share
//! one with a probability of 10⁻²⁰.
//!
//! # What is done at once
//!
//! A dial that succeeds also has both greetings delivered. A greeting that is still in flight makes a connection
//! without use: the dialling node sends nothing before it has been greeted, and the other keeps the greeting
//! for when it does. So a connection whose greetings take longer behaves as one that is made later, and one that
//! ends before as one that is not made. A dial that its node no longer waits for fails at once, likewise.
//!
//! Nothing else is left out for being equivalent: no symmetry among nodes, no order among independent steps.
//!
//! # How it is fast
//!
//! A step changes one node, and is a function of that node and its input. So nodes are kept once, each by a number,
//! and so are steps, and the judgement of a step after a judgement (`tables`); a state is twenty numbers, and nearly
//! every step is looked up. Kept of each state are its digest and how it was reached first.
//!
//! Reading order: `scenarios` (where it begins), `world` (what can happen), `node`, `links`, `judge`, then `tables`
//! and `search`.

mod judge;
mod links;
mod node;
pub mod report;
mod scenarios;
mod search;
mod snapshot;
mod tables;
mod world;

pub use scenarios::{CHANGES, SCENARIOS, Scenario};
pub use search::{Counterexample, Limits, Reach, Search};
pub use world::Budget;
