//! Carries out what nodes do: every effect is shown to the oracle first.

use bytes::BytesMut;
use gometa_node::{Effect, Node, Write};
use gometa_zab::{Message, Notice, Timeouts};

use crate::{
    checkers::Check,
    ensemble::{Action, DEADLINE_DEFAULT_MS, Ensemble, addresses, violation},
    process::Clock,
    settings::MILLISECOND,
};

impl Ensemble {
    /// A node's process starts on what its disk holds.
    ///
    /// # Errors
    /// A violation.
    pub fn start(&mut self, node: usize) -> Check {
        if self.processes[node].is_up() {
            return Ok(());
        }
        let config = {
            let process = &mut self.processes[node];
            process.life += 1;
            process.inbox.clear();
            process.waking = false;
            process.paused_until = 0;
            process.dies_after = None;
            process.clock = Clock::new(self.now, self.settings.process.drift, &mut self.machine);
            gometa_node::Config {
                zab: gometa_zab::Config {
                    node: crate::checkers::node_id(node),
                    incarnation: process.disk.incarnation,
                    boot: process.disk.boots + 1,
                    addresses: addresses(node),
                    voters: self.voters().to_vec(),
                    seed: self.machine.wide(),
                    timeouts: Timeouts::from_ms(self.settings.heartbeat_ms, self.settings.election_ms),
                    bounds: self.settings.bounds,
                },
                session_timeout_ms: self.settings.session_timeout_ms,
                deadline_default_ms: DEADLINE_DEFAULT_MS,
                requests_max: 64,
                version: "simulated".to_owned(),
            }
        };
        let process = &mut self.processes[node];
        let recovered = process.disk.recover();
        self.trace
            .say(self.now, Some(node), || format!("starts, boot {}, with {recovered:?}", config.zab.boot));
        if recovered.applied > process.disk.durable.log.len() as u64 {
            let detail = format!("n{node} starts with {recovered:?}");
            return violation("simulation: the table is never ahead of the log", detail);
        }
        self.oracle.hardened(node, &process.disk.durable)?;
        if process.life > 1 {
            self.counts.restarts += 1;
        }
        let life = process.life;
        let now = process.clock.at(self.now);
        let (state, effects) = match Node::new(config, recovered, process.disk.table.clone(), now) {
            Ok(started) => started,
            Err(corrupt) => {
                return violation("a node must not stop", format!("n{node} cannot start: {corrupt}"));
            }
        };
        process.node = Some(state);
        self.network.host_up(node, life);
        let first = self.now + self.machine.below(10 * MILLISECOND);
        self.schedule(first, Action::Tick { node, life });
        self.execute(node, effects)
    }

