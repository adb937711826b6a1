//! Requests about the members, on the node that receives them and on the leader that carries them out.

use gometa_proto::{
    ErrorKind, Outcome,
    limits::DEADLINE_DEFAULT_MS,
    v1::{
        self, Error, Request, Response, node_message::Body, request::Operation, response::Result as Answer,
    },
};
use gometa_store::Table;
use gometa_zab::{self as zab, ChangeRejection, LinkId, NodeId, Notice, Role, Ticks, Zxid};

use super::Node;
use crate::{
    barrier, forward,
    members::{self, Asker, Led, Plan, Stage},
    requests::Ticket,
};

impl<T: Table> Node<T> {
    /// Gives the waiting requests to the leader, if there is one: this node or the one that it follows.
    pub(super) fn send_member_requests(&mut self) {
        let (leader, leads) = match self.role {
            Role::Leading { established: Some(_) } => (self.config.zab.node, true),
            Role::Following { leader, established: Some(_) } => (leader, false),
            Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => return,
        };
        let requests = &self.requests;
        self.members.retain(|ticket| requests.get(ticket).is_some(), self.now);
        let (settled, given) = self.members.give(leader);
        for ticket in settled {
            probe!("members.transfer-settled");
            let answer = v1::LeadershipTransferred { leader: leader.0 };
            self.respond_to(ticket, Answer::LeadershipTransferred(answer));
        }
        for (ticket, operation) in given {
            let deadline = self.requests.get(ticket).map_or(self.now, |waiting| waiting.deadline);
            if leads {
                self.begin_member_request(Asker::Own(ticket), operation, deadline);
                continue;
            }
            probe!("members.request-forwarded");
            let deadline_ms = u32::try_from(deadline.since(self.now) / 1_000).unwrap_or(u32::MAX).max(1);
            let request = Request { id: 0, deadline_ms, operation: Some(operation), ..Request::default() };
            let id = self.members.send(ticket);
            let message = Body::MemberRequest(v1::MemberRequest { id, request: Some(request) });
            self.inbox.push(zab::Event::RelayToLeader(forward::encode(message)));
        }
    }

    /// A follower sends a request.
    pub(super) fn member_request(&mut self, link: LinkId, asked: v1::MemberRequest) {
        let asker = Asker::Follower { link, id: asked.id };
        let Some(request) = asked.request else { return };
        let checked = request.check();
        let deadline_ms = if request.deadline_ms == 0 { DEADLINE_DEFAULT_MS } else { request.deadline_ms };
        let deadline = self.now.plus(u64::from(deadline_ms) * 1_000);
        if !matches!(self.role, Role::Leading { established: Some(_) }) {
            let error = self.no_leader(Outcome::NotApplied);
            return self.answer_member_request(asker, Answer::Error(error));
        }
        match (checked, request.operation) {
            (Ok(()), Some(operation)) => self.begin_member_request(asker, operation, deadline),
            (Err(error), _) => self.answer_member_request(asker, Answer::Error(error)),
            (Ok(()), None) => {}
        }
    }

    /// The leader has answered a request.
    pub(super) fn member_reply(&mut self, reply: v1::MemberReply) {
        if let Some(answer) = reply.response.and_then(|response| response.result)
            && let Some(ticket) = self.members.answered(reply.id)
        {
            self.answer_own(ticket, answer);
        }
    }

    /// Answers a client. A refusal of this leader is not the outcome if an earlier one may have carried the request out.
    fn answer_own(&mut self, ticket: Ticket, answer: Answer) {
        let exposed = self.members.finish(ticket);
        let answer = match answer {
            Answer::Error(error) if exposed => {
                probe!("members.refused-after-exposure");
                Answer::Error(Error { outcome: v1::Outcome::Unknown.into(), ..error })
            }
            answer => answer,
        };
        self.respond_to(ticket, answer);
    }

    fn begin_member_request(&mut self, asker: Asker, operation: Operation, deadline: Ticks) {
        if !self.members.lead(asker, operation, deadline, self.now) {
            let message = "too many requests about the members are under way";
            let error = Error::not_applied(ErrorKind::ResourceExhausted, message).with_retry_after_ms(100);
            self.answer_member_request(asker, Answer::Error(error));
        }
    }

