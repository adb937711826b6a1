//! Whole ensembles in one thread: seeded faults, checked invariants.
//!
//! A run is a function of its seed. It drives the [`gometa_node::Node`] and the [`gometa_log::Log`] of the server over a
//! simulated network, simulated clocks and disks; no part of the protocol or of the log is modelled. The state table of
//! a node is a model. An oracle checks the protocol's invariants after every effect, and the clients' histories are
//! checked on their own. After the faults comes the liveness phase: everything must work again within thirty seconds, with a slow
//! disk within sixty.
//!
//! Reading order: [`settings`] (what a run is made of), [`ensemble`] (the event loop; below it what nodes and clients
//! do, and faults), [`network`], [`disk`], [`process`], [`workload`], then [`checkers`] and [`history`] (what is
//! promised), [`runner`], [`changes`] and [`shrink`] (a failing run made small), [`mutants`] and [`coverage`] (what all
//! this is worth). [`small_scope`] takes no seeds: it searches every state of three nodes. [`contract`] stands apart:
//! what any storage must do, the simulated disk and the server's alike.
//!
//! Determinism: three streams of random numbers, split from the seed, for network, machines and clients; a heap
//! ordered by time and sequence; no iteration over maps whose order differs from run to run. One seed in a hundred
//! is run twice and must leave the same trace.
#![forbid(unsafe_code)]

mod actions;
pub mod changes;
pub mod checkers;
mod client_links;
pub mod contract;
pub mod counts;
pub mod coverage;
pub mod disk;
pub mod ensemble;
pub mod history;
pub mod mutants;
pub mod network;
pub mod process;
pub mod random;
mod recoveries;
pub mod runner;
pub mod settings;
pub mod shrink;
pub mod small_scope;
pub mod trace;
pub mod transfers;
pub mod workload;

pub use checkers::Violation;
pub use ensemble::Ensemble;
pub use settings::Settings;
