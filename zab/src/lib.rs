//! The Zab protocol as a pure state machine.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod config;
mod effect;
mod election;
mod ensemble;
mod event;
mod follower;
mod formation;
mod history;
mod leader;
mod machine;
mod message;
mod state;
mod sync;
mod types;

pub use config::{Bounds, Config, Recovered, Timeouts};
pub use effect::{Effect, Founding, HardState, Notice, Rejection, Role, Write};
pub use ensemble::Members;
pub use event::Event;
pub use follower::BOUNDARIES_MAX;
pub use history::Epochs;
pub use machine::{FollowerStatus, Zab};
pub use message::{
    Addresses, Candidate, Genesis, Hello, Kind, LEVEL, LogEntry, Message, Reason, Vote, VoteState, Voter,
};
pub use sync::{Plan, plan};
pub use types::{EnsembleId, Epoch, Incarnation, LinkId, NodeId, Round, Ticks, Token, Zxid};
