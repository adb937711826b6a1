//! Signs of life, from and to those that follow a leader or are on their way to (rule 25).

use alloc::vec::Vec;

use super::{Leader, Stage};
use crate::{message::Message, peer::Peer, state::Core, types::LinkId};

impl Leader {
    /// Something came from the other end of a connection, and be it only a part: it is there. One that is not a
    /// follower yet is on its way to become one.
    pub(crate) fn heard(&mut self, core: &mut Core, link: LinkId) {
        let voter = match self.peers.get_mut(&link) {
            Some(peer) => {
                peer.heard = core.now;
                peer.votes.then_some(peer.node)
            }
            None => {
                let Some(state) = core.links.get_mut(&link) else { return };
                let Some(hello) = &state.hello else { return };
                state.opened = core.now;
                core.members.is_voter(hello.node, hello.incarnation).then_some(hello.node)
            }
        };
        if let Some(voter) = voter {
            self.contact.insert(voter, core.now);
        }
    }

    /// Shows a sign of life to those that are sent no heartbeats: before the epoch is drawn nobody is, and later those
    /// are not that still wait for their own disks. Tells everyone when this node's disk is slow.
    pub(super) fn show_life(&mut self, core: &mut Core) {
        let heartbeat = core.config.timeouts.heartbeat;
        let storage = core.slowness();
        let report = core.now.since(self.reported.0) >= heartbeat * 5 && (storage > 0 || self.reported.1 > 0);
        if report {
            self.reported = (core.now, storage);
        }
        if core.now < self.alive_at && !report {
            return;
        }
        self.alive_at = core.now.plus(heartbeat);
        let begun = !matches!(self.stage, Stage::Discovering | Stage::Promising { .. });
        let beats = |link: &LinkId| begun && self.peers.get(link).is_some_and(Peer::promised);
        let greeted = core.links.iter().filter(|(_, state)| state.dialled.is_none() && state.hello.is_some());
        let links: Vec<LinkId> =
            greeted.map(|(link, _)| *link).filter(|link| report || !beats(link)).collect();
        for link in links {
            probe!("lead.alive-before-heartbeats", !begun);
            core.send(link, Message::Alive { storage });
        }
    }
}
