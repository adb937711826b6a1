//! Changes of the members: requests of an operator at any node, and some that are made directly at a leader, which may not be
//! sensible.

use gometa_node::{ClientId, Event};
use gometa_proto::v1::{self, Request, Response, request::Operation, response};
use gometa_zab::{
    Change, Configuration, DesiredRole, Event as Zab, Incarnation, Learner, NodeId, Replacement, Zxid,
};

use super::Ensemble;
use crate::{
    actions::Action,
    checkers::{Check, ensure, node_id, node_index},
};

/// The client that asks for changes of the members, at every node.
pub(super) const OPERATOR: ClientId = ClientId(u64::MAX);

const NAME: &str = "20 config";

impl Ensemble {
    /// A change of the members is asked for.
    pub(crate) fn change_members(&mut self) {
        if self.faults_ended {
            return;
        }
        self.next(self.settings.process.change_every, Action::Change);
        let up: Vec<usize> = (0..self.processes.len()).filter(|node| self.processes[*node].is_up()).collect();
        if up.is_empty() || !self.formed {
            return;
        }
        let leaders: Vec<usize> = up.iter().copied().filter(|node| self.processes[*node].leads).collect();
        // Sometimes a second one before the first is decided.
        for _ in 0..if self.machine.one_in(8) { 2 } else { 1 } {
            if self.machine.one_in(3) && !leaders.is_empty() {
                let node = leaders[self.machine.index(leaders.len())];
                self.change_at(node);
            } else {
                let node = up[self.machine.index(up.len())];
                self.ask(node);
            }
        }
    }

    fn change_at(&mut self, node: usize) {
        let Some(state) = &self.processes[node].node else { return };
        let configuration = state.configuration().clone();
        if let Some(change) = self.some_change(&configuration) {
            let asked_by = Some(node_id(node));
            self.trace.line(self.now, Some(node), || format!("is asked for {change:?}"));
            self.deliver(node, Event::Zab(Zab::ChangeConfiguration { id: 0, change, asked_by }));
        }
    }

    /// An operator asks a node; the answer comes to [`answers_operator`](Self::answers_operator).
    fn ask(&mut self, node: usize) {
        let Some(state) = &self.processes[node].node else { return };
        let configuration = state.configuration().clone();
        let Some(operation) = self.some_request(&configuration) else { return };
        let deadline_ms = self.machine.between(50, 5_000) as u32;
        self.ask_for(node, operation, deadline_ms);
    }

    /// An operator asks a node for this.
    pub(super) fn ask_for(&mut self, node: usize, operation: Operation, deadline_ms: u32) {
        self.trace.line(self.now, Some(node), || format!("is asked by an operator for {operation:?}"));
        let id = self.counts.faults.member_requests + 1;
        self.counts.faults.member_requests = id;
        let request = Request { id, deadline_ms, operation: Some(operation.clone()), ..Request::default() };
        self.asked.insert(id, operation);
        self.deliver(node, Event::Request { client: OPERATOR, request });
    }

    /// A node answers an operator: what was asked for is committed, and stands in the answer.
    pub(super) fn answers_operator(&mut self, node: usize, response: Response) -> Check {
        self.trace.mix(response.id);
        self.trace.line(self.now, Some(node), || format!("answers the operator: {response:?}"));
        let Some(operation) = self.asked.remove(&response.id) else {
            ensure!(false, NAME, "n{node} answers request {} twice", response.id);
            return Ok(());
        };
        let Some(response::Result::MembersChanged(answer)) = response.result else { return Ok(()) };
        self.counts.faults.member_requests_answered += 1;
        let membership = answer.membership.unwrap_or_default();
        let version = membership.version.unwrap_or_default();
        let version = Zxid::new(version.epoch, version.counter);
        let known = self.oracle.committed_configuration();
        ensure!(
            version <= known,
            NAME,
            "n{node} answers {operation:?} with {version}, the latest committed is {known}"
        );
        let member = |node: u64| membership.members.iter().find(|member| member.node == node);
        let holds = match &operation {
            Operation::AddLearner(add) => member(add.node).is_some(),
            Operation::PromoteMember(promote) => member(promote.node).is_some_and(|member| member.votes),
            Operation::RemoveMember(remove) => member(remove.node).is_none(),
            Operation::ReplaceMember(replace) => {
                member(replace.node).is_none()
                    || member(replace.replacement).is_some_and(|member| member.replaces == replace.node)
            }
            Operation::CancelPromotion(cancel) => {
                member(cancel.node).is_some_and(|member| !member.promised && member.replaces == 0)
            }
            _ => false,
        };
        ensure!(holds, NAME, "n{node} answers {operation:?} with {membership:?}");
        if let Operation::AddLearner(add) = &operation {
            self.hint(node_index(NodeId(add.node)));
        }
        Ok(())
    }

    /// The operator tells a node of nodes that may know the leader; after the faults, of all. One that joins needs this;
    /// so does a founder that lost its directory, or was absent, and whose file lists only nodes that were removed since.
    pub(crate) fn hint(&mut self, node: usize) {
        if !self.processes[node].is_up() || self.oracle.is_left_behind(node) {
            return;
        }
        let all = self.faults_ended || self.machine.one_in(2);
        let nodes: Vec<NodeId> = (0..self.processes.len())
            .filter(|other| {
                *other != node && !self.oracle.is_left_behind(*other) && (all || self.machine.one_in(2))
            })
            .map(node_id)
            .collect();
        self.deliver(node, Event::Zab(Zab::Hints(nodes)));
    }

