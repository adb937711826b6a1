//! How an ensemble comes to be (design: *Forming an ensemble*).
//!
//! Every configured voter is needed once. The one with the lowest id coordinates: when it is connected with
//! all others and their configurations agree, it draws a genesis and has everyone make it durable (PREPARE),
//! then says so (SEAL). Nobody votes before its own seal is durable, so an unsealed genesis may be replaced
//! by a newer one and nothing is lost. A sealed one never is: whoever has none and meets a sealed node takes
//! that genesis over, and if the genesis records another data directory for it, it has lost its own and is
//! not counted any more.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use crate::{
    effect::{Founding, Notice, Write},
    message::{Genesis, Hello, Message, Reason, Voter},
    state::{Core, Next},
    types::{EnsembleId, LinkId, NodeId, Ticks, Token},
};

/// The longest wait with a genesis that is not sealed, in election time-outs.
const ASKED_ANEW_MAX: u64 = 64;

/// This node's connection to another configured voter.
#[derive(Clone, Hash)]
struct Contact {
    /// The dialled connection whose other end has no ensemble either and agrees on the voters.
    ready: Option<LinkId>,
    /// Any dialled connection.
    link: Option<LinkId>,
    retry_at: Ticks,
    retry_after: u64,
    /// The last connection ended with a refusal, so the next one is not asked for sooner.
    refused: bool,
}

#[derive(Clone, Hash)]
enum Stage {
    /// Not everyone is here.
    Gathering,
    /// The coordinator has drawn this genesis and waits for its own disk and all others'.
    Preparing { genesis: Genesis, token: Token, prepared: BTreeSet<NodeId> },
    /// A prepared genesis is being written; the coordinator is told when it is durable.
    Accepting { token: Token, ensemble: EnsembleId, link: LinkId },
    /// The seal is being written.
    Sealing { token: Token },
}

/// A node that belongs to no ensemble yet.
#[derive(Clone, Hash)]
pub(crate) struct Forming {
    contacts: BTreeMap<NodeId, Contact>,
    /// The latest connection that each voter has made to this node and said hello on. Connections are accepted in the
    /// order in which they were made, so whatever still comes by an earlier one was said before.
    latest: BTreeMap<NodeId, LinkId>,
    stage: Stage,
    told: Option<Vec<NodeId>>,
    /// When the genesis that is being written or waited with was drawn or came.
    since: Ticks,
    /// How long it is waited with before everyone is asked anew, in microseconds. Doubles each time, so that it comes
    /// to exceed what the slowest disk takes.
    patience: u64,
    differs: BTreeSet<NodeId>,
}

impl Forming {
    pub(crate) fn new(core: &Core) -> Forming {
        let contact = |node| {
            let contact =
                Contact { ready: None, link: None, retry_at: core.now, retry_after: 0, refused: false };
            (node, contact)
        };
        probe!("formation.starts-prepared", core.founding.is_some());
        Forming {
            contacts: core.others().into_iter().map(contact).collect(),
            latest: BTreeMap::new(),
            stage: Stage::Gathering,
            told: None,
            since: core.now,
            patience: core.config.timeouts.election * 4,
            differs: BTreeSet::new(),
        }
    }

    fn coordinates(core: &Core) -> bool {
        core.configuration.coordinator() == Some(core.me())
    }

    pub(crate) fn connected(&mut self, core: &mut Core, peer: NodeId, link: LinkId) {
        if let Some(contact) = self.contacts.get_mut(&peer) {
            contact.link = Some(link);
        } else {
            core.close(link);
        }
    }

    pub(crate) fn closed(&mut self, core: &Core, link: LinkId) {
        let Some((_, contact)) = self.contacts.iter_mut().find(|(_, contact)| contact.link == Some(link))
        else {
            return;
        };
        contact.link = None;
        contact.refused = false;
        if contact.ready.take().is_some()
            && let Stage::Preparing { .. } = self.stage
        {
            // Whoever comes back may be another: a new genesis is drawn when all are here again.
            probe!("formation.begins-again");
            self.stage = Stage::Gathering;
        }
        Self::retry_later(core, contact);
    }

    pub(crate) fn connect_failed(&mut self, core: &Core, peer: NodeId) {
        if let Some(contact) = self.contacts.get_mut(&peer) {
            Self::retry_later(core, contact);
        }
    }

