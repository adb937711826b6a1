//! The ensemble: three nodes, the connections between them, what is left to happen, and what can happen next.

use gometa_zab::{Message, Role};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    judge::read_id,
    links::{self, LINKS, Link, NODES},
    node::{ChangeKind, Input, describe},
    tables::{NumberedOutput, Tables},
};
use crate::{Violation, checkers::node_id};

/// What may still happen, how many times. Whatever is not counted happens freely: messages arrive, writes become
/// durable, connections are made and their ends are noticed, processes start again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    /// Client writes, at any established leader.
    pub writes: u8,
    /// Crashes, of any node, with any loss.
    pub crashes: u8,
    /// Election results: a looking node learns which node to follow, or to lead itself.
    pub elections: u8,
    /// Election timeouts that pass at a leader or follower.
    pub election_timeouts: u8,
    /// Connections broken, with any loss of what was in flight.
    pub breaks: u8,
    /// Linearizable reads, at any established leader.
    pub reads: u8,
    /// Compactions: a node deletes its log through what it has applied.
    pub compactions: u8,
    /// Changes of the members, proposed by any established leader: any learner is promoted, any other voter is removed, a
    /// voter that has lost its data directory is exchanged. One that the leader rejects does not count.
    pub changes: u8,
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Action {
    Deliver {
        link: u8,
        side: u8,
    },
    End {
        link: u8,
        side: u8,
    },
    Persist {
        node: u8,
    },
    Connect {
        node: u8,
    },
    Start {
        node: u8,
    },
    Crash {
        node: u8,
        kept: u8,
    },
    ElectionTimeout {
        node: u8,
    },
    Lead {
        node: u8,
    },
    Follow {
        node: u8,
        leader: u8,
    },
    Propose {
        node: u8,
    },
    Read {
        node: u8,
    },
    Compact {
        node: u8,
    },
    Break {
        link: u8,
    },
    Change {
        node: u8,
        kind: ChangeKind,
        subject: u8,
    },
    /// Only on the way to where a scenario begins.
    Transfer {
        node: u8,
        to: u8,
    },
    /// Only on the way to where a scenario begins.
    Wipe {
        node: u8,
    },
}

impl Action {
    /// Whether it is one of those that no budget counts.
    pub(super) fn is_free(self) -> bool {
        matches!(
            self,
            Action::Deliver { .. }
                | Action::End { .. }
                | Action::Persist { .. }
                | Action::Connect { .. }
                | Action::Start { .. }
        )
    }
}

/// A state of the ensemble, by numbers of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) nodes: [u32; NODES],
    links: [u32; LINKS],
    ghost: u32,
    pub(super) left: Budget,
}

impl State {
    /// An ensemble that the first `founders` nodes have just formed, all nodes down; those from number `present` on for
    /// ever.
    pub(super) fn formed(tables: &mut Tables, founders: usize, present: usize) -> State {
        let (nodes, ghost) = tables.formed(founders, present);
        State { nodes, links: [0; LINKS], ghost, left: Budget::default() }
    }

    /// Equal for equal states.
    pub(super) fn digest(&self) -> u128 {
        let mut words = [0u32; NODES + LINKS + 3];
        words[..NODES].copy_from_slice(&self.nodes);
        words[NODES..NODES + LINKS].copy_from_slice(&self.links);
        words[NODES + LINKS] = self.ghost;
        let Budget { writes, crashes, elections, election_timeouts, breaks, reads, compactions, changes } =
            self.left;
        words[NODES + LINKS + 1] = u32::from_le_bytes([writes, crashes, elections, election_timeouts]);
        words[NODES + LINKS + 2] = u32::from_le_bytes([breaks, reads, compactions, changes]);
        let mut bytes = [0u8; 4 * (NODES + LINKS + 3)];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        xxh3_128(&bytes)
    }

    /// Everything that can happen next.
    pub(super) fn actions(&self, tables: &Tables, actions: &mut Vec<Action>) {
        actions.clear();
        for (at, number) in self.links.iter().enumerate().filter(|(_, number)| **number != 0) {
            let (link, state) = (at as u8, tables.link(*number));
            for (side, end) in state.sides.iter().enumerate() {
                if end.here && !end.inbox.is_empty() {
                    actions.push(Action::Deliver { link, side: side as u8 });
                }
                if end.may_end() {
                    actions.push(Action::End { link, side: side as u8 });
                }
            }
            if self.left.breaks > 0 && state.is_whole() {
                actions.push(Action::Break { link });
            }
        }
        for index in 0..NODES {
            self.actions_of(tables, index, actions);
        }
    }

