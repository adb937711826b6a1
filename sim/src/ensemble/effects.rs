//! Carries out what nodes do: every effect is shown to the oracle first.

use bytes::{Bytes, BytesMut};
use gometa_node::{Effect, Node};
use gometa_zab::{Message, Notice, Recovered, Timeouts};

use super::{DEADLINE_DEFAULT_MS, Ensemble, addresses, changes::OPERATOR, violation, voter};
use crate::{
    actions::Action,
    checkers::{Check, Violation},
    disk::{End, Failed, Refused, STALL},
    process::Clock,
    settings::{MILLISECOND, SECOND},
};

impl Ensemble {
    /// A node's process starts on what its disk holds.
    ///
    /// # Errors
    /// A violation.
    pub fn start(&mut self, node: usize) -> Check {
        if self.processes[node].is_up() || self.processes[node].stopped {
            return Ok(());
        }
        let Some(recovered) = self.recover(node)? else { return Ok(()) };
        let joins = node >= self.voters().len() || self.joins_anew(node);
        // The others found with all voters only.
        let founds_with_quorum = !joins && self.settings.founds_with_quorum && !self.machine.one_in(8);
        let config = {
            let process = &mut self.processes[node];
            process.life += 1;
            process.addresses = addresses(node, process.life);
            process.inbox.clear();
            process.waking = false;
            process.paused_until = 0;
            process.crashes_after = None;
            process.leads = false;
            process.role = gometa_zab::Role::Forming;
            (process.led, process.deferred) = (false, false);
            process.clock = Clock::new(self.now, self.settings.process.drift, &mut self.machine);
            gometa_node::Config {
                zab: gometa_zab::Config {
                    node: crate::checkers::node_id(node),
                    incarnation: process.disk.incarnation,
                    boot: process.disk.boots,
                    addresses: process.addresses.clone(),
                    voters: if joins { vec![voter(node, &process.addresses)] } else { self.voters.clone() },
                    seed: self.machine.wide(),
                    timeouts: Timeouts::from_ms(self.settings.heartbeat_ms, self.settings.election_ms),
                    bounds: self.settings.bounds,
                    levels: gometa_zab::Levels::SUPPORTED,
                    never_founds: joins,
                    founds_with_quorum,
                },
                session_timeout_ms: self.settings.session_timeout_ms,
                deadline_default_ms: DEADLINE_DEFAULT_MS,
                requests_max: 24,
                unstored_bytes_max: self.settings.unstored_bytes_max,
                log_kept: self.settings.snapshots.log_kept,
                log_held_max: self.settings.snapshots.log_held_max,
                state_hash_interval: self.settings.state_hash_interval,
                history: self.settings.history,
                version: "simulated".to_owned(),
            }
        };
        self.trace
            .line(self.now, Some(node), || format!("starts, boot {}, with {recovered:?}", config.zab.boot));
        let process = &mut self.processes[node];
        self.oracle.of(node).hardened(node, &process.disk.durable)?;
        if process.life > 1 {
            self.counts.restarts += 1;
        }
        let life = process.life;
        let now = process.clock.at(self.now);
        self.oracle.of(node).starts(node, now);
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
        self.report_space(node);
        self.execute(node, effects)?;
        if joins || self.faults_ended {
            self.hint(node);
        }
        Ok(())
    }

    /// What a process finds on its disk; None if it has ended over that, to be started again, or not.
    fn recover(&mut self, node: usize) -> Result<Option<Recovered>, Violation> {
        let cut = if self.faults_ended { 0 } else { self.settings.disk.interrupted_start };
        if self.machine.chance(cut) {
            let end = if self.machine.one_in(2) { End::PowerLost } else { End::Killed };
            let lost = self.processes[node].disk.interrupt_start(end);
            match end {
                End::PowerLost => self.counts.faults.interrupted_starts += 1,
                End::Killed => self.counts.faults.failed_starts += 1,
            }
            self.trace.line(self.now, Some(node), || format!("ends in its start ({end:?}), {lost:?}"));
            self.lost(node, lost);
            self.start_later(node);
            return Ok(None);
        }
        let process = &mut self.processes[node];
        match process.disk.recover() {
            Ok(recovered) => return Ok(Some(recovered)),
            Err(Refused::Full) => {
                // Its supervisor tries again.
                self.counts.faults.full_starts += 1;
                self.trace.line(self.now, Some(node), || "cannot start: its disk is full".to_owned());
                let at = self.now + self.machine.between(50, 1_000) * MILLISECOND;
                self.schedule(at, Action::Start { node });
            }
            Err(Refused::Wrong(what)) => {
                let detail = format!("n{node} has accepted a log that is not what was written: {what}");
                return violation("storage: a start finds what was reported", detail).map(|()| None);
            }
            Err(refused) if !process.counted_as_lost => {
                let detail =
                    format!("n{node} cannot start on a disk that has kept its promises: {refused:?}");
                return violation("a node must not stop", detail).map(|()| None);
            }
            Err(refused) => {
                process.stopped = true;
                self.counts.faults.stops += 1;
                self.trace.line(self.now, Some(node), || format!("stops for good: {refused:?}"));
                if self.machine.one_in(2) {
                    // An empty directory replaces this one.
                    let at = self.now + self.machine.below(2 * SECOND);
                    self.schedule(at, Action::Replace { node });
                }
            }
        }
        Ok(None)
    }