    fn learner(&self, node: usize) -> Learner {
        Learner {
            node: node_id(node),
            incarnation: self.processes[node].disk.incarnation,
            addresses: self.processes[node].addresses.clone(),
            desired: DesiredRole::Voter,
        }
    }

    fn some_change(&mut self, configuration: &Configuration) -> Option<Change> {
        let nodes = self.processes.len();
        // Nobody adds a node that still has the data of an earlier history.
        let is_stranger =
            |node: &usize| !configuration.contains(node_id(*node)) && !self.oracle.is_left_behind(*node);
        let strangers: Vec<usize> = (0..nodes).filter(is_stranger).collect();
        let learners: Vec<usize> =
            configuration.learners().iter().map(|learner| node_index(learner.node)).collect();
        let voters: Vec<usize> = configuration.voters().iter().map(|voter| node_index(voter.node)).collect();
        let replacements = configuration.replacements();
        if !replacements.is_empty() && self.machine.one_in(8) {
            return Some(Change::CancelReplacement(replacements[self.machine.index(replacements.len())].new));
        }
        match self.machine.below(8) {
            0..=2 if !strangers.is_empty() => {
                let node = strangers[self.machine.index(strangers.len())];
                Some(Change::AddLearner(self.learner(node)))
            }
            0..=5 if !learners.is_empty() => {
                let node = node_id(learners[self.machine.index(learners.len())]);
                Some(match self.machine.below(8) {
                    0 => Change::RemoveLearner(node),
                    1..=3 if !voters.is_empty() => {
                        let old = node_id(voters[self.machine.index(voters.len())]);
                        Change::Replace(Replacement { old, new: node })
                    }
                    _ => Change::Promote(node),
                })
            }
            _ if !voters.is_empty() => {
                Some(Change::RemoveVoter(node_id(voters[self.machine.index(voters.len())])))
            }
            _ => None,
        }
    }

    /// A request that makes sense, or one that names any node.
    fn some_request(&mut self, configuration: &Configuration) -> Option<Operation> {
        let any = node_id(self.machine.index(self.processes.len())).0;
        let version = configuration.version();
        let follows = self
            .machine
            .one_in(8)
            .then_some(v1::MembersVersion { epoch: version.epoch.0, counter: version.counter });
        if self.machine.one_in(4) {
            return Some(match self.machine.below(6) {
                0 => Operation::PromoteMember(v1::PromoteMember { node: any, follows }),
                1 => Operation::RemoveMember(v1::RemoveMember { node: any, follows }),
                2 => Operation::CancelPromotion(v1::CancelPromotion { node: any, follows }),
                3 => {
                    let replacement = node_id(self.machine.index(self.processes.len())).0;
                    Operation::ReplaceMember(v1::ReplaceMember { node: any, replacement, follows })
                }
                4 => {
                    let to = if self.machine.one_in(2) { any } else { 0 };
                    Operation::TransferLeadership(v1::TransferLeadership { to })
                }
                _ => Operation::SafeToStop(v1::SafeToStop { nodes: vec![any] }),
            });
        }
        Some(match self.some_change(configuration)? {
            Change::AddLearner(learner) => add_learner(learner, self.machine.one_in(2)),
            Change::Promote(node) => Operation::PromoteMember(v1::PromoteMember { node: node.0, follows }),
            Change::RemoveLearner(node) | Change::RemoveVoter(node) => {
                Operation::RemoveMember(v1::RemoveMember { node: node.0, follows })
            }
            Change::Replace(Replacement { old, new }) => {
                Operation::ReplaceMember(v1::ReplaceMember { node: old.0, replacement: new.0, follows })
            }
            Change::CancelReplacement(node) => {
                Operation::CancelPromotion(v1::CancelPromotion { node: node.0, follows })
            }
            Change::ReplaceIncarnation { .. }
            | Change::Exchange { .. }
            | Change::SetAddresses { .. }
            | Change::SetDesiredRole { .. }
            | Change::RaiseLevel(_) => return None,
        })
    }

    /// The request of a node that joins as a voter.
    pub(super) fn request_to_join(&self, node: usize) -> Operation {
        add_learner(self.learner(node), true)
    }

    /// A leader has proposed a change.
    pub(super) fn count_change(&mut self, change: &Change) {
        let faults = &mut self.counts.faults;
        match change {
            Change::AddLearner(_) => faults.learners_added += 1,
            Change::Promote(_) => faults.learners_promoted += 1,
            Change::RemoveLearner(_) => faults.learners_removed += 1,
            Change::RemoveVoter(_) => faults.voters_removed += 1,
            Change::Replace(_) => faults.replacements += 1,
            Change::ReplaceIncarnation { .. }
            | Change::Exchange { .. }
            | Change::SetAddresses { .. }
            | Change::SetDesiredRole { .. }
            | Change::CancelReplacement(_)
            | Change::RaiseLevel(_) => {}
        }
    }
}

fn add_learner(learner: Learner, voter: bool) -> Operation {
    Operation::AddLearner(v1::AddLearner {
        node: learner.node.0,
        incarnation: bytes_of(learner.incarnation),
        election_address: learner.addresses.election,
        message_address: learner.addresses.message,
        request_address: learner.addresses.request,
        voter,
        level_min: 0,
        level_max: 0,
    })
}

fn bytes_of(incarnation: Incarnation) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&incarnation.0.to_be_bytes())
}