    fn answer_member_request(&mut self, asker: Asker, answer: Answer) {
        match asker {
            Asker::Own(ticket) => self.answer_own(ticket, answer),
            Asker::Follower { link, id } => {
                let response = Response { id: 0, revision: self.store.applied(), result: Some(answer) };
                let reply = Body::MemberReply(v1::MemberReply { id, response: Some(response) });
                self.inbox.push(zab::Event::RelayTo { link, payload: forward::encode(reply) });
            }
        }
    }

    /// Goes on with the requests that this node carries out as leader.
    pub(super) fn lead_member_requests(&mut self) {
        if !matches!(self.role, Role::Leading { established: Some(_) }) {
            return;
        }
        let numbers: Vec<u64> = self.members.led.keys().copied().collect();
        for number in numbers {
            let Some(led) = self.members.led.get(&number).cloned() else { continue };
            match led.stage {
                Stage::New => self.carry_out(number, &led),
                Stage::Committing(version) if self.zab.commit() >= version.counter => {
                    self.changed(number, true);
                }
                Stage::Behind(version) if self.zab.commit() >= version.counter => {
                    self.set_stage(number, Stage::New);
                    self.carry_out(number, &led);
                }
                Stage::Behind(version) if self.now.since(led.since) > self.config.zab.timeouts.election => {
                    probe!("members.request-behind-pending");
                    let error = self.change_error(&ChangeRejection::Pending(version));
                    self.end_member_request(number, Answer::Error(error));
                }
                Stage::Retrying(at) if self.now >= at => self.carry_out(number, &led),
                Stage::Proposing
                | Stage::Committing(_)
                | Stage::Behind(_)
                | Stage::Retrying(_)
                | Stage::HandingOver(_)
                | Stage::Confirming => {}
            }
        }
    }

    /// Plans a request, and begins what is to be done. What an uncommitted change has made does not hold yet.
    fn carry_out(&mut self, number: u64, led: &Led) {
        let version = self.zab.configuration().version();
        if self.has_pending_change() {
            probe!("members.request-waits");
            return self.set_stage(number, Stage::Behind(version));
        }
        match members::plan(&led.operation, self.zab.configuration(), self.config.zab.node) {
            Plan::Holds => {
                let id = self.barriers.begin(barrier::Origin::Members(number));
                self.inbox.push(zab::Event::Barrier { id });
                self.set_stage(number, Stage::Confirming);
            }
            Plan::Change(change) => {
                let asked_by = Some(self.asked_at(led.asker));
                self.inbox.push(zab::Event::ChangeConfiguration { id: number, change, asked_by });
                self.set_stage(number, Stage::Proposing);
            }
            Plan::HandOver(to) => {
                self.inbox.push(zab::Event::TransferLeadership { to });
                self.set_stage(number, Stage::HandingOver(to));
            }
            Plan::Refuse(error) => self.end_member_request(number, Answer::Error(error)),
        }
    }

    /// The node whose client asks.
    fn asked_at(&self, asker: Asker) -> NodeId {
        let me = self.config.zab.node;
        match asker {
            Asker::Own(_) => me,
            Asker::Follower { link, .. } => {
                let followers = self.zab.followers();
                followers.iter().find(|follower| follower.link == link).map_or(me, |follower| follower.node)
            }
        }
    }

    fn has_pending_change(&self) -> bool {
        let committed = self.zab.configuration().version().counter <= self.zab.commit();
        planted!(!committed, answers_before_change_is_committed => false)
    }

    fn set_stage(&mut self, number: u64, stage: Stage) {
        if let Some(led) = self.members.led.get_mut(&number) {
            led.stage = stage;
        }
    }

    fn end_member_request(&mut self, number: u64, answer: Answer) {
        if let Some(led) = self.members.led.remove(&number) {
            self.answer_member_request(led.asker, answer);
        }
    }

    /// The protocol core has decided on a change.
    pub(super) fn change_decided(&mut self, number: u64, result: Result<Zxid, ChangeRejection>) {
        match result {
            Ok(version) => self.set_stage(number, Stage::Committing(version)),
            Err(ChangeRejection::Pending(version)) => {
                self.set_stage(number, Stage::Behind(version));
            }
            Err(why) => {
                let timeouts = self.config.zab.timeouts;
                let since = self.members.led.get(&number).map(|led| led.since);
                let waits = since.is_some_and(|since| self.now.since(since) < timeouts.election);
                if waits && matches!(why, ChangeRejection::NoQuorum(_)) {
                    probe!("members.request-retried");
                    return self.set_stage(number, Stage::Retrying(self.now.plus(timeouts.heartbeat)));
                }
                let error = self.change_error(&why);
                self.end_member_request(number, Answer::Error(error));
            }
        }
    }