    /// A step's effects, in order.
    pub(crate) fn execute(&mut self, node: usize, effects: Vec<Effect>) -> Check {
        for effect in effects {
            if let Effect::Send { message, .. } = &effect
                && is_of_joining(message)
            {
                self.ambush(node);
            }
            if let Some(left) = &mut self.processes[node].dies_after {
                if *left == 0 {
                    return self.crash(node, false);
                }
                *left -= 1;
            }
            self.effect(node, effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, node: usize, effect: Effect) -> Check {
        let now = self.now;
        match effect {
            Effect::Write { token, write } => {
                match &write {
                    Write::Zab(zab) => {
                        self.trace.mix(zab_write_digest(zab));
                        self.trace.say(now, Some(node), || format!("{token} writes {}", describe(zab)));
                        self.oracle.issues(node, &self.processes[node].disk, zab)?;
                        self.oracle.times(now, node, zab, self.settings.session_timeout_ms)?;
                    }
                    Write::Apply(batch) => {
                        let checkpoint = batch.checkpoint;
                        self.trace.mix(checkpoint.applied);
                        self.trace.mix(checkpoint.hash as u64);
                        self.trace.say(now, Some(node), || {
                            format!("{token} applies through {}", checkpoint.applied)
                        });
                        let disk = &self.processes[node].disk;
                        self.oracle.applies(node, disk, checkpoint.applied, checkpoint.hash)?;
                    }
                }
                self.processes[node].disk.issue(token, write);
                self.start_disk(node);
                Ok(())
            }
            Effect::Read { id, from, to, bytes_max } => {
                let process = &self.processes[node];
                if from == 0 || from > to || to > process.disk.durable.log.len() as u64 {
                    let durable = process.disk.durable.log.len();
                    let detail = format!("n{node} reads {from}..={to} of {durable} durable entries");
                    return violation("12 log contiguity", detail);
                }
                let entries = process.disk.read(from, to, bytes_max);
                let life = process.life;
                let at = now + self.machine.between(20, 2 * MILLISECOND);
                self.schedule(at, Action::ReadDone { node, life, id, entries });
                Ok(())
            }
            Effect::Datagram { to, vote } => {
                self.trace.say(now, Some(node), || format!("votes to {}: {vote:?}", to.0 as i64 - 1));
                self.oracle.votes(node, &self.processes[node].disk, &vote)?;
                let bytes = gometa_codec::vote::encode(&vote);
                let Some(to) = self.index(to) else {
                    return violation("simulation: effects make sense", format!("n{node} votes to {to}"));
                };
                self.network.send_datagram(now, node, to, bytes);
                Ok(())
            }
            Effect::Connect { peer } => {
                let Some(peer) = self.index(peer).filter(|peer| *peer != node) else {
                    return violation("simulation: effects make sense", format!("n{node} dials {peer}"));
                };
                self.network.dial(now, node, peer);
                Ok(())
            }
            Effect::Send { link, message } => {
                let peer = self.network.peer_of(node, link);
                if !self.network.is_open(node, link) {
                    if peer.is_none() {
                        let detail = format!("n{node} sends on {link}, which never was");
                        return violation("simulation: effects make sense", detail);
                    }
                    // The connection is gone; the node has not been told yet.
                    return Ok(());
                }
                self.trace.say(now, Some(node), || {
                    format!("{link} to n{}: {}", peer.unwrap_or(usize::MAX), brief(&message))
                });
                self.oracle.sends(node, peer, &self.processes[node].disk, &message)?;
                let mut bytes = BytesMut::new();
                if let Err(error) = gometa_codec::message::encode(&message, &mut bytes) {
                    return violation("codec: what is sent arrives", format!("{error} for {message:?}"));
                }
                self.network.send(now, node, link, bytes.freeze());
                Ok(())
            }
            Effect::Close { link } => {
                if self.network.peer_of(node, link).is_none() {
                    let detail = format!("n{node} closes {link}, which never was");
                    return violation("simulation: effects make sense", detail);
                }
                self.trace.say(now, Some(node), || format!("closes {link}"));
                self.network.close(now, node, link);
                self.processes[node].inbox.retain(|event| {
                    !matches!(event, gometa_node::Event::Zab(gometa_zab::Event::Closed { link: closed }) if *closed == link)
                });
                Ok(())
            }
            Effect::Respond { client, response } => {
                self.trace.mix(response.revision);
                self.trace.mix(response.id);
                self.trace.say(now, Some(node), || format!("answers client {}: {response:?}", client.0));
                // What it has applied is written to the table later; it cannot be more than this.
                let applied = self.processes[node].disk.durable.log.len() as u64;
                let applied = applied.min(self.oracle.committed());
                self.oracle.answers(node, applied, client.0, &response)?;
                self.links.respond(now, self.workload.random(), client, response);
                Ok(())
            }
            Effect::View(_) => Ok(()),
            Effect::Role(role) => {
                self.trace.say(now, Some(node), || format!("is {role:?}"));
                Ok(())
            }
            Effect::Notice(notice) => self.notice(node, notice),
            Effect::Stop(why) => violation("a node must not stop", format!("n{node} stops: {why}")),
        }
    }

    fn notice(&mut self, node: usize, notice: Notice) -> Check {
        self.trace.say(self.now, Some(node), || format!("{notice:?}"));
        match notice {
            Notice::Discovered { epoch, last } => {
                self.oracle.discovered(node, epoch, last, &self.processes[node].disk)
            }
            Notice::Established { epoch, last } => self.oracle.established_by(self.now, node, epoch, last),
            Notice::Truncated { .. } => {
                self.counts.truncations += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn index(&self, id: gometa_zab::NodeId) -> Option<usize> {
        let index = (id.0 as usize).checked_sub(1)?;
        (index < self.processes.len()).then_some(index)
    }

    fn start_disk(&mut self, node: usize) {
        let process = &mut self.processes[node];
        if let Some((time, fails)) = process.disk.start(&mut self.machine) {
            let life = process.life;
            self.schedule(self.now + time, Action::DiskDone { node, life, fails });
        }
    }

    /// A disk has finished a group of writes, or failed.
    pub(crate) fn disk_done(&mut self, node: usize, life: u64, fails: bool) -> Check {
        let process = &mut self.processes[node];
        if process.life != life || !process.is_up() {
            return Ok(());
        }
        if fails && !self.calm {
            self.trace.say(self.now, Some(node), || "its disk fails".to_owned());
            self.crash(node, false)?;
            let at = self.now + self.machine.below(self.settings.process.down_max.max(1));
            self.schedule(at, Action::Start { node });
            return Ok(());
        }
        if let Some(done) = process.disk.finish() {
            self.trace.mix(done.token.0);
            if done.synced {
                self.trace.say(self.now, Some(node), || format!("{} is durable", done.token));
                self.oracle.hardened(node, &self.processes[node].disk.durable)?;
                self.notice_formation();
            }
            self.deliver(node, gometa_node::Event::Zab(gometa_zab::Event::Persisted(done.token)));
        }
        self.start_disk(node);
        Ok(())
    }

    fn notice_formation(&mut self) {
        let sealed = |process: &crate::process::Process| {
            process.disk.durable.founding.as_ref().is_some_and(|founding| founding.sealed)
        };
        if !self.formed && self.processes.iter().all(sealed) {
            self.formed = true;
            self.counts.formations += 1;
            self.trace.say(self.now, None, || "the ensemble is formed".to_owned());
        }
    }
}

fn zab_write_digest(write: &gometa_zab::Write) -> u64 {
    match write {
        gometa_zab::Write::Append(entries) => {
            entries.last().map_or(0, |entry| entry.zxid.epoch.0 << 40 | entry.zxid.counter)
        }
        gometa_zab::Write::Truncate(zxid) => 1 << 60 | zxid.counter,
        gometa_zab::Write::HardState(state) => 2 << 60 | state.accepted_epoch.0 << 20 | state.current_epoch.0,
        gometa_zab::Write::Founding(founding) => 3 << 60 | u64::from(founding.sealed),
    }
}

/// Whether a message belongs to discovery or synchronisation, where a crash hurts most.
fn is_of_joining(message: &Message) -> bool {
    matches!(
        message,
        Message::FollowerEpoch { .. }
            | Message::NewEpoch(_)
            | Message::AckEpoch { .. }
            | Message::RefuseEpoch { .. }
            | Message::Diff { .. }
            | Message::NewLeader { .. }
            | Message::AckNewLeader { .. }
            | Message::UpToDate { .. }
    )
}

fn describe(write: &gometa_zab::Write) -> String {
    match write {
        gometa_zab::Write::Append(entries) => format!("Append {}", span(entries)),
        other => format!("{other:?}"),
    }
}

fn span(entries: &[gometa_zab::LogEntry]) -> String {
    match entries {
        [] => "nothing".to_owned(),
        [only] => only.zxid.to_string(),
        [first, .., last] => format!("{}..{}", first.zxid, last.zxid),
    }
}

fn brief(message: &gometa_zab::Message) -> String {
    match message {
        gometa_zab::Message::Propose { epoch, previous, entries, commit } => {
            format!("Propose {{ epoch: {epoch}, previous: {previous}, {}, commit: {commit} }}", span(entries))
        }
        gometa_zab::Message::Relay(bytes) => format!("Relay of {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
