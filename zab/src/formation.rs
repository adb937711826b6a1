//! Formation: how the configured voters found an ensemble (protocol.md 5.7).
//!
//! Every configured voter is needed once, unless the nodes are configured to found with a quorum ([`quorum`]). The
//! voter with the lowest id coordinates: when it is connected to all others and their configurations agree, it creates
//! a genesis, which every voter makes durable (Prepare, Prepared), and then seals (Seal). No node votes before its own
//! seal is durable, so an unsealed genesis can be replaced by a newer one. A sealed genesis is never replaced. A node
//! without one that connects to a sealed node adopts its genesis (Formed); if the genesis records another incarnation
//! for this node, the node is not counted.
//!
//! A node that has lost the record of its ensemble ([`Config::never_founds`](crate::Config)) only adopts a genesis: it
//! refuses nodes without an ensemble. Otherwise voters whose directories are all damaged would found a new, empty ensemble.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

mod quorum;

use crate::{
    effect::{Founding, Notice, Write},
    levels::Levels,
    message::{Genesis, Hello, Message, Reason, Voter},
    state::{Core, Next},
    types::{EnsembleId, Incarnation, LinkId, NodeId, Ticks, Token},
};

/// The longest time before stale connections are replaced while a genesis is not sealed, in election timeouts.
const SEAL_TIMEOUT_MAX: u64 = 64;

/// The connection to another configured voter, or to a hinted node.
#[derive(Clone, Hash)]
struct Contact {
    /// The dialled connection, once the other end has no ensemble either and lists the same voters.
    ready: Option<LinkId>,
    /// The dialled connection.
    link: Option<LinkId>,
    /// The time of the next attempt to connect.
    retry_at: Ticks,
    /// The interval before that attempt.
    retry_after: u64,
    /// Whether the last connection was refused, so that the interval is not reset.
    refused: bool,
    /// Whether the node belongs to an ensemble, or founds none.
    is_founded: bool,
    /// The directory and the start of the node that takes part in founding with all voters only.
    declined: Option<(Incarnation, u64)>,
}

impl Contact {
    fn new(core: &Core) -> Contact {
        Contact {
            ready: None,
            link: None,
            retry_at: core.now,
            retry_after: 0,
            refused: false,
            is_founded: false,
            declined: None,
        }
    }
}

/// The stages of formation.
#[derive(Clone, Hash)]
enum Stage {
    /// Waits until all voters are ready, or for Prepare or Seal.
    Gathering,
    /// Coordinator: the genesis is being written here and by all others.
    Preparing { genesis: Genesis, token: Token, prepared: BTreeSet<NodeId> },
    /// Other voters: the genesis is being written; Prepared follows.
    Accepting { token: Token, ensemble: EnsembleId, link: LinkId },
    /// The seal is being written.
    Sealing { token: Token },
}

/// A node without a sealed genesis.
#[derive(Clone, Hash)]
pub(crate) struct Forming {
    contacts: BTreeMap<NodeId, Contact>,
    /// The latest accepted connection of each voter with a Hello. Connections are accepted in the order in which they were
    /// made, so messages on an earlier one are stale.
    latest: BTreeMap<NodeId, LinkId>,
    stage: Stage,
    /// The genesis that was prepared last, durable or not.
    held: Option<Genesis>,
    /// The time since which a quorum of voters is connected, with which this node may found the ensemble.
    quorum_since: Option<Ticks>,
    /// The last reported list of missing voters.
    reported: Option<Vec<NodeId>>,
    /// The time when the current genesis was created or received.
    since: Ticks,
    /// The time after which stale connections are replaced, in microseconds. It doubles each time, so that it comes to
    /// exceed the latency of the slowest disk.
    seal_timeout: u64,
    /// The voters whose configuration was reported to differ.
    differing: BTreeSet<NodeId>,
}

