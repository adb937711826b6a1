//! Where the search begins. Each scenario is brought about by steps that could happen, from an ensemble that was just
//! formed, so whatever is reached from it can be reached; then comes what may still happen.

#[cfg(test)]
use gometa_zab::{Role, Zxid};

use super::{
    links,
    links::NODES,
    node::ChangeKind,
    tables::Tables,
    world::{Action, Budget, State},
};
use crate::Violation;

/// A beginning.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub what: &'static str,
    /// The nodes that found the ensemble: the first ones.
    founders: usize,
    /// The nodes that take part: the first ones.
    present: usize,
    prepare: fn(&mut Stage) -> Result<(), Violation>,
    /// What may still happen, where the search shall come to its end.
    pub narrow: Budget,
    /// What may still happen, where it shall go far.
    pub wide: Budget,
}

/// Writes, crashes, elections, given up, torn, reads, compactions.
const fn budget(counts: [u8; 7]) -> Budget {
    let [writes, crashes, elections, election_timeouts, breaks, reads, compactions] = counts;
    Budget { writes, crashes, elections, election_timeouts, breaks, reads, compactions, changes: 0 }
}

/// The same, and changes of the members.
const fn changing(counts: [u8; 7], changes: u8) -> Budget {
    Budget { changes, ..budget(counts) }
}

/// All of them, roughly from the one with the fewest states to the one with the most.
pub const SCENARIOS: [Scenario; 12] = [
    Scenario {
        name: "deposed",
        what: "n0 leads and is cut off, n1 has just been elected by n2; reads are asked of both",
        founders: NODES,
        present: NODES,
        prepare: deposed,
        narrow: budget([1, 0, 0, 0, 1, 2, 0]),
        wide: budget([2, 1, 2, 1, 1, 2, 0]),
    },
    Scenario {
        name: "two-epochs",
        what: "n1 has made its epoch durable, n2 only promised it, and n0, which led the one before, is back",
        founders: NODES,
        present: NODES,
        prepare: two_epochs,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 4, 1, 0, 0, 0]),
    },
    Scenario {
        name: "rivals",
        what: "just formed; n0 and n1 both believe that they are elected, n2 follows n0",
        founders: NODES,
        present: NODES,
        prepare: rivals,
        narrow: budget([1, 0, 2, 0, 2, 0, 0]),
        wide: budget([2, 1, 3, 0, 2, 0, 0]),
    },
    Scenario {
        name: "overtaken",
        what: "n0 committed a write with n1 and is gone; n2, which does not have it, is elected",
        founders: NODES,
        present: NODES,
        prepare: overtaken,
        narrow: budget([1, 0, 3, 1, 0, 0, 0]),
        wide: budget([2, 1, 4, 1, 0, 0, 0]),
    },
    Scenario {
        name: "straggler",
        what: "n0 leads with n1, one write is committed; n2 has just learned that n0 leads",
        founders: NODES,
        present: NODES,
        prepare: straggler,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 3, 0, 1, 0, 0]),
    },
    Scenario {
        name: "compacted",
        what: "n0 leads with n1, has committed a write and deleted it from its log; n2 has just learned that n0 leads",
        founders: NODES,
        present: NODES,
        prepare: compacted,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 3, 0, 1, 0, 1]),
    },
    Scenario {
        name: "replaced",
        what: "n0 holds a write that no other node has; n1 leads the next epoch with n2, has committed another and deleted it",
        founders: NODES,
        present: NODES,
        prepare: replaced,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 3, 0, 1, 0, 1]),
    },
    Scenario {
        name: "returned",
        what: "n0 committed two writes with n1, deleted the first and is back; it is elected by n2, which has neither",
        founders: NODES,
        present: NODES,
        prepare: returned,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 3, 1, 1, 0, 1]),
    },
    Scenario {
        name: "unsure",
        what: "n0 has a write under way at every node and crashes; n2 is elected by n1",
        founders: NODES,
        present: NODES,
        prepare: unsure,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 4, 1, 0, 0, 0]),
    },
    Scenario {
        name: "divergent",
        what: "n0 holds a write that no other node has; n1 leads the next epoch with n2 and has committed another",
        founders: NODES,
        present: NODES,
        prepare: divergent,
        narrow: budget([1, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 4, 1, 0, 0, 0]),
    },
    Scenario {
        name: "established",
        what: "n0 leads, all nodes are up to date",
        founders: NODES,
        present: NODES,
        prepare: established,
        narrow: budget([2, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 4, 1, 1, 0, 0]),
    },
    Scenario {
        name: "formed",
        what: "just formed; n0 is elected, n1 and n2 know",
        founders: NODES,
        present: NODES,
        prepare: formed,
        narrow: budget([2, 1, 2, 0, 0, 0, 0]),
        wide: budget([2, 1, 4, 0, 1, 0, 0]),
    },
];

