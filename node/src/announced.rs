//! Where the members are now, as they announce themselves.
//!
//! The ensemble records its members' addresses once, when it is formed. A member that is started with other ones
//! announces them in its Hello: to its leader, or, if it leads, to its followers. The leader passes on what it knows,
//! so that every node that has a leader can tell clients and people. Only what a member with the recorded data
//! directory announces counts, and of two announcements the one of the later start. Nothing of this is durable, and
//! the protocol does not depend on it: nodes still dial each other where their configurations say.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::{
    check,
    v1::{self, PeerAddresses, node_message::Body},
};
use gometa_zab::{Addresses, LinkId, NodeId, Role, Voter, Zab};

use crate::forward;

/// Connections of which it is kept what was sent on them.
const SENT_MAX: usize = 256;

/// What the members have announced, as far as this node has heard.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// The start that a member announced its addresses at, and the addresses.
    members: BTreeMap<NodeId, (u64, Addresses)>,
    /// Counts the changes.
    version: u64,
    /// The version that each follower of this leader was sent last.
    sent: BTreeMap<LinkId, u64>,
}

impl Announced {
    /// Takes in what a member announced at a start of its own. True if these are other addresses than those that were
    /// known.
    pub(crate) fn learn(&mut self, member: &Voter, boot: u64, addresses: &Addresses) -> bool {
        let known = self.members.get(&member.node);
        if known.is_some_and(|(known, _)| *known >= boot) {
            return false;
        }
        let moved = known.map_or(&member.addresses, |(_, known)| known) != addresses;
        self.members.insert(member.node, (boot, addresses.clone()));
        self.version += 1;
        moved
    }

    /// Takes in what those announce that this node leads or follows. True as above, for any of them.
    pub(crate) fn look(&mut self, zab: &Zab) -> bool {
        let mut moved = false;
        for (member, hello) in zab.connected_members() {
            moved |= self.learn(member, hello.boot, &hello.addresses);
        }
        probe!("members.moved", moved);
        moved
    }

    /// Takes in what another node knows, if it is this node's leader. True as above, for any of them.
    pub(crate) fn learn_from_leader(&mut self, announcements: v1::Announcements, zab: &Zab) -> bool {
        let moved = matches!(zab.role(), Role::Following { .. })
            && self.learn_all(announcements, zab.node(), zab.members().voters());
        probe!("members.told-by-the-leader", moved);
        moved
    }

    fn learn_all(&mut self, announcements: v1::Announcements, me: NodeId, members: &[Voter]) -> bool {
        let mut moved = false;
        for v1::Announcement { node, boot, addresses } in announcements.members {
            let node = NodeId(node);
            if let Some(addresses) = addresses.and_then(checked)
                && let Some(member) = members.iter().find(|voter| voter.node == node && node != me)
            {
                moved |= self.learn(member, boot, &addresses);
            }
        }
        moved
    }

    /// A member with the addresses that are known to be its latest.
    pub(crate) fn latest(&self, voter: &Voter) -> Voter {
        let addresses = self.members.get(&voter.node).map_or(&voter.addresses, |(_, addresses)| addresses);
        Voter { addresses: addresses.clone(), ..voter.clone() }
    }

    /// What a leader sends to those of its followers that do not have it yet.
    pub(crate) fn unsent(&mut self, zab: &Zab) -> Vec<(LinkId, Bytes)> {
        let leads = matches!(zab.role(), Role::Leading { established: Some(_) });
        if !planted!(leads, sends_no_announcements => false) {
            return Vec::new();
        }
        let serving = zab.followers().into_iter().filter(|follower| follower.serving);
        self.unsent_to(serving.map(|follower| follower.link))
    }

    fn unsent_to(&mut self, followers: impl Iterator<Item = LinkId>) -> Vec<(LinkId, Bytes)> {
        if self.members.is_empty() {
            return Vec::new();
        }
        let mut payload: Option<Bytes> = None;
        let mut unsent = Vec::new();
        for link in followers {
            if self.sent.get(&link) != Some(&self.version) {
                let payload = payload.get_or_insert_with(|| forward::encode(self.message()));
                unsent.push((link, payload.clone()));
            }
        }
        if self.sent.len() + unsent.len() > SENT_MAX {
            self.sent.clear(); // Connections come and go; one that is still used is sent it once more.
        }
        self.sent.extend(unsent.iter().map(|(link, _)| (*link, self.version)));
        unsent
    }