    fn retry_later(core: &Core, contact: &mut Contact) {
        let timeouts = &core.config.timeouts;
        contact.retry_after = (contact.retry_after * 2).clamp(timeouts.reconnect, timeouts.election);
        contact.retry_at = core.now.plus(contact.retry_after);
    }

    /// Somebody said who it is, and was believed.
    pub(crate) fn greeted(&mut self, core: &mut Core, link: LinkId, hello: &Hello) {
        if hello.ensemble.is_some() {
            return; // It will tell us its genesis, or refuse us.
        }
        let theirs: BTreeMap<NodeId, &Voter> = hello.voters.iter().map(|voter| (voter.node, voter)).collect();
        let ours: BTreeMap<NodeId, &Voter> =
            core.configuration.voters().iter().map(|voter| (voter.node, voter)).collect();
        let missing = |from: &BTreeMap<NodeId, &Voter>, other: &BTreeMap<NodeId, &Voter>| -> Vec<String> {
            from.iter()
                .filter(|(node, _)| !other.contains_key(node))
                .map(|(_, voter)| voter.addresses.message.clone())
                .collect()
        };
        let (only_theirs, only_ours) = (missing(&theirs, &ours), missing(&ours, &theirs));
        if !only_theirs.is_empty() || !only_ours.is_empty() {
            if self.differs.insert(hello.node) {
                core.notice(Notice::ConfigurationDiffers { peer: hello.node, only_theirs, only_ours });
            }
            core.refuse(link, Reason::Configuration);
            self.closed(core, link);
            return;
        }
        self.differs.remove(&hello.node);
        match self.contacts.get_mut(&hello.node) {
            Some(contact) if contact.link == Some(link) => {
                contact.ready = Some(link);
                if !contact.refused {
                    contact.retry_after = 0;
                }
            }
            _ => {
                let latest = self.latest.entry(hello.node).or_insert(link);
                if link < *latest {
                    // Its genesis would replace the one that is meant.
                    probe!("formation.hello-too-late");
                    core.close(link);
                    return;
                }
                *latest = link;
                // Whoever connects anew has no use for its older connection.
                let accepted = core.links.iter().filter(|(_, state)| state.dialled.is_none());
                let older: Vec<LinkId> = accepted
                    .filter(|(other, state)| {
                        **other != link && state.hello.as_ref().is_some_and(|other| other.node == hello.node)
                    })
                    .map(|(other, _)| *other)
                    .collect();
                for link in older {
                    probe!("formation.older-connection");
                    core.close(link);
                }
            }
        }
    }

    pub(crate) fn on_message(&mut self, core: &mut Core, link: LinkId, message: Message) -> Next {
        let Some((node, dialled, formed)) = core
            .links
            .get(&link)
            .and_then(|link| link.hello.as_ref().map(|hello| (hello.node, link.dialled, hello.ensemble)))
        else {
            core.close(link);
            return Next::Stay;
        };
        let coordinator = core.configuration.coordinator();
        match message {
            Message::Prepare(genesis)
                if Some(node) == coordinator
                    && dialled.is_none()
                    && formed.is_none()
                    && Self::fits(core, &genesis) =>
            {
                match self.stage {
                    Stage::Gathering | Stage::Accepting { .. } => {
                        probe!("formation.prepared-anew", core.founding.is_some());
                        probe!(
                            "formation.prepared-over-a-write",
                            matches!(self.stage, Stage::Accepting { .. })
                        );
                        let ensemble = genesis.ensemble;
                        let token = core.write(Write::Founding(Founding { genesis, sealed: false }));
                        self.since = core.now;
                        self.stage = Stage::Accepting { token, ensemble, link };
                    }
                    // The seal is on its way to the disk: nothing replaces it.
                    Stage::Sealing { .. } | Stage::Preparing { .. } => core.close(link),
                }
            }
            Message::Prepared(ensemble) => {
                if let Stage::Preparing { genesis, prepared, .. } = &mut self.stage
                    && genesis.ensemble == ensemble
                    && self.contacts.get(&node).is_some_and(|contact| contact.ready == Some(link))
                {
                    prepared.insert(node);
                }
            }
            Message::Seal(ensemble) if Some(node) == coordinator && dialled.is_none() => {
                match (&self.stage, core.founding.clone()) {
                    (Stage::Gathering | Stage::Accepting { .. }, Some(founding))
                        if founding.genesis.ensemble == ensemble && core.is_idle() =>
                    {
                        self.seal(core, founding.genesis);
                    }
                    _ => {
                        probe!("formation.seal-out-of-place");
                        core.close(link);
                    }
                }
            }
            Message::Formed(genesis) if formed == Some(genesis.ensemble) => {
                if core.is_idle() {
                    return self.adopt(core, genesis);
                }
                probe!("formation.news-while-writing");
                // It is judged by what is durable: once more, when the write under way is done.
                core.close(link);
                self.closed(core, link);
            }
            Message::Refuse(reason) => {
                core.notice(Notice::RefusedBy { peer: node, reason });
                core.close(link);
                self.closed(core, link);
                if let Some(contact) = self.contacts.get_mut(&node) {
                    contact.refused = true;
                }
            }
            Message::Hello(_)
            | Message::Prepare(_)
            | Message::Seal(_)
            | Message::Formed(_)
            | Message::FollowerEpoch { .. }
            | Message::NewEpoch(_)
            | Message::AckEpoch { .. }
            | Message::RefuseEpoch { .. }
            | Message::Duplicate(_)
            | Message::Diff { .. }
            | Message::Propose { .. }
            | Message::Progress { .. }
            | Message::NewLeader { .. }
            | Message::AckNewLeader { .. }
            | Message::UpToDate { .. }
            | Message::Ack { .. }
            | Message::Commit { .. }
            | Message::Heartbeat { .. }
            | Message::HeartbeatAck { .. }
            | Message::Alive { .. }
            | Message::Relay(_) => {
                core.close(link);
                self.closed(core, link);
            }
        }
        self.check(core)
    }