/// Those in which members change, roughly from the one with the fewest states to the one with the most.
pub const CHANGES: [Scenario; 6] = [
    Scenario {
        name: "remove",
        what: "n0 leads, all nodes are voters and up to date",
        founders: NODES,
        present: NODES,
        prepare: established,
        narrow: changing([1, 1, 2, 0, 0, 0, 0], 1),
        wide: changing([2, 1, 3, 0, 0, 0, 0], 2),
    },
    Scenario {
        name: "hand-over",
        what: "two nodes: n0 has handed over to n1, so that one of them can be removed and one voter is left",
        founders: 2,
        present: 2,
        prepare: hand_over,
        narrow: changing([1, 1, 2, 1, 0, 1, 0], 1),
        wide: changing([1, 1, 2, 1, 1, 1, 0], 2),
    },
    Scenario {
        name: "promote",
        what: "n0 leads with n1, n2 is a learner; all nodes are up to date",
        founders: 2,
        present: NODES,
        prepare: promote,
        narrow: changing([1, 1, 2, 0, 0, 0, 0], 1),
        wide: changing([2, 1, 3, 0, 0, 0, 0], 2),
    },
    Scenario {
        name: "return",
        what: "n0 leads with n1; n2 has lost its directory and been exchanged, and is up to date",
        founders: NODES,
        present: NODES,
        prepare: returning,
        narrow: changing([1, 1, 2, 0, 0, 0, 0], 1),
        wide: changing([2, 1, 3, 0, 0, 0, 0], 2),
    },
    Scenario {
        name: "exchange",
        what: "n0 leads and has committed a write with n2, which has lost its directory since; n1 does not have the write, \
               and both have just learned that n0 leads",
        founders: NODES,
        present: NODES,
        prepare: exchange,
        narrow: changing([1, 1, 2, 0, 0, 0, 0], 1),
        wide: changing([2, 1, 3, 0, 0, 0, 0], 2),
    },
    Scenario {
        name: "sibling",
        what: "n0 holds the removal of n2, which no other node has; n1 leads the next epoch with n2, and n0 has just \
               learned it",
        founders: NODES,
        present: NODES,
        prepare: sibling,
        narrow: changing([0, 1, 2, 0, 0, 0, 0], 2),
        wide: changing([1, 1, 3, 0, 0, 0, 0], 2),
    },
];

impl Scenario {
    /// The state in which it begins.
    pub(super) fn begin(&self, tables: &mut Tables, left: Budget) -> Result<State, Violation> {
        let state = State::formed(tables, self.founders, self.present);
        let mut stage = Stage { tables, state, present: self.present };
        // More than is ever used, so that writes are named before and after by numbers that fall.
        stage.state.left = changing([100; 7], 100);
        (self.prepare)(&mut stage)?;
        let mut state = stage.state;
        state.left = left;
        Ok(state)
    }
}

/// An ensemble on its way to where a scenario begins.
struct Stage<'a> {
    tables: &'a mut Tables,
    state: State,
    present: usize,
}