impl Forming {
    pub(crate) fn new(core: &Core) -> Forming {
        probe!("formation.starts-prepared", core.founding.is_some());
        Forming {
            contacts: core.other_members().into_iter().map(|node| (node, Contact::new(core))).collect(),
            latest: BTreeMap::new(),
            stage: Stage::Gathering,
            held: core.founding.as_ref().map(|founding| founding.genesis.clone()),
            quorum_since: None,
            reported: None,
            since: core.now,
            seal_timeout: core.config.timeouts.election * 4,
            differing: BTreeSet::new(),
        }
    }

    /// Dials the hinted nodes too: they may have a genesis for this node.
    pub(crate) fn ask_hinted(&mut self, core: &Core) {
        for node in &core.hints {
            self.contacts.entry(*node).or_insert_with(|| Contact::new(core));
        }
    }

    fn is_coordinator(core: &Core) -> bool {
        core.configuration().coordinator() == Some(core.me())
    }

    pub(crate) fn on_connected(&mut self, core: &mut Core, peer: NodeId, link: LinkId) {
        if let Some(contact) = self.contacts.get_mut(&peer) {
            contact.link = Some(link);
        } else {
            core.close(link);
        }
    }

    pub(crate) fn on_closed(&mut self, core: &Core, link: LinkId) {
        let Some((node, contact)) = self.contacts.iter_mut().find(|(_, contact)| contact.link == Some(link))
        else {
            return;
        };
        contact.link = None;
        contact.refused = false;
        if contact.ready.take().is_some()
            && let Stage::Preparing { genesis, .. } = &self.stage
            && genesis.voters.iter().any(|voter| voter.node == *node && voter.incarnation.is_some())
        {
            // The voter may come back with another incarnation: a new genesis is created when all are ready again.
            probe!("formation.restarts");
            self.stage = Stage::Gathering;
        }
        Self::retry_later(core, contact);
    }

    pub(crate) fn on_connect_failed(&mut self, core: &Core, peer: NodeId) {
        if let Some(contact) = self.contacts.get_mut(&peer) {
            Self::retry_later(core, contact);
        }
    }

    fn retry_later(core: &Core, contact: &mut Contact) {
        let timeouts = &core.config.timeouts;
        contact.retry_after = (contact.retry_after * 2).clamp(timeouts.reconnect, timeouts.election);
        contact.retry_at = core.now.plus(contact.retry_after);
    }

