//! Liveness: heartbeats, signs of life, and the barriers that heartbeats confirm (rule 25, protocol.md 6).

use alloc::vec::Vec;

use super::Leader;
use crate::{
    effect::Effect,
    integrity::StateReport,
    message::Message,
    progress::Progress,
    space::DiskSpace,
    state::{Core, Next},
    types::{Incarnation, LinkId, NodeId},
};

impl Leader {
    /// Something was received on a connection, even if only a part of a message. A node that has not sent
    /// FollowerEpoch yet is about to.
    pub(crate) fn on_contact(&mut self, core: &mut Core, link: LinkId) {
        let (node, incarnation) = match self.followers.get_mut(&link) {
            Some(progress) => {
                progress.heard = core.now;
                (progress.node, progress.incarnation())
            }
            None => {
                let Some(state) = core.links.get_mut(&link) else { return };
                let Some(hello) = &state.hello else { return };
                state.opened = core.now;
                (hello.node, hello.incarnation)
            }
        };
        self.note_contact(core, node, incarnation);
    }

    /// A member has shown a sign of life. A learner may be promoted next, so that it counts at once.
    pub(super) fn note_contact(&mut self, core: &Core, node: NodeId, incarnation: Incarnation) {
        if core.configurations.contains(node) {
            self.contacts.insert((node, incarnation), core.now);
        }
    }

    /// Whether a quorum, this node included, has shown a sign of life within the election timeout.
    pub(super) fn has_contact(&mut self, core: &Core) -> bool {
        let timeout = core.config.timeouts.election;
        self.contacts.retain(|_, at| core.now.since(*at) <= timeout);
        core.configuration().has_quorum(|voter| {
            voter.is(core.me(), core.config.incarnation)
                || self.contacts.keys().any(|(node, incarnation)| voter.is(*node, *incarnation))
        })
    }

    /// Sends Alive to nodes that are sent no heartbeats: all nodes before the epoch is chosen, and later those that
    /// wait for their own disks. Sends it to all nodes when the write latency is to be reported.
    pub(super) fn send_alive(&mut self, core: &mut Core) {
        let heartbeat = core.config.timeouts.heartbeat;
        let write_latency = core.slow_latency();
        let report = self.reported.is_due(core.now, heartbeat, write_latency);
        if report {
            self.reported.sent(core.now, write_latency);
        }
        if core.now < self.next_alive && !report {
            return;
        }
        self.next_alive = core.now.plus(heartbeat);
        let gets_heartbeats =
            |link: &LinkId| self.has_begun() && self.followers.get(link).is_some_and(Progress::has_promised);
        let greeted = core.links.iter().filter(|(_, state)| state.dialled.is_none() && state.hello.is_some());
        let links: Vec<LinkId> =
            greeted.map(|(link, _)| *link).filter(|link| report || !gets_heartbeats(link)).collect();
        for link in links {
            probe!("lead.alive-before-heartbeats", !self.has_begun());
            core.send(link, Message::Alive { write_latency });
        }
    }

    pub(super) fn send_heartbeat(&mut self, core: &mut Core) {
        let streamed = self.commit_for_followers(core);
        self.heartbeat += 1;
        let interval = core.config.timeouts.heartbeat;
        self.next_heartbeat = core.now.plus(planted!(interval, halves_heartbeat_rate => interval * 2));
        for (link, progress) in &mut self.followers {
            if progress.has_promised() {
                let commit = if progress.is_streamed() { streamed } else { 0 };
                progress.commit_sent(commit);
                core.send(*link, Message::Heartbeat { epoch: self.epoch, id: self.heartbeat, commit });
            }
        }
    }

    pub(super) fn on_heartbeat_ack(
        &mut self,
        core: &mut Core,
        link: LinkId,
        id: u64,
        space: DiskSpace,
        state: &StateReport,
    ) -> Next {
        let sent = self.heartbeat;
        let Some(progress) = self.followers.get_mut(&link) else { return Next::Stay };
        progress.space = space;
        progress.take_report(state);
        if let Some(progress) = Some(progress).filter(|progress| progress.has_promised())
            && id <= sent
        {
            let confirmed = planted!(id, any_heartbeat_ack_confirms_barrier => sent);
            progress.heartbeat_acked = progress.heartbeat_acked.max(confirmed);
            self.pass_barriers(core);
        }
        Next::Stay
    }

    /// Begins a round for the barriers requested since the last one (protocol.md 6.2): the commit index is taken
    /// after the last request has joined and before the first heartbeat is sent.
    pub(super) fn begin_barrier_round(&mut self, core: &mut Core) {
        let commit = planted!(core.commit, barrier_has_older_commit_index => core.commit.saturating_sub(1));
        self.send_heartbeat(core);
        self.barriers.begin_round(self.heartbeat, commit);
        self.pass_barriers(core);
    }

    /// Passes the barriers whose heartbeats a quorum has acknowledged.
    pub(super) fn pass_barriers(&mut self, core: &mut Core) {
        let confirmed = self.confirmed_heartbeat(core);
        while let Some((commit, requests)) = self.barriers.take_confirmed(confirmed) {
            for id in requests {
                core.effects.push(Effect::BarrierPassed { id, commit });
            }
        }
    }

    /// The id of the last heartbeat that a quorum has acknowledged.
    fn confirmed_heartbeat(&self, core: &Core) -> u64 {
        let sent = self.heartbeat;
        let confirmed = core.configuration().quorum_value(|voter| {
            if voter.node == core.me() && core.votes() {
                return sent;
            }
            let follower = self.followers.values().find(|progress| progress.is(voter));
            follower.map_or(0, |progress| {
                planted!(
                    progress.heartbeat_acked,
                    previous_heartbeat_confirms_barrier => progress.heartbeat_acked + 1,
                    recent_contact_confirms_barrier => {
                        let recent = core.now.since(progress.heard) <= core.config.timeouts.election;
                        if recent { sent } else { progress.heartbeat_acked }
                    }
                )
            })
        });
        planted!(confirmed, passes_barrier_without_quorum => sent)
    }
}
