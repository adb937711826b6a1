//! The workloads: which operation, over how many connections, how many at a time.

use std::{fmt, str::FromStr, time::Duration};

/// An operation on random keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// Replaces the value; acknowledged after a majority has synced it.
    Set,
    /// Reads linearizably: sees every write that was acknowledged before the read began.
    Get,
    /// Reads what one node has applied.
    LocalGet,
    /// Reads up to 1,000 keys in order, with values, linearizably.
    Page,
    /// Replaces the values of two keys as one, if both exist.
    Txn,
}

/// How operations are started.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Loop {
    /// Each connection keeps this number of operations in flight.
    Closed { in_flight: usize },
    /// Operations are started at this rate (per second, over all connections), whether or not earlier ones have ended.
    Open { rate: u32 },
}

/// One workload.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Workload {
    pub(crate) operation: Operation,
    /// TCP connections, each of a client of its own.
    pub(crate) connections: usize,
    pub(crate) pacing: Loop,
}

/// The most connections of a workload.
const CONNECTIONS_MAX: usize = 1024;
/// The most operations in flight on one connection.
pub(crate) const IN_FLIGHT_MAX: usize = 512;
const FORM: &str = "expected set, get, local, page or txn, a dash, and the connections, as in set-64 or (32 in flight) set-8x32";

impl Operation {
    const ALL: [Operation; 5] =
        [Operation::Set, Operation::Get, Operation::LocalGet, Operation::Page, Operation::Txn];

    /// Whether it is a write.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Operation::Set | Operation::Txn)
    }

    /// The name in a workload's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Set => "set",
            Operation::Get => "get",
            Operation::LocalGet => "local",
            Operation::Page => "page",
            Operation::Txn => "txn",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Operation::Set => "set",
            Operation::Get => "linearizable get",
            Operation::LocalGet => "local get",
            Operation::Page => "page of 1,000 keys",
            Operation::Txn => "transaction of two keys",
        }
    }
}

impl Workload {
    /// The workloads of a run that names none.
    pub(crate) const CLOSED: [&str; 7] =
        ["set-1", "set-64", "set-8x32", "get-64", "local-64", "page-8", "txn-64"];
    /// The same for a run at a given rate.
    pub(crate) const OPEN: [&str; 3] = ["set-64", "get-64", "local-64"];

    /// The same workload in an open loop.
    pub(crate) fn at_rate(self, rate: u32) -> Workload {
        Workload { pacing: Loop::Open { rate }, ..self }
    }

    /// The workload in words.
    pub(crate) fn description(&self) -> String {
        let Workload { operation, connections, pacing } = *self;
        let connections =
            if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
        match pacing {
            Loop::Closed { in_flight: 1 } => format!("{}, {connections}", operation.description()),
            Loop::Closed { in_flight } => {
                format!("{}, {connections}, {in_flight} in flight each", operation.description())
            }
            Loop::Open { rate } => {
                format!("{}, {connections}, {rate}/s started (open loop)", operation.description())
            }
        }
    }

    /// The time from one operation's intended start to the next one's, in an open loop.
    pub(crate) fn interval(rate: u32) -> Duration {
        Duration::from_secs(1) / rate.max(1)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Workload, String> {
        let wrong = || format!("`{name}` is no workload: {FORM}");
        let (operation, load) = name.trim().split_once('-').ok_or_else(wrong)?;
        let operation =
            Operation::ALL.into_iter().find(|known| known.name() == operation).ok_or_else(wrong)?;
        let (connections, in_flight) = load.split_once('x').unwrap_or((load, "1"));
        let number = |text: &str, max: usize| match text.parse::<usize>() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            Ok(_) => Err(format!("`{name}`: {text} is not from 1 to {max}")),
            Err(_) => Err(wrong()),
        };
        Ok(Workload {
            operation,
            connections: number(connections, CONNECTIONS_MAX)?,
            pacing: Loop::Closed { in_flight: number(in_flight, IN_FLIGHT_MAX)? },
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.operation.name(), self.connections)?;
        match self.pacing {
            Loop::Closed { in_flight: 1 } => Ok(()),
            Loop::Closed { in_flight } => write!(f, "x{in_flight}"),
            Loop::Open { rate } => write!(f, "@{rate}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in Workload::CLOSED.into_iter().chain(Workload::OPEN).chain(["get-1024x512"]) {
            let workload: Workload = name.parse().expect("a workload");
            assert_eq!(workload.to_string(), name);
        }
        let workload: Workload = " set-8x32 ".parse().expect("a workload");
        assert_eq!(workload.connections, 8);
        assert_eq!(workload.pacing, Loop::Closed { in_flight: 32 });
        assert_eq!(workload.description(), "set, 8 connections, 32 in flight each");
        assert_eq!(workload.at_rate(500).to_string(), "set-8@500");
    }

    #[test]
    fn other_names_are_errors_that_show_the_form() {
        for bad in ["", "set", "set-", "put-64", "set-x", "set-64x", "set-1.5", "set--1", "set-1x2x3"] {
            let error = bad.parse::<Workload>().expect_err(bad);
            assert!(error.contains("set-8x32"), "{bad}: {error}");
        }
        for bad in ["set-0", "get-1025", "get-1x0", "get-1x513"] {
            let error = bad.parse::<Workload>().expect_err(bad);
            assert!(error.contains("is not from 1 to"), "{bad}: {error}");
        }
    }
}