    /// Whether a genesis names the configured voters, all with a data directory, and this node with its own.
    fn fits(core: &Core, genesis: &Genesis) -> bool {
        genesis.voters.len() == core.configuration.voters().len()
            && genesis
                .voters
                .iter()
                .zip(core.configuration.voters())
                .all(|(theirs, ours)| theirs.node == ours.node && theirs.incarnation.is_some())
            && genesis
                .voters
                .iter()
                .any(|voter| voter.node == core.me() && voter.incarnation == Some(core.config.incarnation))
    }

    fn seal(&mut self, core: &mut Core, genesis: Genesis) {
        let token = core.write(Write::Founding(Founding { genesis, sealed: true }));
        self.stage = Stage::Sealing { token };
    }

    /// A sealed genesis is law.
    fn adopt(&mut self, core: &mut Core, genesis: Genesis) -> Next {
        let Some(own) = genesis.voters.iter().find(|voter| voter.node == core.me()) else {
            return Next::Stay; // Joining an ensemble as somebody new is not built yet; we were refused.
        };
        let prepared = core.founding.as_ref().map(|founding| founding.genesis.ensemble);
        if own.incarnation == Some(core.config.incarnation) && prepared != Some(genesis.ensemble) {
            // The seal was given only after this very directory had prepared; it has forgotten.
            core.stop(format!(
                "the ensemble {:?} knows this data directory, but the directory has no memory of it: an older \
                 copy was put in its place; remove the directory to come back as a node without a vote",
                genesis.ensemble
            ));
            return Next::Stay;
        }
        probe!("formation.seal-missed", prepared == Some(genesis.ensemble));
        probe!("formation.directory-lost", own.incarnation != Some(core.config.incarnation));
        self.seal(core, genesis);
        Next::Stay
    }

