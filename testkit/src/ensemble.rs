//! An ensemble in memory whose network, disks and clock move only when a test says so.

use std::collections::BTreeSet;

use gometa_zab::{Event, NodeId, Role, Ticks};

use crate::{network::Network, text::Topic};

/// The step of the clock, in microseconds.
pub const STEP: u64 = 10_000;

/// What the nodes of an ensemble share, and the record of what they do.
pub struct Environment {
    pub now: Ticks,
    pub network: Network,
    /// Nodes whose disks work only on command; others' write as soon as nothing is left to deliver.
    pub manual: BTreeSet<NodeId>,
    pub hidden: BTreeSet<Topic>,
    /// All lines, hidden or not.
    pub transcript: Vec<String>,
    visible: Vec<String>,
}

impl Environment {
    pub fn new(hidden: &[Topic]) -> Environment {
        Environment {
            now: Ticks(0),
            network: Network::default(),
            manual: BTreeSet::new(),
            hidden: hidden.iter().copied().collect(),
            transcript: Vec::new(),
            visible: Vec::new(),
        }
    }

    /// Adds a line to the transcript.
    pub fn record(&mut self, topic: Topic, line: String) {
        if !self.hidden.contains(&topic) {
            self.visible.push(line.clone());
        }
        self.transcript.push(line);
    }

    /// The visible lines since the last call.
    pub fn take_visible(&mut self) -> String {
        core::mem::take(&mut self.visible).join("\n")
    }
}

/// Nodes in an [`Environment`].
pub trait Ensemble {
    fn environment(&self) -> &Environment;

    fn environment_mut(&mut self) -> &mut Environment;

    fn nodes(&self) -> Vec<NodeId>;

    /// `None` while the node is down.
    fn role(&self, id: NodeId) -> Option<Role>;

    /// An event reaches a node.
    fn take(&mut self, id: NodeId, event: Event);

    /// Whether a node's disk has work queued.
    fn has_work(&self, id: NodeId) -> bool;

    /// Lets a node's disk do all that is queued.
    fn work(&mut self, id: NodeId);

    /// Called after each step of the clock.
    fn after_tick(&mut self) {}

    fn is_up(&self, id: NodeId) -> bool {
        self.role(id).is_some()
    }

    /// Delivers the oldest item that may be delivered; returns whether there was one.
    fn deliver_one(&mut self, from: Option<NodeId>, to: Option<NodeId>) -> bool {
        let mut network = core::mem::take(&mut self.environment_mut().network);
        let events = network.deliver(from, to, |id| self.is_up(id));
        self.environment_mut().network = network;
        let Some(events) = events else { return false };
        for (id, event) in events {
            self.take(id, event);
        }
        true
    }

    /// Delivers until nothing is left or `max` items are delivered; in between, disks that are not manual work.
    fn deliver(&mut self, from: Option<NodeId>, to: Option<NodeId>, max: usize) {
        let mut delivered = 0;
        loop {
            while delivered < max && self.deliver_one(from, to) {
                delivered += 1;
                assert!(delivered < 1_000_000, "the nodes do not come to rest");
            }
            self.environment_mut().network.tidy();
            let busy = |id: &NodeId| !self.environment().manual.contains(id) && self.has_work(*id);
            let busy: Vec<NodeId> = self.nodes().into_iter().filter(busy).collect();
            if busy.is_empty() || delivered >= max {
                return;
            }
            for id in busy {
                self.work(id);
            }
        }
    }

    /// Advances the clock and sends a tick to these nodes.
    fn tick(&mut self, ids: &[NodeId], micros: u64) {
        let now = &mut self.environment_mut().now;
        *now = now.plus(micros);
        for id in ids {
            self.take(*id, Event::Tick);
        }
    }

    /// Lets this many milliseconds pass in steps, and delivers everything.
    fn run(&mut self, ms: u64) {
        let ids = self.nodes();
        self.deliver(None, None, usize::MAX);
        for _ in 0..(ms * 1_000).div_ceil(STEP) {
            self.tick(&ids, STEP);
            self.after_tick();
            self.deliver(None, None, usize::MAX);
        }
    }

    /// The established leader, if every running node that it can reach is up to date with it.
    fn settled(&self) -> Option<NodeId> {
        let nodes = self.nodes();
        let (leader, epoch) = nodes.iter().find_map(|id| match self.role(*id) {
            Some(Role::Leading { established: Some(epoch) }) => Some((*id, epoch)),
            _ => None,
        })?;
        let follows = Role::Following { leader, established: Some(epoch) };
        let others = nodes.iter().filter(|id| **id != leader && self.is_up(**id));
        let reached = |id: &NodeId| !self.environment().network.unreachable(leader, *id);
        others.filter(|id| reached(id)).all(|id| self.role(*id) == Some(follows)).then_some(leader)
    }

    /// Runs, with working disks, until there is a leader that all others follow.
    ///
    /// # Errors
    /// If there is none after 10 s.
    fn settle(&mut self) -> Result<NodeId, String> {
        let manual = core::mem::take(&mut self.environment_mut().manual);
        let leader = (0..1_000).find_map(|_| {
            self.run(1);
            self.settled()
        });
        self.environment_mut().manual = manual;
        leader.ok_or_else(|| "no leader is established after 10 s".to_owned())
    }
}