impl Stage<'_> {
    fn act(&mut self, action: Action) -> Result<(), Violation> {
        self.state = self.state.after(self.tables, action)?;
        Ok(())
    }

    /// Whatever can happen freely happens, one after the other, where it is allowed.
    fn settle(&mut self, allowed: impl Fn(Action) -> bool) -> Result<(), Violation> {
        self.settle_until(allowed, |_| false)
    }

    fn settle_until(
        &mut self,
        allowed: impl Fn(Action) -> bool,
        enough: impl Fn(&Stage) -> bool,
    ) -> Result<(), Violation> {
        let mut actions = Vec::new();
        while !enough(self) {
            self.state.actions(self.tables, &mut actions);
            let Some(next) = actions.iter().find(|action| action.is_free() && allowed(**action)) else {
                return Ok(());
            };
            self.act(*next)?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Violation> {
        (0..self.present as u8).try_for_each(|node| self.act(Action::Start { node }))
    }

    fn elect(&mut self, leader: u8, followers: &[u8]) -> Result<(), Violation> {
        self.act(Action::Lead { node: leader })?;
        followers.iter().try_for_each(|node| self.act(Action::Follow { node: *node, leader }))
    }

    fn break_off(&mut self, one: usize, other: usize) -> Result<(), Violation> {
        let mut actions = Vec::new();
        self.state.actions(self.tables, &mut actions);
        let between = |link: u8| {
            let ends = (links::dialler(link), links::target(link));
            ends == (one, other) || ends == (other, one)
        };
        let torn =
            actions.into_iter().find(|action| matches!(action, Action::Break { link } if between(*link)));
        torn.map_or(Ok(()), |action| self.act(action))
    }
}

/// The nodes that take part in an action.
fn touches(action: Action, node: u8) -> bool {
    match action {
        Action::Deliver { link, .. } | Action::End { link, .. } | Action::Break { link } => {
            links::dialler(link) == usize::from(node) || links::target(link) == usize::from(node)
        }
        Action::Persist { node: it }
        | Action::Connect { node: it }
        | Action::Start { node: it }
        | Action::Crash { node: it, .. }
        | Action::ElectionTimeout { node: it }
        | Action::Lead { node: it }
        | Action::Follow { node: it, .. }
        | Action::Propose { node: it }
        | Action::Read { node: it }
        | Action::Transfer { node: it, .. }
        | Action::Wipe { node: it }
        | Action::Change { node: it, .. }
        | Action::Compact { node: it } => it == node,
    }
}

fn formed(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1, 2])
}

fn rivals(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[2])?;
    stage.act(Action::Lead { node: 1 })
}

fn established(stage: &mut Stage) -> Result<(), Violation> {
    formed(stage)?;
    stage.settle(|_| true)
}

fn straggler(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1])?;
    stage.settle(|_| true)?;
    stage.act(Action::Propose { node: 0 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Follow { node: 2, leader: 0 })
}

fn compacted(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1])?;
    stage.settle(|_| true)?;
    stage.act(Action::Propose { node: 0 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Compact { node: 0 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Follow { node: 2, leader: 0 })
}

fn returned(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1])?;
    stage.settle(|_| true)?;
    for action in [Action::Propose { node: 0 }, Action::Propose { node: 0 }, Action::Compact { node: 0 }] {
        stage.act(action)?;
        stage.settle(|_| true)?;
    }
    stage.act(Action::Crash { node: 0, kept: 0 })?;
    stage.settle(|action| !matches!(action, Action::Start { .. }))?;
    stage.act(Action::Start { node: 0 })?;
    stage.elect(0, &[2])
}

fn replaced(stage: &mut Stage) -> Result<(), Violation> {
    divergent(stage)?;
    stage.act(Action::Compact { node: 1 })
}

fn divergent(stage: &mut Stage) -> Result<(), Violation> {
    deposed_with(stage, Action::Propose { node: 0 })?;
    stage.act(Action::Propose { node: 1 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Follow { node: 0, leader: 1 })
}

fn sibling(stage: &mut Stage) -> Result<(), Violation> {
    deposed_with(stage, Action::Change { node: 0, kind: ChangeKind::Remove, subject: 2 })?;
    stage.act(Action::Follow { node: 0, leader: 1 })
}

/// n0 does something that no other node learns of, and n1 leads n2.
fn deposed_with(stage: &mut Stage, last: Action) -> Result<(), Violation> {
    established(stage)?;
    stage.act(last)?;
    stage.break_off(0, 1)?;
    stage.break_off(0, 2)?;
    stage.act(Action::Persist { node: 0 })?;
    // No node learns of it: the broken connections end without it.
    stage.settle(|action| matches!(action, Action::End { .. }))?;
    stage.act(Action::ElectionTimeout { node: 0 })?;
    stage.elect(1, &[2])?;
    stage.settle(|_| true)
}

fn overtaken(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1])?;
    stage.settle(|_| true)?;
    stage.act(Action::Propose { node: 0 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Crash { node: 0, kept: 0 })?;
    stage.settle(|action| !matches!(action, Action::Start { .. }))?;
    stage.elect(2, &[1])
}

fn two_epochs(stage: &mut Stage) -> Result<(), Violation> {
    straggler(stage)?;
    stage.settle(|_| true)?;
    stage.act(Action::Crash { node: 0, kept: 0 })?;
    stage.settle(|action| !matches!(action, Action::Start { .. }))?;
    stage.elect(1, &[2])?;
    // Up to where n1 has claimed its epoch, and n2 knows nothing of that.
    let claimed = |stage: &Stage| {
        let node = stage.tables.node(stage.state.nodes[1]);
        node.disk.durable.hard_state.current_epoch.0 == 2
    };
    stage.settle_until(|action| !touches(action, 0), claimed)?;
    stage.act(Action::Start { node: 0 })?;
    stage.act(Action::Crash { node: 1, kept: 0 })
}