    fn actions_of(&self, tables: &Tables, index: usize, actions: &mut Vec<Action>) {
        let node = index as u8;
        let state = tables.node(self.nodes[index]);
        let Some(role) = state.role() else {
            if state.can_start() {
                actions.push(Action::Start { node });
            }
            return;
        };
        if state.disk.unsynced() > 0 {
            actions.push(Action::Persist { node });
        }
        if let Some(peer) = state.dials()
            && tables.node(self.nodes[peer]).zab.is_some()
            && self.free_place(index, peer).is_some()
        {
            actions.push(Action::Connect { node });
        }
        if self.left.crashes > 0 {
            let lost = 0..=state.disk.losable() as u8;
            actions.extend(lost.map(|kept| Action::Crash { node, kept }));
        }
        if self.left.compactions > 0 && state.disk.applied() > state.disk.issued.base.counter {
            actions.push(Action::Compact { node });
        }
        match role {
            Role::Looking if self.left.elections > 0 => {
                if state.votes() {
                    actions.push(Action::Lead { node });
                }
                for leader in (0..NODES).filter(|leader| *leader != index) {
                    // A follower would refuse it: one more connection without effect.
                    let role = tables.node(self.nodes[leader]).role();
                    if matches!(role, Some(Role::Looking | Role::Leading { .. })) {
                        actions.push(Action::Follow { node, leader: leader as u8 });
                    }
                }
            }
            Role::Leading { .. } | Role::Following { .. } if self.left.election_timeouts > 0 => {
                actions.push(Action::ElectionTimeout { node });
            }
            _ => {}
        }
        if let Role::Leading { established: Some(_) } = role {
            if self.left.writes > 0 {
                actions.push(Action::Propose { node });
            }
            if self.left.reads > 0 {
                actions.push(Action::Read { node });
            }
            if self.left.changes > 0 {
                self.changes_by(tables, index, actions);
            }
        }
    }

    /// The changes of the members that can be requested of a leader.
    fn changes_by(&self, tables: &Tables, leader: usize, actions: &mut Vec<Action>) {
        let Some(configuration) = tables.node(self.nodes[leader]).configuration() else { return };
        for subject in 0..NODES {
            let id = node_id(subject);
            let voter = configuration.voters().iter().find(|voter| voter.node == id);
            let kinds = match voter {
                Some(voter)
                    if voter.incarnation == Some(tables.node(self.nodes[subject]).disk.incarnation) =>
                {
                    &[ChangeKind::Remove][..]
                }
                Some(_) => &[ChangeKind::Exchange],
                None if configuration.learner(id).is_some() => &[ChangeKind::Promote],
                None => &[],
            };
            let (node, subject) = (leader as u8, subject as u8);
            actions.extend(kinds.iter().map(|kind| Action::Change { node, kind: *kind, subject }));
        }
    }

    fn free_place(&self, dialler: usize, target: usize) -> Option<u8> {
        links::places(dialler, target).find(|place| self.links[*place] == 0).map(|place| place as u8)
    }

    /// The state after something happened that can happen.
    pub(super) fn after(&self, tables: &mut Tables, action: Action) -> Result<State, Violation> {
        let mut next = *self;
        match action {
            Action::Deliver { link, side } => next.deliver(tables, link, side)?,
            Action::End { link, side } => {
                next.change(tables, link, |link| link.leave(side.into(), links::Flow::Broken));
                next.step(tables, links::node_at(link, side.into()), Input::Closed { link })?;
            }
            Action::Persist { node } => next.step(tables, node.into(), Input::Persist)?,
            Action::Connect { node } => next.connect(tables, node.into())?,
            Action::Start { node } => next.step(tables, node.into(), Input::Start)?,
            Action::Crash { node, kept } => {
                next.left.crashes -= 1;
                for link in 0..LINKS as u8 {
                    let side = links::side_of(link, node.into());
                    let known = links::node_at(link, side) == usize::from(node)
                        && tables.link(next.links[usize::from(link)]).sides[side].here;
                    if known {
                        next.change(tables, link, |link| link.leave(side, links::Flow::Broken));
                    }
                }
                next.step(tables, node.into(), Input::Crash { kept })?;
            }
            Action::ElectionTimeout { node } => {
                next.left.election_timeouts -= 1;
                next.step(tables, node.into(), Input::ElectionTimeout)?;
            }
            Action::Lead { node } => {
                next.left.elections -= 1;
                next.step(tables, node.into(), Input::Lead)?;
            }
            Action::Follow { node, leader } => {
                next.left.elections -= 1;
                next.step(tables, node.into(), Input::Follow { leader })?;
            }
            Action::Propose { node } => {
                // What is left names the write: no two are the same.
                let write = next.left.writes;
                next.left.writes -= 1;
                next.step(tables, node.into(), Input::Propose { write })?;
            }
            Action::Read { node } => {
                let id = read_id(node.into(), next.left.reads);
                next.left.reads -= 1;
                next.step(tables, node.into(), Input::Barrier { id })?;
            }
            Action::Compact { node } => {
                next.left.compactions -= 1;
                next.step(tables, node.into(), Input::Compact)?;
            }
            Action::Break { link } => {
                next.left.breaks -= 1;
                next.change(tables, link, Link::break_off);
            }
            Action::Change { node, kind, subject } => {
                next.step(tables, node.into(), Input::Change { kind, subject })?;
                // A request that is rejected changes nothing: nothing has happened.
                if next.nodes != self.nodes {
                    next.left.changes -= 1;
                }
            }
            Action::Transfer { node, to } => next.step(tables, node.into(), Input::Transfer { to })?,
            Action::Wipe { node } => next.step(tables, node.into(), Input::Wipe)?,
        }
        Ok(next)
    }

