//! Connections: greetings, refusals, and two processes with one identity.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{Core, Link};
use crate::{
    configuration::Configuration,
    effect::{Effect, Notice},
    levels::FIRST_LEVEL,
    message::{Hello, Message, Reason},
    types::{Epoch, Incarnation, LinkId, NodeId, Ticks},
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
            levels: self.config.levels,
            level: ensemble.map(|_| self.committed_level()),
        };
        self.send(link, Message::Hello(hello));
    }

    /// The level of the last configuration that is known to be committed: one above may be taken back.
    fn committed_level(&self) -> u32 {
        let committed = self.configurations.all().rev().find(|it| it.version().counter <= self.commit);
        committed.map_or(FIRST_LEVEL, Configuration::level)
    }

    /// Whether both ends support the feature level of the ensemble, as the one knows it that knows the higher one: levels never
    /// fall, and the other one learns it from the log (protocol.md 5.14). Before formation, whether they support a common one.
    fn supports(&self, hello: &Hello) -> bool {
        let own = self.ensemble().map(|_| self.committed_level());
        let both = self.config.levels.and(hello.levels);
        match own.max(hello.level) {
            Some(level) => both.contains(level),
            None => !both.is_empty(),
        }
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
        } else if hello.ensemble.is_some()
            && self.ensemble().is_some()
            && planted!(
                hello.ensemble != self.ensemble(),
                takes_part_in_other_history => hello.ensemble.map(|it| it.id) != self.ensemble().map(|it| it.id)
            )
        {
            Some(Reason::OtherEnsemble)
        } else if !self.supports(&hello) {
            Some(Reason::Level)
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
            let (dialled, Hello { node, expected, addresses, levels, level, .. }) = (state.dialled, hello);
            self.notice(if reason == Reason::Level {
                Notice::LevelsDiffer { peer: node, addresses, levels, level }
            } else {
                Notice::HelloRefused { dialled, expected, node, addresses, reason }
            });
            self.send(link, Message::Refuse(reason));
            self.close(link);
            return false;
        }
        if self.is_later(hello.configuration) {
            self.heard.later(hello.configuration, self.now);
        }
        if self.configurations.contains(hello.node) {
            self.heard.member(hello.node, hello.incarnation, self.now);
            self.heard.start((hello.node, hello.incarnation), hello.boot, self.now);
        }
        if let Some(state) = self.links.get_mut(&link) {
            state.hello = Some(hello);
        }
        true
    }

    /// Closes all connections that were not used within the election timeout. `in_use` tells of one that is in use when
    /// something was received on it last.
    pub(crate) fn close_idle(&mut self, in_use: impl Fn(LinkId, &Link) -> Option<Ticks>) {
        let timeout = self.config.timeouts.election;
        let idle: Vec<(LinkId, Ticks)> = self
            .links
            .iter()
            .filter(|(id, link)| self.now.since(link.opened) > timeout && in_use(**id, link).is_none())
            .map(|(id, link)| (*id, link.opened))
            .collect();
        for (link, opened) in idle {
            probe!("connection.idle-closed");
            let mut used = self.links.iter().filter_map(|(id, state)| Some((*id, in_use(*id, state)?)));
            let duplicate = used.find(|used| self.is_duplicate((link, opened), *used));
            if let Some((used, _)) = duplicate {
                self.report_duplicate(used, link);
            }
            self.close(link);
        }
    }

    /// Whether two connections, on which something was received last at these times, are of two processes with one id and
    /// one incarnation. A process has the same boot count and addresses all its life. Messages of an earlier start can be
    /// received after its end, but only for a while.
    fn is_duplicate(&self, (one, one_heard): (LinkId, Ticks), (other, other_heard): (LinkId, Ticks)) -> bool {
        let hello = |link| self.links.get(&link).and_then(|link: &Link| link.hello.as_ref());
        let (Some(one), Some(other)) = (hello(one), hello(other)) else { return false };
        if (one.node, one.incarnation) != (other.node, other.incarnation) {
            return false;
        }
        let earlier_heard = match one.boot.cmp(&other.boot) {
            Ordering::Equal => return one.addresses != other.addresses,
            Ordering::Less => one_heard,
            Ordering::Greater => other_heard,
        };
        let later_began = self.heard.latest_start(one.node, one.incarnation);
        later_began.is_some_and(|began| earlier_heard.since(began) > self.config.timeouts.election * 2)
    }

    /// Reports a follower that connects again if it is another process with the same identity. `old_heard` is when something
    /// was received last on its old connection.
    pub(crate) fn check_reconnect(&mut self, new: LinkId, (old, old_heard): (LinkId, Ticks)) {
        if self.is_duplicate((new, self.now), (old, old_heard)) {
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
