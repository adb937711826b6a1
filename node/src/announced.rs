//! The current addresses of the members, as announced by them.
//!
//! The ensemble records its members' addresses once, when it is formed. A member that is started with other ones
//! announces them in its Hello: to its leader, or, if it leads, to its followers. The leader forwards what it has
//! received, so that every node with a leader can pass it to clients and people. Only announcements of members with the
//! recorded data directory count, and of two the one of the later start. None of this is durable, and the protocol does
//! not depend on it: nodes dial each other at the configured addresses.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::{
    check,
    v1::{self, PeerAddresses, node_message::Body},
};
use gometa_zab::{Addresses, Incarnation, LinkId, NodeId, Role, Voter, Zab};

use crate::forward;

/// The most members whose announcements are kept.
const MEMBERS_MAX: usize = 128;

/// The most connections in `sent`.
const SENT_MAX: usize = 256;

/// The announcements that this node has received.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// The boot count at the announcement of a member with this data directory, and its addresses.
    members: BTreeMap<(NodeId, Option<Incarnation>), (u64, Addresses)>,
    /// The number of changes.
    version: u64,
    /// On a leader: the version last sent to each follower.
    sent: BTreeMap<LinkId, u64>,
}

impl Announced {
    /// Records an announcement. Returns whether the member's addresses have changed.
    pub(crate) fn learn(&mut self, member: &Voter, boot: u64, addresses: &Addresses) -> bool {
        let key = (member.node, member.incarnation);
        let known = self.members.get(&key);
        if known.is_some_and(|(known, _)| *known >= boot) {
            return false;
        }
        let moved = known.map_or(&member.addresses, |(_, known)| known) != addresses;
        self.members.insert(key, (boot, addresses.clone()));
        self.version += 1;
        moved
    }

    /// Records the announcements of this node's leader or followers. Returns whether any addresses have changed.
    pub(crate) fn update(&mut self, zab: &Zab) -> bool {
        if self.members.len() >= MEMBERS_MAX {
            let members = zab.configuration().members();
            self.members
                .retain(|key, _| members.iter().any(|member| (member.node, member.incarnation) == *key));
        }
        let mut moved = false;
        for (member, hello) in zab.connected_members() {
            moved |= self.learn(&member, hello.boot, &hello.addresses);
        }
        probe!("members.address-changed", moved);
        moved
    }

    /// Records the announcements that the leader has forwarded. Returns whether any addresses have changed.
    pub(crate) fn learn_from_leader(&mut self, announcements: v1::Announcements, zab: &Zab) -> bool {
        let moved = matches!(zab.role(), Role::Following { .. })
            && self.learn_all(announcements, zab.node(), &zab.configuration().members());
        probe!("members.address-from-leader", moved);
        moved
    }

    fn learn_all(&mut self, announcements: v1::Announcements, me: NodeId, members: &[Voter]) -> bool {
        let mut moved = false;
        for v1::Announcement { node, boot, addresses, incarnation } in announcements.members {
            let node = NodeId(node);
            let incarnation = <[u8; 16]>::try_from(&incarnation[..]).ok();
            let incarnation = incarnation.map(|bytes| Incarnation(u128::from_be_bytes(bytes)));
            let Some(addresses) = addresses.and_then(checked).filter(|_| node != me) else { continue };
            if let Some(member) =
                members.iter().find(|voter| (voter.node, voter.incarnation) == (node, incarnation))
            {
                moved |= self.learn(member, boot, &addresses);
            } else if self.members.len() < MEMBERS_MAX {
                // The leader may be ahead of this node with a configuration that has it as a voter.
                let unknown = Voter { node, incarnation, addresses: addresses.clone() };
                self.learn(&unknown, boot, &addresses);
            }
        }
        moved
    }

    /// A member with its latest addresses.
    pub(crate) fn latest(&self, voter: &Voter) -> Voter {
        let addresses = self
            .members
            .get(&(voter.node, voter.incarnation))
            .map_or(&voter.addresses, |(_, addresses)| addresses);
        Voter { addresses: addresses.clone(), ..voter.clone() }
    }

    /// On a leader: the messages to the followers that have not been sent the latest version.
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
            // Drops closed connections; the live ones are sent the version once more.
            self.sent.clear();
        }
        self.sent.extend(unsent.iter().map(|(link, _)| (*link, self.version)));
        unsent
    }

    fn message(&self) -> Body {
        let announcements =
            self.members.iter().map(|((node, incarnation), (boot, addresses))| v1::Announcement {
                node: node.0,
                boot: *boot,
                addresses: Some(PeerAddresses {
                    election: addresses.election.clone(),
                    message: addresses.message.clone(),
                    request: addresses.request.clone(),
                }),
                incarnation: incarnation
                    .map(|incarnation| Bytes::copy_from_slice(&incarnation.0.to_be_bytes()))
                    .unwrap_or_default(),
            });
        Body::Announcements(v1::Announcements { members: announcements.collect() })
    }
}

/// Addresses, if all are valid.
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
        v1::Announcement { node, boot, addresses: Some(addresses), incarnation: Bytes::new() }
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
    fn each_data_directory_counts_its_own_starts() {
        let mut announced = Announced::default();
        let returned = Voter { incarnation: Some(Incarnation(7)), ..voter(1) };
        announced.learn(&voter(1), 9, &at(6001));
        assert_eq!(announced.latest(&returned), returned);
        assert!(announced.learn(&returned, 1, &at(7001)));
        assert_eq!(announced.latest(&returned).addresses, at(7001));
        let mut other = Announced::default();
        let Body::Announcements(announcements) = announced.message() else { panic!("announcements") };
        other.learn_all(announcements, NodeId(2), std::slice::from_ref(&returned));
        assert_eq!(other.latest(&returned).addresses, at(7001));
        assert_eq!(other.latest(&voter(1)).addresses, at(6001));
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
    fn a_leaders_announcements_count_for_other_members_with_valid_addresses() {
        let mut announced = Announced::default();
        let members = [voter(1), voter(2), voter(3)];
        let long = "x".repeat(gometa_proto::limits::ADDRESS_MAX + 1);
        let announcements = v1::Announcements {
            members: vec![
                announcement(1, 9, "own:1"),
                announcement(2, 9, "line\nbreak:1"),
                announcement(3, 9, &long),
                v1::Announcement { node: 2, boot: 9, addresses: None, incarnation: Bytes::new() },
            ],
        };
        assert!(!announced.learn_all(announcements, NodeId(1), &members));
        assert!(announced.members.is_empty());
        let announcements = v1::Announcements { members: vec![announcement(2, 9, "moved:1")] };
        assert!(announced.learn_all(announcements, NodeId(1), &members));
        assert_eq!(announced.latest(&members[1]).addresses.request, "moved:1");
    }
}
