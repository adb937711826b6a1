//! Edge cases of one node: the test sends the messages of its peers and sets the time.
//!
//! Scripts (`testscripts/`) show several nodes together. These tests cover exact limits that a script hardly shows: the
//! last microsecond before a timeout, the largest entry that fits, a message with one wrong field. The name of a test
//! is the property, and the rule is cited where there is one (`docs/protocol.md`).

mod connections;
mod duplicate;
mod election;
mod follower;
mod formation;
mod formation_quorum;
mod integrity;
mod leader;
mod levels;
mod liveness;
mod members;
mod pending;
mod replacements;
mod replication;
mod returns;
mod serving;
mod solo;
mod transfer;
mod types;