fn unsure(stage: &mut Stage) -> Result<(), Violation> {
    established(stage)?;
    stage.act(Action::Propose { node: 0 })?;
    stage.settle(|action| matches!(action, Action::Deliver { .. }))?;
    stage.act(Action::Crash { node: 0, kept: 0 })?;
    stage.settle(|action| matches!(action, Action::Deliver { .. } | Action::End { .. }))?;
    stage.elect(2, &[1])
}

fn deposed(stage: &mut Stage) -> Result<(), Violation> {
    established(stage)?;
    stage.break_off(0, 2)?;
    stage.settle(|action| matches!(action, Action::End { .. }) && touches(action, 2))?;
    stage.break_off(0, 1)?;
    stage.settle(|action| matches!(action, Action::End { .. }) && touches(action, 1))?;
    stage.elect(1, &[2])
}

fn hand_over(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1])?;
    stage.settle(|_| true)?;
    stage.act(Action::Transfer { node: 0, to: 1 })
}

fn exchange(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[2])?;
    stage.settle(|_| true)?;
    stage.act(Action::Propose { node: 0 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Follow { node: 1, leader: 0 })?;
    lose_directory(stage)
}

/// n2 has an empty directory and learns that n0 leads. Nothing happens at n1.
fn lose_directory(stage: &mut Stage) -> Result<(), Violation> {
    stage.act(Action::Crash { node: 2, kept: 0 })?;
    stage.act(Action::Wipe { node: 2 })?;
    stage.settle(|action| matches!(action, Action::End { .. }))?;
    stage.act(Action::Start { node: 2 })?;
    stage.act(Action::Follow { node: 2, leader: 0 })
}

fn returning(stage: &mut Stage) -> Result<(), Violation> {
    established(stage)?;
    stage.act(Action::Propose { node: 0 })?;
    stage.settle(|_| true)?;
    lose_directory(stage)?;
    stage.settle(|_| true)?;
    stage.act(Action::Change { node: 0, kind: ChangeKind::Exchange, subject: 2 })?;
    stage.settle(|_| true)
}

fn promote(stage: &mut Stage) -> Result<(), Violation> {
    stage.start()?;
    stage.elect(0, &[1])?;
    stage.settle(|_| true)?;
    stage.act(Action::Change { node: 0, kind: ChangeKind::Add, subject: 2 })?;
    stage.settle(|_| true)?;
    stage.act(Action::Follow { node: 2, leader: 0 })?;
    stage.settle(|_| true)
}

#[test]
fn scenarios_begin_as_they_say() {
    let mut tables = Tables::new();
    for scenario in SCENARIOS.into_iter().chain(CHANGES) {
        let state = scenario
            .begin(&mut tables, scenario.narrow)
            .unwrap_or_else(|violation| panic!("{}: {violation}", scenario.name));
        let nodes = state.nodes.map(|number| tables.node(number));
        let lasts = nodes.map(|node| node.disk.durable.last());
        let leading = nodes.map(|node| matches!(node.role(), Some(Role::Leading { established: Some(_) })));
        let zero = Zxid::ZERO;
        let (one, other) = (Zxid::new(1, 1), Zxid::new(2, 1));
        let (expected, leaders) = match scenario.name {
            "formed" | "rivals" => ([zero; 3], [false; 3]),
            "established" => ([zero; 3], [true, false, false]),
            "straggler" | "compacted" => ([one, one, zero], [true, false, false]),
            "divergent" | "replaced" => ([one, other, other], [false, true, false]),
            "returned" => ([Zxid::new(1, 2), Zxid::new(1, 2), zero], [false; 3]),
            "overtaken" => ([one, one, zero], [false; 3]),
            "two-epochs" => ([one; 3], [false; 3]),
            "unsure" => ([zero; 3], [false; 3]),
            "deposed" | "remove" => ([zero; 3], [true, false, false]),
            "hand-over" => ([zero; 3], [false; 3]),
            "sibling" => ([one, zero, zero], [false, true, false]),
            "exchange" => ([one, zero, zero], [true, false, false]),
            "promote" => ([one; 3], [true, false, false]),
            "return" => ([Zxid::new(1, 2); 3], [true, false, false]),
            other => panic!("{other} is not in this test"),
        };
        assert_eq!(lasts, expected, "{}", scenario.name);
        assert_eq!(leading, leaders, "{}", scenario.name);
    }
}
