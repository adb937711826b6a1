//! 23. **Transfer**: while a leader waits to hand over, it appends nothing, and for less than an election timeout by its
//!     own clock. When it hands over, everything in its log is committed, and durable on the target. Afterwards it sends
//!     nothing in that epoch.

use std::collections::BTreeMap;

use gometa_zab::{Epoch, Message, Ticks, Write, Zxid};

use super::{Check, ensure};

const NAME: &str = "23 transfer";

/// A transfer under way.
struct Begun {
    /// By the clock of the node.
    at: Ticks,
    /// The true time: proposals of the step that began it may be appended after it.
    step: u64,
}

/// The transfers of all leaders.
#[derive(Default)]
pub(super) struct Handovers {
    begun: BTreeMap<usize, Begun>,
    /// The last epoch that each node has handed over.
    handed: BTreeMap<usize, Epoch>,
}

impl Handovers {
    /// A leader begins to hand over.
    pub(super) fn begins(&mut self, node: usize, at: Ticks, step: u64) {
        self.begun.insert(node, Begun { at, step });
    }

    /// The transfer of a node, if there is one, is over.
    pub(super) fn ends(&mut self, node: usize) {
        self.begun.remove(&node);
    }

    /// A node issues a write.
    pub(super) fn issues(&self, node: usize, step: u64, write: &Write) -> Check {
        let waits = self.begun.get(&node).is_some_and(|begun| begun.step < step);
        let appends = waits && matches!(write, Write::Append(_));
        ensure!(!appends, NAME, "n{node} appends while it waits to hand over");
        Ok(())
    }

    /// A leader hands over. `holds` says whether the target's disk holds the whole log, if that can be judged.
    pub(super) fn hands_over(
        &mut self,
        node: usize,
        (epoch, last): (Epoch, Zxid),
        (now, election): (Ticks, u64),
        committed: u64,
        holds: Option<bool>,
    ) -> Check {
        ensure!(committed >= last.counter, NAME, "n{node} hands over at {last}, committed is {committed}");
        ensure!(holds != Some(false), NAME, "n{node} hands over at {last}, which the target does not hold");
        let waited = self.begun.remove(&node).map_or(0, |begun| now.since(begun.at));
        ensure!(waited < election, NAME, "n{node} hands over after {waited} µs");
        self.handed.insert(node, epoch);
        Ok(())
    }

    /// A node sends a message.
    pub(super) fn sends(&self, node: usize, message: &Message) -> Check {
        if let Message::Propose { epoch, .. }
        | Message::Commit { epoch, .. }
        | Message::Heartbeat { epoch, .. }
        | Message::UpToDate { epoch, .. }
        | Message::NewLeader { epoch, .. }
        | Message::Handoff { epoch, .. } = message
        {
            let over = self.handed.get(&node) == Some(epoch);
            ensure!(!over, NAME, "n{node} leads epoch {epoch}, which it has handed over");
        }
        Ok(())
    }
}
