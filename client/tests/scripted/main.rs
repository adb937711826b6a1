//! The client against scripted nodes over loopback sockets: each test sends the nodes' frames.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod closing;
mod exactly_once;
mod flow;
mod foreign;
mod histories;
mod late;
mod members;
mod node;
mod observed;
mod pages;
mod routing;
mod transactions;
mod versions;
