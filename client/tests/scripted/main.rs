//! The client against scripted nodes over real loopback sockets: each test plays the nodes' part, frame by frame.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod closing;
mod exactly_once;
mod flow;
mod foreign;
mod late;
mod node;
mod routing;
mod watched;