    fn change(&mut self, tables: &mut Tables, link: u8, change: impl FnOnce(&mut Link)) {
        let number = &mut self.links[usize::from(link)];
        let mut changed = tables.link(*number).clone();
        change(&mut changed);
        *number = tables.link_number(changed);
    }

    fn step(&mut self, tables: &mut Tables, node: usize, input: Input) -> Result<(), Violation> {
        let (after, ghost, step) = tables.step(self.nodes[node], self.ghost, input)?;
        (self.nodes[node], self.ghost) = (after, ghost);
        let mut at = 0;
        while let Some(output) = tables.output(step, at) {
            match output {
                NumberedOutput::Send { link, message } => {
                    self.change(tables, link, |it| it.send(links::side_of(link, node), message));
                }
                NumberedOutput::Close { link } => {
                    self.change(tables, link, |it| {
                        it.leave(links::side_of(link, node), links::Flow::Closing)
                    });
                }
            }
            at += 1;
        }
        Ok(())
    }

    fn deliver(&mut self, tables: &mut Tables, link: u8, side: u8) -> Result<(), Violation> {
        let Some(&message) = self.inbox(tables, link, side).first() else { return Ok(()) };
        self.change(tables, link, |link| {
            link.sides[usize::from(side)].inbox.remove(0);
        });
        self.step(tables, links::node_at(link, side.into()), Input::Message { link, message })
    }

    fn inbox<'a>(&self, tables: &'a Tables, link: u8, side: u8) -> &'a [u32] {
        &tables.link(self.links[usize::from(link)]).sides[usize::from(side)].inbox
    }

    /// A dial succeeds, and both ends greet each other: see the module's parent.
    fn connect(&mut self, tables: &mut Tables, dialler: usize) -> Result<(), Violation> {
        let Some(target) = tables.node(self.nodes[dialler]).dials() else { return Ok(()) };
        let Some(link) = self.free_place(dialler, target) else { return Ok(()) };
        self.links[usize::from(link)] = tables.link_number(Link::open());
        self.step(tables, dialler, Input::Connected { link })?;
        self.step(tables, target, Input::Accepted { link })?;
        self.deliver(tables, link, 1)?;
        self.deliver(tables, link, 0)
    }

    /// What will have happened with an action, in words.
    pub(super) fn say(&self, tables: &Tables, action: Action) -> String {
        match action {
            Action::Deliver { link, side } => {
                let (from, to) =
                    (links::node_at(link, 1 - usize::from(side)), links::node_at(link, side.into()));
                let message = self.inbox(tables, link, side).first().map(|number| tables.message(*number));
                format!("n{from} -> n{to}: {}", message.map_or_else(String::new, brief))
            }
            Action::End { link, side } => format!(
                "n{} learns that its connection with n{} has ended",
                links::node_at(link, side.into()),
                links::node_at(link, 1 - usize::from(side))
            ),
            Action::Persist { node } => format!("n{node} syncs its next write"),
            Action::Connect { node } => {
                let peer = tables.node(self.nodes[usize::from(node)]).dials();
                format!("n{node} is connected with n{}", peer.map_or(-1, |peer| peer as i64))
            }
            Action::Start { node } => format!("n{node} starts"),
            Action::Crash { node, kept } => {
                let losable = tables.node(self.nodes[usize::from(node)]).disk.losable();
                format!("n{node} crashes; {kept} of {losable} writes under way survive")
            }
            Action::ElectionTimeout { node } => format!("n{node} receives nothing for its election timeout"),
            Action::Lead { node } => format!("n{node} is elected"),
            Action::Follow { node, leader } => format!("n{node} learns that n{leader} is elected"),
            Action::Propose { node } => format!("n{node} is asked to write"),
            Action::Read { node } => format!("n{node} is asked to read"),
            Action::Compact { node } => format!("n{node} deletes its log through what it has applied"),
            Action::Change { node, kind, subject } => {
                format!("n{node} is requested to change the members: {kind:?} n{subject}")
            }
            Action::Transfer { node, to } => format!("n{node} is to hand over to n{to}"),
            Action::Wipe { node } => format!("n{node} loses its data directory"),
            Action::Break { link } => {
                format!("the connection of n{} and n{} is torn", links::dialler(link), links::target(link))
            }
        }
    }

    /// Which nodes an action changes, in words, after it.
    pub(super) fn describe_changes(&self, tables: &Tables, before: &State) -> Vec<String> {
        (0..NODES)
            .filter(|node| self.nodes[*node] != before.nodes[*node])
            .map(|node| describe(tables.node(self.nodes[node])))
            .collect()
    }
}

fn brief(message: &Message) -> String {
    match message {
        Message::Propose { epoch, previous, entries, commit } => {
            let zxids: Vec<String> = entries.iter().map(|entry| entry.zxid.to_string()).collect();
            format!(
                "Propose {{ epoch: {epoch}, previous: {previous}, {}, commit: {commit} }}",
                zxids.join(" ")
            )
        }
        other => format!("{other:?}"),
    }
}