    fn message(&self) -> Body {
        let announcement = |(node, (boot, addresses)): (&NodeId, &(u64, Addresses))| v1::Announcement {
            node: node.0,
            boot: *boot,
            addresses: Some(PeerAddresses {
                election: addresses.election.clone(),
                message: addresses.message.clone(),
                request: addresses.request.clone(),
            }),
        };
        Body::Announcements(v1::Announcements { members: self.members.iter().map(announcement).collect() })
    }
}

/// Addresses as a member may announce them.
fn checked(addresses: PeerAddresses) -> Option<Addresses> {
    let PeerAddresses { election, message, request } = addresses;
    let fine = [&election, &message, &request].into_iter().all(|text| check::address(text).is_ok());
    fine.then_some(Addresses { election, message, request })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Addresses {
        let text = |port: u16| format!("127.0.0.1:{port}");
        Addresses { election: text(port), message: text(port + 1), request: text(port + 2) }
    }

    fn voter(node: u64) -> Voter {
        Voter { node: NodeId(node), incarnation: None, addresses: at(5001) }
    }

    fn announcement(node: u64, boot: u64, request: &str) -> v1::Announcement {
        let addresses = PeerAddresses { request: request.to_owned(), ..PeerAddresses::default() };
        v1::Announcement { node, boot, addresses: Some(addresses) }
    }

    #[test]
    fn the_announcement_of_the_later_start_counts() {
        let mut announced = Announced::default();
        assert_eq!(announced.latest(&voter(1)), voter(1), "recorded");
        assert!(announced.learn(&voter(1), 2, &at(6001)));
        assert!(!announced.learn(&voter(1), 1, &at(7001)), "an earlier start");
        assert!(!announced.learn(&voter(1), 2, &at(7001)), "the same start");
        assert!(!announced.learn(&voter(1), 3, &at(6001)), "nothing new");
        assert_eq!(announced.latest(&voter(1)).addresses, at(6001));
        assert!(announced.learn(&voter(1), 4, &at(5001)), "back to what is recorded");
        assert_eq!(announced.latest(&voter(1)), voter(1));
    }

    #[test]
    fn each_follower_is_sent_a_change_once() {
        let mut announced = Announced::default();
        let links = [LinkId(1), LinkId(2)];
        let sent = |announced: &mut Announced, links: &[LinkId]| -> Vec<LinkId> {
            announced.unsent_to(links.iter().copied()).into_iter().map(|(link, _)| link).collect()
        };
        assert_eq!(sent(&mut announced, &links), [], "nothing is known");
        announced.learn(&voter(1), 1, &at(6001));
        assert_eq!(sent(&mut announced, &links[..1]), links[..1]);
        assert_eq!(sent(&mut announced, &links), links[1..]);
        assert_eq!(sent(&mut announced, &links), []);
        announced.learn(&voter(1), 2, &at(6001));
        assert_eq!(sent(&mut announced, &links), links);
    }

    #[test]
    fn a_leader_s_word_counts_for_other_members_with_addresses_that_can_be() {
        let mut announced = Announced::default();
        let members = [voter(1), voter(2), voter(3)];
        let long = "x".repeat(gometa_proto::limits::ADDRESS_MAX + 1);
        let told = v1::Announcements {
            members: vec![
                announcement(1, 9, "own:1"),
                announcement(2, 9, "line\nbreak:1"),
                announcement(3, 9, &long),
                announcement(4, 9, "stranger:1"),
                v1::Announcement { node: 2, boot: 9, addresses: None },
            ],
        };
        assert!(!announced.learn_all(told, NodeId(1), &members));
        assert!(announced.members.is_empty());
        let told = v1::Announcements { members: vec![announcement(2, 9, "moved:1")] };
        assert!(announced.learn_all(told, NodeId(1), &members));
        assert_eq!(announced.latest(&members[1]).addresses.request, "moved:1");
    }
}