    /// A step's effects, in order.
    pub(crate) fn execute(&mut self, node: usize, effects: Vec<Effect>) -> Check {
        for effect in effects {
            if is_of_joining(&effect) {
                self.sync_crash(node);
            }
            if let Some(left) = &mut self.processes[node].crashes_after {
                if *left == 0 {
                    return self.crash(node, false);
                }
                *left -= 1;
            }
            self.effect(node, effect)?;
            if !self.processes[node].is_up() {
                break;
            }
        }
        Ok(())
    }

    fn effect(&mut self, node: usize, effect: Effect) -> Check {
        let now = self.now;
        match effect {
            Effect::Write { token, write, released } => {
                self.trace.mix(zab_write_digest(&write));
                self.trace.line(now, Some(node), || format!("{token} writes {}", describe(&write)));
                self.oracle.of(node).issues(node, &self.processes[node].disk, &write)?;
                self.oracle.at(node).appends(node, now, &write)?;
                self.oracle.at(node).times(node, &write, self.settings.session_timeout_ms)?;
                let process = &mut self.processes[node];
                let installs = matches!(write, gometa_zab::Write::Install(_));
                process.disk.issue(token, write, released);
                self.oracle.at(node).records_released(node, &process.disk, released)?;
                if installs {
                    self.installing(node);
                }
                self.start_disk(node);
                Ok(())
            }
            Effect::Store { number, batch } => {
                let checkpoint = batch.checkpoint;
                self.trace.mix(checkpoint.applied);
                self.trace.mix(checkpoint.hash as u64);
                self.trace.line(now, Some(node), || {
                    format!("batch {number} applies through {}", checkpoint.applied)
                });
                let process = &mut self.processes[node];
                self.oracle.of(node).ends_batch(node, checkpoint.applied, checkpoint.hash);
                let expected = self.oracle.at(node).state_hash(checkpoint.applied);
                // Whether others find it is judged otherwise.
                let hash = expected.filter(|_| process.altered).unwrap_or(checkpoint.hash);
                self.oracle.of(node).applies(node, &process.disk, checkpoint.applied, hash)?;
                process.disk.store(number, batch);
                self.start_table(node);
                Ok(())
            }
            Effect::Fetch { id, purpose, keys } => {
                self.trace.mix(id);
                self.trace.line(now, Some(node), || format!("fetch {id} for {purpose:?}: {keys:?}"));
                self.start_fetch(node, id, keys);
                Ok(())
            }
            Effect::Query { id, query } => {
                self.trace.mix(id);
                self.trace.line(now, Some(node), || format!("query {id}: {query:?}"));
                let process = &mut self.processes[node];
                let seen = self.machine.one_in(2).then(|| process.disk.table.query(&query));
                let (life, at) = (process.life, now + process.disk.read_time(&mut self.machine));
                self.schedule(at, Action::Queried { node, life, id, query, seen });
                Ok(())
            }
            // No client of the workload makes backups.
            Effect::Backup { .. } => Ok(()),
            Effect::Read { id, from, to, bytes_max } => {
                let process = &self.processes[node];
                let base = process.disk.issued.base.counter;
                if from <= base || from > to || to > process.disk.durable.log.len() as u64 {
                    let durable = process.disk.durable.log.len();
                    let detail = format!("n{node} reads {from}..={to} of {durable} durable entries");
                    return violation("12 log contiguity", detail);
                }
                self.damage_read(node, from, to);
                let process = &self.processes[node];
                let life = process.life;
                let entries = match process.disk.read(from, to, bytes_max) {
                    Ok(entries) => entries,
                    Err(refused) if process.counted_as_lost => {
                        self.counts.faults.flipped_bits_read += 1;
                        self.trace.line(now, Some(node), || format!("cannot read its log: {refused:?}"));
                        self.crash(node, false)?;
                        self.start_later(node);
                        return Ok(());
                    }
                    Err(refused) => {
                        let detail = format!("n{node} cannot read its log: {refused:?}");
                        return violation("a node must not stop", detail);
                    }
                };
                let at = now + self.machine.between(20, 2 * MILLISECOND);
                self.schedule(at, Action::ReadDone { node, life, id, entries });
                Ok(())
            }
            Effect::Datagram { to, vote } => {
                self.trace.line(now, Some(node), || format!("votes to {}: {vote:?}", to.0 as i64 - 1));
                self.oracle.at(node).votes(node, &self.processes[node].disk, &vote)?;
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
                    // The connection is gone; the node has not learned of it yet.
                    return Ok(());
                }
                self.trace.line(now, Some(node), || {
                    format!("{link} to n{}: {}", peer.unwrap_or(usize::MAX), brief(&message))
                });
                self.oracle.of(node).sends(node, peer, &self.processes[node].disk, &message)?;
                if let Some(peer) = peer {
                    if self.network.life_of_peer(node, link) == Some(self.processes[peer].life) {
                        self.oracle.keeps_apart(node, peer, &message)?;
                    }
                    self.oracle.of(node).orders(node, link, peer, &message)?;
                }
                let mut bytes = BytesMut::new();
                if let Err(error) = gometa_codec::message::encode(&message, &mut bytes) {
                    return violation("codec: what is sent arrives", format!("{error} for {message:?}"));
                }
                self.network.send(now, node, link, bytes.freeze());
                if matches!(message, Message::AckEpoch { .. }) {
                    self.report_late(node, link);
                }
                Ok(())
            }
            Effect::Close { link } => {
                if self.network.peer_of(node, link).is_none() {
                    let detail = format!("n{node} closes {link}, which never was");
                    return violation("simulation: effects make sense", detail);
                }
                self.trace.line(now, Some(node), || format!("closes {link}"));
                self.oracle.of(node).closes(node, link);
                self.network.close(now, node, link);
                self.processes[node].inbox.retain(|event| {
                    !matches!(event, gometa_node::Event::Zab(gometa_zab::Event::Closed { link: closed }) if *closed == link)
                });
                Ok(())
            }
            Effect::Respond { client, response } if client == OPERATOR => {
                self.answers_operator(node, response)
            }
            Effect::Respond { client, response } => {
                self.trace.mix(response.revision);
                self.trace.mix(response.id);
                self.trace.line(now, Some(node), || format!("answers client {}: {response:?}", client.0));
                // What it has applied is written to the table later; it cannot be more than this.
                let applied = self.processes[node].disk.durable.log.len() as u64;
                let applied = applied.min(self.oracle.at(node).committed());
                let response = self.withhold(node, response);
                self.oracle.of(node).answers(node, applied, client.0, &response)?;
                self.links.set_history(client, self.history_of(node));
                self.links.respond(now, self.workload.random(), client, response);
                Ok(())
            }
            Effect::SendSnapshot { link } => {
                self.trace.line(now, Some(node), || format!("{link}: a snapshot is wanted"));
                self.request_snapshot(node, link);
                Ok(())
            }
            Effect::DiscardSnapshot => {
                self.trace.line(now, Some(node), || "discards a snapshot".to_owned());
                self.processes[node].disk.discard();
                self.decided(node);
                Ok(())
            }
            Effect::SessionsShort { .. } => Ok(()),
            Effect::View(view) => {
                let check = self.oracle.at(node).shows(node, &view);
                self.processes[node].view = view;
                check
            }
            Effect::Role(role) => {
                self.trace.line(now, Some(node), || format!("is {role:?}"));
                let process = &mut self.processes[node];
                process.leads = matches!(role, gometa_zab::Role::Leading { .. });
                process.role = role;
                if let gometa_zab::Role::Leading { established: Some(_) } = role {
                    self.counts.faults.reelected_leaders += u64::from(process.led);
                    process.led = true;
                }
                self.oracle.is_fit_for(node, role)?;
                self.oracle.of(node).plays(node, role, &self.processes[node].disk)
            }
            Effect::Notice(notice) => self.notice(node, notice),
            Effect::Quarantine(fault) => self.quarantine(node, fault),
            Effect::Stop(why) => violation("a node must not stop", format!("n{node} stops: {why}")),
        }
    }

    fn notice(&mut self, node: usize, notice: Notice) -> Check {
        self.trace.line(self.now, Some(node), || format!("{notice:?}"));
        match notice {
            Notice::Discovered { epoch, last } => {
                self.oracle.of(node).discovered(node, epoch, last, &self.processes[node].disk)
            }
            Notice::Established { epoch, last } => {
                self.check_final_transfer(true)?;
                self.oracle.of(node).established_by(node, epoch, last)
            }
            Notice::TransferBegun { why, .. } => {
                self.defers(node, why);
                let clock = self.processes[node].clock.at(self.now);
                self.oracle.of(node).begins_transfer(node, clock, self.now);
                Ok(())
            }
            Notice::TransferTakenBack { .. } | Notice::TransferRejected { .. } => {
                if let Notice::TransferTakenBack { .. } = notice {
                    self.counts.faults.transfers_taken_back += 1;
                    self.oracle.of(node).ends_transfer(node);
                }
                self.end_final_transfer();
                Ok(())
            }
            Notice::Looking { .. } => {
                self.oracle.of(node).ends_transfer(node);
                Ok(())
            }
            Notice::HandedOver { epoch, target, last } => self.handed_over(node, epoch, target, last),
            Notice::Truncated { .. } => {
                self.counts.truncations += 1;
                Ok(())
            }
            // No directory is copied here, so none is used by two processes at a time.
            Notice::ChangeProposed { change, .. } => {
                self.count_change(&change);
                Ok(())
            }
            Notice::Duplicate { .. } | Notice::DuplicateOfSelf { .. } => {
                violation("reports are true", format!("n{node} notes {notice:?}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn index(&self, id: gometa_zab::NodeId) -> Option<usize> {
        let index = (id.0 as usize).checked_sub(1)?;
        (index < self.processes.len()).then_some(index)
    }

    fn start_disk(&mut self, node: usize) {
        let process = &mut self.processes[node];
        if let Some((time, fails)) = process.disk.start(&mut self.machine) {
            let (life, group) = (process.life, process.disk.group);
            self.counts.faults.disk_stalls += u64::from(time >= STALL);
            self.counts.faults.long_disk_stalls += u64::from(time >= SECOND);
            self.schedule(self.now + time, Action::DiskDone { node, life, group, fails });
        }
    }

    /// A disk has finished a group of writes, or failed.
    pub(crate) fn disk_done(&mut self, node: usize, life: u64, group: u64, fails: bool) -> Check {
        let process = &mut self.processes[node];
        if process.life != life || !process.is_up() || process.disk.group != group {
            return Ok(());
        }
        let fails = fails && !self.faults_ended;
        let result = if fails {
            process.disk.fail();
            Err(Failed::Device("an injected error".to_owned()))
        } else {
            process.disk.finish(self.now)
        };
        let done = match result {
            Ok(done) => done,
            Err(Failed::Invalid(why)) => {
                return violation("12 log contiguity", format!("n{node}'s log refuses a write: {why}"));
            }
            Err(Failed::Device(why)) if !fails => {
                let detail = format!("n{node} cannot write to a disk without a fault: {why}");
                return violation("storage: writes succeed", detail);
            }
            Err(failed) => {
                let full = failed == Failed::Full;
                self.trace.line(self.now, Some(node), || format!("its disk fails: {failed:?}"));
                self.crash(node, false)?;
                let kept = self.processes[node].disk.has_unreported();
                let faults = &mut self.counts.faults;
                faults.full_disks += u64::from(full);
                faults.failed_syncs += u64::from(!full);
                faults.failed_syncs_kept += u64::from(!full && kept);
                self.start_later(node);
                return Ok(());
            }
        };
        if let Some(done) = done {
            self.counts.faults.dropped_syncs += u64::from(done.dropped);
            self.trace.mix(done.token.0);
            self.trace.line(self.now, Some(node), || format!("{} is durable", done.token));
            self.oracle.of(node).hardened(node, &self.processes[node].disk.durable)?;
            self.notice_formation();
            if done.installed.is_some() {
                self.processes[node].installed = done.installed;
                self.processes[node].altered = false;
            }
            self.deliver(node, gometa_node::Event::Zab(gometa_zab::Event::Persisted(done.token)));
        }
        self.start_disk(node);
        Ok(())
    }

    /// Reads records, in parts that are answered in any order. A record is seen as it is at the beginning or at the end of
    /// its read.
    fn start_fetch(&mut self, node: usize, id: u64, keys: Vec<Bytes>) {
        let mut part = Vec::new();
        for key in keys {
            let table = &self.processes[node].disk.table;
            let seen = self.machine.one_in(2).then(|| table.read(&key));
            part.push((key, seen));
            if self.machine.one_in(3) {
                self.schedule_fetched(node, id, std::mem::take(&mut part));
            }
        }
        if !part.is_empty() {
            self.schedule_fetched(node, id, part);
        }
    }

    fn schedule_fetched(&mut self, node: usize, id: u64, seen: Vec<(Bytes, Option<Option<Bytes>>)>) {
        let life = self.processes[node].life;
        let at = self.now + self.processes[node].disk.read_time(&mut self.machine);
        self.schedule(at, Action::Fetched { node, life, id, seen });
    }

    /// A table has read records.
    pub(crate) fn fetched(
        &mut self,
        node: usize,
        life: u64,
        id: u64,
        seen: Vec<(Bytes, Option<Option<Bytes>>)>,
    ) {
        let process = &self.processes[node];
        if process.life != life || !process.is_up() {
            return;
        }
        let table = &process.disk.table;
        let records = seen.into_iter().map(|(key, seen)| {
            let record = seen.unwrap_or_else(|| table.read(&key));
            (key, record)
        });
        let records = records.collect();
        self.trace.mix(id);
        self.deliver(node, gometa_node::Event::Fetched { id, records });
    }

    fn start_table(&mut self, node: usize) {
        let process = &mut self.processes[node];
        if let Some((time, fails)) = process.disk.start_table(&mut self.machine) {
            let life = process.life;
            self.schedule(self.now + time, Action::TableDone { node, life, fails });
        }
    }

    /// A table has written a group of batches, or failed.
    pub(crate) fn table_done(&mut self, node: usize, life: u64, fails: bool) -> Check {
        let process = &mut self.processes[node];
        if process.life != life || !process.is_up() {
            return Ok(());
        }
        if fails && !self.faults_ended {
            self.trace.line(self.now, Some(node), || "its table fails".to_owned());
            self.counts.faults.full_disks += 1;
            self.crash(node, false)?;
            self.start_later(node);
            return Ok(());
        }
        if let Some((number, flushed)) = process.disk.finish_table(&mut self.machine) {
            self.trace.mix(number);
            self.deliver(node, gometa_node::Event::Stored { number });
            if let Some(counter) = flushed {
                self.trace.line(self.now, Some(node), || format!("its table is flushed through {counter}"));
                self.deliver(node, gometa_node::Event::Flushed { counter });
            }
        }
        self.start_table(node);
        Ok(())
    }

    fn notice_formation(&mut self) {
        if !self.absent_noticed
            && let Some(absent) = self.oracle.absent()
        {
            self.absent_noticed = true;
            for node in absent {
                // It counts in no quorum before it is a voter with its directory.
                self.counts.faults.absent_voters += 1;
                let process = &mut self.processes[node];
                (process.counted_as_lost, process.replaced) = (true, true);
            }
        }
        let sealed = |process: &crate::process::Process| {
            process.disk.durable.founding.as_ref().is_some_and(|founding| founding.sealed)
        };
        if !self.formed && self.processes[..self.settings.nodes].iter().all(sealed) {
            self.formed = true;
            self.counts.formations += 1;
            self.trace.line(self.now, None, || "the ensemble is formed".to_owned());
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
        gometa_zab::Write::Compact(zxid) => 4 << 60 | zxid.counter,
        gometa_zab::Write::Install(zxid) => 5 << 60 | zxid.counter,
    }
}

/// Whether an effect belongs to discovery or synchronisation, where a crash hurts most.
fn is_of_joining(effect: &Effect) -> bool {
    let Effect::Send { message, .. } = effect else {
        let install = matches!(effect, Effect::Write { write: gometa_zab::Write::Install(_), .. });
        return install || matches!(effect, Effect::SendSnapshot { .. });
    };
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
        gometa_zab::Message::Snapshot(bytes) => format!("Snapshot, {} bytes", bytes.len()),
        gometa_zab::Message::Relay(bytes) => format!("Relay of {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