    fn change_error(&self, why: &ChangeRejection) -> Error {
        let sources = self.sources();
        members::rejected(why, |node| sources.message_address_of(node))
    }

    /// Ends the requests that wait for a transfer which does not take place.
    pub(super) fn transfer_notice(&mut self, notice: &Notice) {
        let (error, of) = match notice {
            Notice::TransferRejected { to, why } => (members::transfer_rejected(*why), Some(*to)),
            Notice::TransferTakenBack { why } => (members::transfer_taken_back(why), None),
            _ => return,
        };
        let waits = |led: &Led| match led.stage {
            Stage::HandingOver(to) => of.is_none_or(|of| of == to),
            _ => false,
        };
        let numbers: Vec<u64> =
            self.members.led.iter().filter(|(_, led)| waits(led)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.end_member_request(number, Answer::Error(error.clone()));
        }
    }

    /// A quorum has confirmed that this node still leads, or has not.
    pub(super) fn members_confirmed(&mut self, number: u64, confirmed: bool) {
        let Some(led) = self.members.led.get(&number).cloned() else { return };
        if !confirmed {
            let message = "no quorum has confirmed the leader";
            let error = Error::not_applied(ErrorKind::Unavailable, message).with_retry_after_ms(50);
            return self.end_member_request(number, Answer::Error(error));
        }
        let plan = members::plan(&led.operation, self.zab.configuration(), self.config.zab.node);
        if self.has_pending_change() || plan != Plan::Holds {
            return self.set_stage(number, Stage::New);
        }
        match &led.operation {
            Operation::SafeToStop(question) => {
                let advice = self.stop_advice(&question.nodes);
                self.end_member_request(number, Answer::StopAdvice(advice));
            }
            Operation::TransferLeadership(_) => {
                let answer = v1::LeadershipTransferred { leader: self.config.zab.node.0 };
                self.end_member_request(number, Answer::LeadershipTransferred(answer));
            }
            _ => self.changed(number, false),
        }
    }

    fn changed(&mut self, number: u64, changed: bool) {
        let membership = Some(self.membership());
        self.end_member_request(number, Answer::MembersChanged(v1::MembersChanged { membership, changed }));
    }

    /// The members, as this node knows them.
    pub(super) fn membership(&self) -> v1::Membership {
        members::membership(self.zab.configuration(), self.zab.commit())
    }

    /// Whether these nodes can be stopped together: the other voters that are up to date are a quorum.
    fn stop_advice(&self, nodes: &[u64]) -> v1::StopAdvice {
        let (zab, me, sources) = (&self.zab, self.config.zab.node, self.sources());
        let configuration = zab.configuration();
        let unsafe_because = |reason: String| v1::StopAdvice { safe: false, reason };
        if configuration.version().counter > zab.commit() {
            return unsafe_because("a change of the members is not committed yet".to_owned());
        }
        let followers = zab.followers();
        let complete = |node: NodeId| {
            node == me
                || followers.iter().any(|follower| {
                    follower.node == node
                        && follower.votes
                        && follower.serving
                        && follower.acked >= zab.commit()
                })
        };
        let left = |node: NodeId| !nodes.contains(&node.0);
        if configuration.has_quorum(|voter| left(voter.node) && complete(voter.node)) {
            return v1::StopAdvice { safe: true, reason: String::new() };
        }
        let voters = configuration.voters();
        let missing: Vec<String> = voters
            .iter()
            .filter(|voter| left(voter.node) && !complete(voter.node))
            .map(|voter| sources.message_address_of(voter.node))
            .collect();
        let remaining = voters.iter().filter(|voter| left(voter.node)).count();
        unsafe_because(match missing.is_empty() {
            true => format!("{remaining} of {} voters would be left, which is no quorum", voters.len()),
            false => {
                format!("no quorum would be left: {} not up to date with every write", missing.join(", "))
            }
        })
    }
}
