//! Changes of the members, requested at a leader or at another node.

use gometa_node::Event;
use gometa_zab::{Change, Configuration, DesiredRole, Event as Zab, Learner};

use super::Ensemble;
use crate::{
    actions::Action,
    checkers::{node_id, node_index},
};

impl Ensemble {
    /// A change of the members is asked for, mostly at a leader.
    pub(crate) fn change_members(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.process.change_every, Action::Change);
        let mut asked: Vec<usize> =
            (0..self.processes.len()).filter(|node| self.processes[*node].is_up()).collect();
        if !self.machine.one_in(16) {
            asked.retain(|node| self.processes[*node].leads);
        }
        if asked.is_empty() || !self.formed {
            return;
        }
        let node = asked[self.machine.index(asked.len())];
        let Some(state) = &self.processes[node].node else { return };
        let configuration = state.configuration().clone();
        // Sometimes a second one before the first is decided.
        for _ in 0..if self.machine.one_in(8) { 2 } else { 1 } {
            if let Some(change) = self.some_change(&configuration) {
                self.trace.line(self.now, Some(node), || format!("is asked for {change:?}"));
                self.deliver(node, Event::Zab(Zab::ChangeConfiguration(change)));
            }
        }
    }

    fn some_change(&mut self, configuration: &Configuration) -> Option<Change> {
        let nodes = self.processes.len();
        let strangers: Vec<usize> =
            (0..nodes).filter(|node| !configuration.contains(node_id(*node))).collect();
        let learners: Vec<usize> =
            configuration.learners().iter().map(|learner| node_index(learner.node)).collect();
        let voters: Vec<usize> = configuration.voters().iter().map(|voter| node_index(voter.node)).collect();
        match self.machine.below(8) {
            0..=2 if !strangers.is_empty() => {
                let node = strangers[self.machine.index(strangers.len())];
                Some(Change::AddLearner(Learner {
                    node: node_id(node),
                    incarnation: self.processes[node].disk.incarnation,
                    addresses: self.processes[node].addresses.clone(),
                    desired: DesiredRole::Voter,
                }))
            }
            0..=5 if !learners.is_empty() => {
                let node = node_id(learners[self.machine.index(learners.len())]);
                let removed = self.machine.one_in(8);
                Some(if removed { Change::RemoveLearner(node) } else { Change::Promote(node) })
            }
            _ if !voters.is_empty() => {
                Some(Change::RemoveVoter(node_id(voters[self.machine.index(voters.len())])))
            }
            _ => None,
        }
    }

    /// A leader has proposed a change.
    pub(super) fn count_change(&mut self, change: &Change) {
        let faults = &mut self.counts.faults;
        match change {
            Change::AddLearner(_) => faults.learners_added += 1,
            Change::Promote(_) => faults.learners_promoted += 1,
            Change::RemoveLearner(_) => faults.learners_removed += 1,
            Change::RemoveVoter(_) => faults.voters_removed += 1,
            Change::ReplaceIncarnation { .. }
            | Change::Exchange { .. }
            | Change::SetAddresses { .. }
            | Change::SetDesiredRole { .. } => {}
        }
    }
}