    /// Goes on where a write or the last missing voter was waited for.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        match &self.stage {
            Stage::Gathering => {
                let waiting: Vec<NodeId> = self
                    .contacts
                    .iter()
                    .filter(|(_, contact)| contact.ready.is_none())
                    .map(|(node, _)| *node)
                    .collect();
                if Self::coordinates(core) && waiting.is_empty() && core.is_idle() {
                    self.prepare(core);
                }
                if self.told.as_ref() != Some(&waiting) {
                    core.notice(Notice::WaitingFor(waiting.clone()));
                    self.told = Some(waiting);
                }
            }
            Stage::Preparing { genesis, token, prepared } => {
                let all = planted!(prepared.len() == self.contacts.len(), seals_before_all_prepared => true);
                if core.persisted(*token) && all {
                    let genesis = genesis.clone();
                    self.seal(core, genesis);
                }
            }
            Stage::Accepting { token, ensemble, link } => {
                if planted!(core.persisted(*token), reports_prepared_before_sync => true) {
                    core.send(*link, Message::Prepared(*ensemble));
                    self.stage = Stage::Gathering;
                }
            }
            Stage::Sealing { token } => {
                if core.persisted(*token) {
                    return self.formed(core);
                }
            }
        }
        Next::Stay
    }

    fn prepare(&mut self, core: &mut Core) {
        let mut voters: Vec<Voter> = Vec::new();
        for voter in core.configuration.voters() {
            let hello = self
                .contacts
                .get(&voter.node)
                .and_then(|contact| contact.ready)
                .and_then(|link| core.links.get(&link))
                .and_then(|link| link.hello.as_ref());
            voters.push(match hello {
                Some(hello) => Voter {
                    node: voter.node,
                    incarnation: Some(hello.incarnation),
                    addresses: hello.addresses.clone(),
                },
                None => Voter {
                    node: voter.node,
                    incarnation: Some(core.config.incarnation),
                    addresses: core.config.addresses.clone(),
                },
            });
        }
        // A name no other ensemble has: the seed of this start, stirred so that a second draw differs.
        let stir = (u128::from(core.random_below(u64::MAX)) << 64) | u128::from(core.random_below(u64::MAX));
        let ensemble = EnsembleId { id: core.config.seed ^ stir, history: 1 };
        let genesis = Genesis { ensemble, voters };
        let token = core.write(Write::Founding(Founding { genesis: genesis.clone(), sealed: false }));
        for contact in self.contacts.values() {
            if let Some(link) = contact.ready {
                core.send(link, Message::Prepare(genesis.clone()));
            }
        }
        self.since = core.now;
        self.stage = Stage::Preparing { genesis, token, prepared: BTreeSet::new() };
    }

    fn formed(&mut self, core: &mut Core) -> Next {
        let Some(ensemble) = core.ensemble() else { return Next::Stay };
        for link in self.contacts.values().filter_map(|contact| contact.ready) {
            if Self::coordinates_sealed(core, link) {
                core.send(link, Message::Seal(ensemble));
            }
        }
        core.notice(Notice::Formed { ensemble, votes: core.votes() });
        Next::Look("the ensemble is formed")
    }

    /// Whether the node at the other end waits for this node's seal: it prepared with the coordinator.
    fn coordinates_sealed(core: &Core, link: LinkId) -> bool {
        Self::coordinates(core)
            && core.votes()
            && core
                .links
                .get(&link)
                .and_then(|link| link.hello.as_ref())
                .is_some_and(|hello| core.configuration.is_voter(hello.node, hello.incarnation))
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        // While a genesis is prepared and not sealed, something is waited for; the other end of an old connection
        // may be gone without a word. So it is asked anew, now and then.
        let patience = self.patience;
        if core.founding.is_some()
            && !matches!(self.stage, Stage::Sealing { .. })
            && core.now.since(self.since) > patience
        {
            let old: Vec<LinkId> = self
                .contacts
                .values()
                .filter_map(|contact| contact.ready)
                .filter(|link| {
                    core.links.get(link).is_some_and(|state| core.now.since(state.opened) > patience)
                })
                .collect();
            if !old.is_empty() {
                self.since = core.now;
                self.patience = (patience * 2).min(core.config.timeouts.election * ASKED_ANEW_MAX);
            }
            for link in old {
                probe!("formation.asks-anew");
                core.close(link);
                self.closed(core, link);
            }
        }
        for (node, contact) in &mut self.contacts {
            if contact.link.is_some_and(|link| !core.links.contains_key(&link)) {
                probe!("formation.contact-lost");
                contact.link = None;
                contact.ready = None;
                Self::retry_later(core, contact);
            }
            if contact.link.is_none() && contact.retry_at <= core.now && !core.dialling.contains(node) {
                core.dial(*node);
            }
        }
        self.check(core)
    }
}

/// What a member says to a node that has no ensemble yet.
pub(crate) fn inform(core: &mut Core, link: LinkId, hello: &Hello) {
    let Some(founding) = core.founding.clone() else { return };
    if core.configuration.contains(hello.node) {
        if !core.configuration.is_voter(hello.node, hello.incarnation) {
            core.notice(Notice::Amnesiac { peer: hello.node });
        }
        core.send(link, Message::Formed(founding.genesis));
    } else {
        core.refuse(link, Reason::NotAMember);
    }
}