    /// A Hello was accepted.
    pub(crate) fn on_hello(&mut self, core: &mut Core, link: LinkId, hello: &Hello) {
        if let Some(contact) = self.contacts.get_mut(&hello.node) {
            contact.greeted(hello);
        }
        if hello.ensemble.is_some() {
            return; // It sends its genesis or a refusal.
        }
        if core.config.never_founds {
            core.refuse(link, Reason::NeverFounds);
            self.on_closed(core, link);
            return;
        }
        let theirs: BTreeMap<NodeId, &Voter> = hello.voters.iter().map(|voter| (voter.node, voter)).collect();
        let ours: BTreeMap<NodeId, &Voter> =
            core.configuration().voters().iter().map(|voter| (voter.node, voter)).collect();
        let missing = |from: &BTreeMap<NodeId, &Voter>, other: &BTreeMap<NodeId, &Voter>| -> Vec<String> {
            from.iter()
                .filter(|(node, _)| !other.contains_key(node))
                .map(|(_, voter)| voter.addresses.message.clone())
                .collect()
        };
        let (only_theirs, only_ours) = (missing(&theirs, &ours), missing(&ours, &theirs));
        if !only_theirs.is_empty() || !only_ours.is_empty() {
            if self.differing.insert(hello.node) {
                core.notice(Notice::ConfigurationDiffers { peer: hello.node, only_theirs, only_ours });
            }
            core.refuse(link, Reason::Configuration);
            self.on_closed(core, link);
            return;
        }
        self.differing.remove(&hello.node);
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
                    // A genesis on it would replace a newer one.
                    probe!("formation.stale-hello");
                    core.close(link);
                    return;
                }
                *latest = link;
                // A new connection replaces older ones.
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
        let Some(state) = core.links.get(&link) else { return Next::Stay };
        let Some(hello) = &state.hello else {
            core.close(link);
            return Next::Stay;
        };
        let (node, formed) = (hello.node, hello.ensemble);
        let accepted = state.dialled.is_none();
        let coordinates = |genesis: &Genesis| accepted && genesis.author() == Some(node);
        match message {
            Message::Prepare(genesis)
                if coordinates(&genesis) && formed.is_none() && Self::fits(core, &genesis) =>
            {
                if genesis.is_full() || core.config.founds_with_quorum {
                    self.on_prepare(core, link, genesis);
                } else {
                    core.refuse(link, Reason::FoundsWithAll);
                }
            }
            Message::Prepared(ensemble) => self.on_prepared(node, link, ensemble),
            Message::Seal(ensemble)
                if core.founding.as_ref().is_none_or(|founding| coordinates(&founding.genesis)) =>
            {
                self.on_seal(core, link, ensemble);
            }
            Message::Formed(genesis) if formed == Some(genesis.ensemble) => {
                if core.is_idle() {
                    return self.on_formed(core, genesis);
                }
                probe!("formation.formed-while-writing");
                // Only the durable state decides: retry when the pending write is complete.
                core.close(link);
                self.on_closed(core, link);
            }
            Message::Refuse(reason) => {
                core.notice(Notice::RefusedBy { peer: node, reason });
                self.refused(core, node, reason);
                core.close(link);
                self.on_closed(core, link);
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
            | Message::Quarantine { .. }
            | Message::Handoff { .. }
            | Message::Alive { .. }
            | Message::Snapshot(_)
            | Message::Relay(_) => {
                core.close(link);
                self.on_closed(core, link);
            }
        }
        self.check(core)
    }

    fn on_prepare(&mut self, core: &mut Core, link: LinkId, genesis: Genesis) {
        match self.stage {
            _ if core.config.never_founds => core.close(link),
            _ if !core.config.levels.contains(genesis.level) => core.refuse(link, Reason::Level),
            Stage::Gathering | Stage::Accepting { .. } | Stage::Preparing { .. }
                if self.may_replace(core, &genesis) =>
            {
                probe!("formation.gives-up-own", matches!(self.stage, Stage::Preparing { .. }));
                probe!("formation.prepares-again", core.founding.is_some());
                probe!("formation.prepares-while-writing", matches!(self.stage, Stage::Accepting { .. }));
                let ensemble = genesis.ensemble;
                self.held = Some(genesis.clone());
                let token = core.write(Write::Founding(Founding { genesis, sealed: false }));
                self.since = core.now;
                self.stage = Stage::Accepting { token, ensemble, link };
            }
            // A genesis that is being sealed is not replaced.
            Stage::Gathering | Stage::Accepting { .. } | Stage::Preparing { .. } | Stage::Sealing { .. } => {
                core.close(link);
            }
        }
    }

    fn on_prepared(&mut self, node: NodeId, link: LinkId, ensemble: EnsembleId) {
        if let Stage::Preparing { genesis, prepared, .. } = &mut self.stage
            && genesis.ensemble == ensemble
            && self.contacts.get(&node).is_some_and(|contact| contact.ready == Some(link))
        {
            prepared.insert(node);
        }
    }

    fn on_seal(&mut self, core: &mut Core, link: LinkId, ensemble: EnsembleId) {
        match (&self.stage, core.founding.clone()) {
            (Stage::Gathering | Stage::Accepting { .. }, Some(founding))
                if founding.genesis.ensemble == ensemble
                    && core.is_idle()
                    && core.config.levels.contains(founding.genesis.level) =>
            {
                self.seal(core, founding.genesis);
            }
            _ => {
                probe!("formation.seal-unexpected");
                core.close(link);
            }
        }
    }

