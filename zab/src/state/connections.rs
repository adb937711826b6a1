//! Connections: greetings, refusals, and two processes with one identity.

use alloc::vec::Vec;

use super::{Core, Link};
use crate::{
    effect::{Effect, Notice},
    message::{Hello, Message, Reason},
    types::{Epoch, Incarnation, LinkId, NodeId},
};

impl Core {
    pub(crate) fn dial(&mut self, peer: NodeId) {
        if self.dialling.insert(peer) {
            self.effects.push(Effect::Connect { peer });
        }
    }

    pub(crate) fn send(&mut self, link: LinkId, message: Message) {
        if self.links.contains_key(&link) {
            self.effects.push(Effect::Send { link, message });
        }
    }

    pub(crate) fn close(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.effects.push(Effect::Close { link });
        }
    }

    /// Whether this is a connection with a node.
    pub(crate) fn is_peer(&self, link: LinkId, node: NodeId) -> bool {
        let hello = self.links.get(&link).and_then(|link| link.hello.as_ref());
        hello.is_some_and(|hello| hello.node == node)
    }

    /// Keeps a connection on which FollowerEpoch was received, although this node does not lead yet.
    pub(crate) fn keep_early_follower(&mut self, link: LinkId, accepted: Epoch) {
        if let Some(state) = self.links.get_mut(&link) {
            state.follower_epoch = Some(accepted);
            state.elects = true;
            state.opened = self.now;
        }
    }

    /// The nodes that have sent FollowerEpoch since this node looks.
    pub(crate) fn early_followers(&self) -> impl Iterator<Item = (NodeId, Incarnation)> + '_ {
        let early = self.links.values().filter(|link| link.elects);
        early.filter_map(|link| link.hello.as_ref()).map(|hello| (hello.node, hello.incarnation))
    }

    pub(crate) fn refuse(&mut self, link: LinkId, reason: Reason) {
        let peer = self.links.get(&link).and_then(|link| link.hello.as_ref().map(|hello| hello.node));
        self.notice(Notice::Refused { peer, reason });
        self.send(link, Message::Refuse(reason));
        self.close(link);
    }

    pub(crate) fn open(&mut self, link: LinkId, dialled: Option<NodeId>) {
        if dialled.is_none() && self.links.len() >= self.config.bounds.links_max {
            self.effects.push(Effect::Close { link });
            return;
        }
        self.links.insert(
            link,
            Link {
                dialled,
                hello: None,
                follower_epoch: None,
                elects: false,
                opened: self.now,
                write_latency: 0,
            },
        );
        let ensemble = self.ensemble();
        let hello = Hello {
            node: self.me(),
            incarnation: self.config.incarnation,
            boot: self.config.boot,
            expected: dialled,
            ensemble,
            addresses: self.config.addresses.clone(),
            voters: if ensemble.is_some() { Vec::new() } else { self.config.voters.clone() },
            configuration: self.configuration().version(),
        };
        self.send(link, Message::Hello(hello));
    }

    /// Accepts a Hello, or refuses the connection and returns false.
    pub(crate) fn accept_hello(&mut self, link: LinkId, hello: Hello) -> bool {
        let Some(state) = self.links.get(&link) else { return false };
        let reason = if state.hello.is_some() {
            Some(Reason::Version)
        } else if hello.node == self.me()
            || state.dialled.is_some_and(|dialled| dialled != hello.node)
            || (state.dialled.is_none() && hello.expected != Some(self.me()))
        {
            Some(Reason::WrongNode)
        } else if hello.ensemble.is_some() && self.ensemble().is_some() && hello.ensemble != self.ensemble() {
            Some(Reason::OtherEnsemble)
        } else if !self.configurations.contains(hello.node)
            && !self.is_later(hello.configuration)
            && hello.ensemble.is_some() == self.ensemble().is_some()
        {
            Some(if self.ensemble().is_some() { Reason::NotAMember } else { Reason::Configuration })
        } else {
            None
        };
        if let Some(reason) = reason {
            if state.hello.is_some() {
                self.refuse(link, reason);
                return false;
            }
            let (dialled, Hello { node, expected, addresses, .. }) = (state.dialled, hello);
            self.notice(Notice::HelloRefused { dialled, expected, node, addresses, reason });
            self.send(link, Message::Refuse(reason));
            self.close(link);
            return false;
        }
        if self.is_later(hello.configuration) {
            self.heard.later(hello.configuration, self.now);
        }
        if self.configurations.contains(hello.node) {
            self.heard.member(hello.node, hello.incarnation, self.now);
        }
        if let Some(state) = self.links.get_mut(&link) {
            state.hello = Some(hello);
        }
        true
    }

    /// Closes all connections that were not used within the election timeout.
    pub(crate) fn close_idle(&mut self, in_use: impl Fn(LinkId, &Link) -> bool) {
        let timeout = self.config.timeouts.election;
        let idle: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(id, link)| self.now.since(link.opened) > timeout && !in_use(**id, link))
            .map(|(id, _)| *id)
            .collect();
        for link in idle {
            probe!("connection.idle-closed");
            let duplicate =
                |(used, state): &(&LinkId, &Link)| in_use(**used, state) && self.is_duplicate(link, **used);
            if let Some(used) = self.links.iter().find(duplicate).map(|(used, _)| *used) {
                self.report_duplicate(used, link);
            }
            self.close(link);
        }
    }

    /// Whether a connection is that of a second process with the id and the incarnation of the one whose connection is in
    /// use. A process has the same boot count and addresses all its life.
    fn is_duplicate(&self, link: LinkId, used: LinkId) -> bool {
        let (Some(link), Some(used)) = (self.links.get(&link), self.links.get(&used)) else { return false };
        let (Some(one), Some(other)) = (&link.hello, &used.hello) else { return false };
        let differs = (one.boot, &one.addresses) != (other.boot, &other.addresses);
        // Messages of an earlier start can be received after its end, but only for a while.
        let alive =
            one.boot >= other.boot || link.opened.since(used.opened) > self.config.timeouts.election * 2;
        (one.node, one.incarnation) == (other.node, other.incarnation) && differs && alive
    }

    /// Reports a follower that connects again if it is another process with the same identity: with other addresses at
    /// the same boot count, or with an earlier boot count.
    pub(crate) fn check_reconnect(&mut self, new: LinkId, old: LinkId) {
        let boot =
            |link| self.links.get(&link).and_then(|link: &Link| link.hello.as_ref()).map(|hello| hello.boot);
        if boot(new) <= boot(old) && self.is_duplicate(new, old) {
            self.report_duplicate(new, old);
        }
    }

    fn report_duplicate(&mut self, served: LinkId, other: LinkId) {
        let hello = |link| self.links.get(&link).and_then(|link: &Link| link.hello.clone());
        let (Some(one), Some(two)) = (hello(served), hello(other)) else { return };
        self.send(other, Message::Duplicate(one.addresses.clone()));
        self.notice(Notice::Duplicate { peer: one.node, served: one.addresses, other: two.addresses });
    }
}