    /// Whether a genesis lists the configured voters, a quorum of them with an incarnation, and this node with its own.
    fn fits(core: &Core, genesis: &Genesis) -> bool {
        genesis.voters.len() == core.configuration().voters().len()
            && genesis
                .voters
                .iter()
                .zip(core.configuration().voters())
                .all(|(theirs, ours)| theirs.node == ours.node)
            && genesis.has_quorum()
            && genesis
                .voters
                .iter()
                .any(|voter| voter.node == core.me() && voter.incarnation == Some(core.config.incarnation))
    }

    fn seal(&mut self, core: &mut Core, genesis: Genesis) {
        let token = core.write(Write::Founding(Founding { genesis, sealed: true }));
        self.stage = Stage::Sealing { token };
    }

    /// Adopts the sealed genesis of a member.
    fn on_formed(&mut self, core: &mut Core, genesis: Genesis) -> Next {
        let own = genesis.voters.iter().find(|voter| voter.node == core.me());
        let recorded = own.is_some_and(|own| own.is(core.me(), core.config.incarnation));
        let prepared = core.founding.as_ref().map(|founding| founding.genesis.ensemble);
        // A full genesis may have replaced this one before it was sealed.
        let replaced =
            !genesis.is_full() && core.founding.as_ref().is_some_and(|founding| founding.genesis.is_full());
        probe!("formation.replaced-is-sealed", recorded && replaced && prepared != Some(genesis.ensemble));
        if recorded && prepared != Some(genesis.ensemble) && !replaced {
            // The genesis was sealed only after this data directory had prepared it: its state is older than that.
            core.stop(format!(
                "ensemble {:?} records this data directory, but the directory has no record of it: it is an older \
                 copy; remove it to restart as a node without a vote",
                genesis.ensemble
            ));
            return Next::Stay;
        }
        probe!("formation.seal-missed", prepared == Some(genesis.ensemble));
        probe!("formation.was-absent", own.is_some_and(|own| own.incarnation.is_none()));
        probe!("formation.directory-lost", own.is_some_and(|own| own.incarnation.is_some()) && !recorded);
        probe!("formation.joins-later", own.is_none());
        self.seal(core, genesis);
        Next::Stay
    }

    /// Advances the stage if the write or the voters that it waits for are there.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        match &self.stage {
            Stage::Gathering => {
                let waiting: Vec<NodeId> = self
                    .contacts
                    .iter()
                    .filter(|(_, contact)| contact.ready.is_none())
                    .map(|(node, _)| *node)
                    .collect();
                let founds = Self::is_coordinator(core) && !core.config.never_founds;
                // Hinted nodes take no part in founding.
                let with_all = founds && !waiting.iter().any(|node| core.configuration().contains(*node));
                if core.is_idle() && (with_all || self.is_quorum_due(core)) {
                    self.prepare(core, with_all);
                }
                if self.reported.as_ref() != Some(&waiting) {
                    core.notice(Notice::WaitingFor(waiting.clone()));
                    self.reported = Some(waiting);
                }
            }
            Stage::Preparing { genesis, token, .. } => {
                let all = planted!(self.is_prepared(core), seals_before_all_prepared => true);
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
                    return self.finish(core);
                }
            }
        }
        Next::Stay
    }

    /// Creates a genesis, with all voters or with the participants only, and has them prepare it.
    fn prepare(&mut self, core: &mut Core, with_all: bool) {
        let participants = if with_all { core.other_members() } else { self.participants(core).1 };
        let (mut voters, mut levels): (Vec<Voter>, Levels) = (Vec::new(), core.config.levels);
        for voter in core.configuration().voters() {
            if voter.node != core.me() && !participants.contains(&voter.node) {
                voters.push(Voter { incarnation: None, ..voter.clone() });
                continue;
            }
            let hello = self
                .contacts
                .get(&voter.node)
                .and_then(|contact| contact.ready)
                .and_then(|link| core.links.get(&link))
                .and_then(|link| link.hello.as_ref());
            levels = hello.map_or(levels, |hello| levels.and(hello.levels));
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
        if levels.is_empty() {
            // Each supports a level that this node supports, but not one that all do. An operator sees it in their versions.
            return;
        }
        // A unique id: the seed of this start, mixed so that a second genesis of this start differs.
        let mixed = (u128::from(core.random_below(u64::MAX)) << 64) | u128::from(core.random_below(u64::MAX));
        let ensemble = EnsembleId { id: core.config.seed ^ mixed, history: 1 };
        let genesis = Genesis { ensemble, voters, level: levels.max };
        let token = core.write(Write::Founding(Founding { genesis: genesis.clone(), sealed: false }));
        Self::report_absent(core, &genesis);
        self.held = Some(genesis.clone());
        for (node, contact) in &self.contacts {
            if let Some(link) = contact.ready.filter(|_| participants.contains(node)) {
                core.send(link, Message::Prepare(genesis.clone()));
            }
        }
        self.since = core.now;
        self.stage = Stage::Preparing { genesis, token, prepared: BTreeSet::new() };
    }

    /// The seal is durable: this node is a member.
    fn finish(&mut self, core: &mut Core) -> Next {
        let Some(ensemble) = core.ensemble() else { return Next::Stay };
        for link in self.contacts.values().filter_map(|contact| contact.ready) {
            if Self::expects_seal(core, link) {
                core.send(link, Message::Seal(ensemble));
            }
        }
        core.notice(Notice::Formed { ensemble, votes: core.votes() });
        Next::Look("the ensemble is formed")
    }

    /// Whether this node coordinates and the other end has prepared the genesis with it.
    fn expects_seal(core: &Core, link: LinkId) -> bool {
        core.founding.as_ref().is_some_and(|founding| founding.genesis.author() == Some(core.me()))
            && core.votes()
            && core
                .links
                .get(&link)
                .and_then(|link| link.hello.as_ref())
                .is_some_and(|hello| core.configuration().is_voter(hello.node, hello.incarnation))
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        // While a genesis is prepared and not sealed, the other end of an old connection may be gone without notice. So
        // old connections are replaced from time to time.
        let timeout = self.seal_timeout;
        if core.founding.is_some()
            && !matches!(self.stage, Stage::Sealing { .. })
            && core.now.since(self.since) > timeout
        {
            let old: Vec<LinkId> = self
                .contacts
                .values()
                .filter_map(|contact| contact.ready)
                .filter(|link| {
                    core.links.get(link).is_some_and(|state| core.now.since(state.opened) > timeout)
                })
                .collect();
            if !old.is_empty() {
                self.since = core.now;
                self.seal_timeout = (timeout * 2).min(core.config.timeouts.election * SEAL_TIMEOUT_MAX);
            }
            for link in old {
                probe!("formation.reconnects");
                core.close(link);
                self.on_closed(core, link);
            }
        }
        for (node, contact) in &mut self.contacts {
            if contact.link.is_some_and(|link| !core.links.contains_key(&link)) {
                probe!("formation.connection-lost");
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

/// Sends the genesis to a member without a sealed one; refuses other nodes.
pub(crate) fn send_genesis(core: &mut Core, link: LinkId, hello: &Hello) {
    let Some(founding) = core.founding.clone() else { return };
    if core.configurations.contains(hello.node) {
        let voter = core.configuration().voter_with_id(hello.node);
        if voter.is_some_and(|voter| !voter.is(hello.node, hello.incarnation)) {
            core.notice(Notice::UnrecordedIncarnation { peer: hello.node });
        }
        core.send(link, Message::Formed(founding.genesis));
    } else {
        core.refuse(link, Reason::NotAMember);
    }
}
