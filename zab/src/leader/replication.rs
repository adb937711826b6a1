//! Replication: entries to followers, their acknowledgements, and what is committed (rules 16 to 25).

use alloc::vec::Vec;

use super::Leader;
use crate::{
    effect::{Effect, Notice},
    message::{LogEntry, Message},
    progress::Progress,
    state::{Core, Next},
    sync::{Plan, plan},
    types::{LinkId, Zxid},
};

impl Leader {
    // ---- Messages

    pub(super) fn on_progress(&mut self, link: LinkId, last: Zxid) -> Next {
        if let Some(progress) = self.followers.get_mut(&link) {
            progress.report_durable(last.counter);
            planted!(counts_progress_as_ack => progress.acked = progress.acked.max(last.counter));
        }
        Next::Stay
    }

    pub(super) fn on_ack_new_leader(&mut self, core: &mut Core, link: LinkId, last: Zxid) -> Next {
        let Some(progress) = self.followers.get_mut(&link) else { return Next::Stay };
        if !progress.awaits_ack_new_leader() {
            return Next::Stay;
        }
        let sent = core.history.epochs().may_hold(last) && last.counter < progress.next();
        if !sent || last < self.initial {
            return self.drop_follower(core, link, "it acknowledges another history");
        }
        probe!("lead.follower-ahead-of-initial", last > self.initial);
        progress.acknowledge_new_leader(last.counter, core.commit);
        planted!(counts_acks_of_earlier_epochs => {
            progress.acked = last.counter.max(core.acked_before(progress.node));
        });
        #[cfg(gometa_instrumented)]
        core.remember(progress.node, last.counter);
        self.check(core)
    }

    pub(super) fn on_ack(&mut self, core: &mut Core, link: LinkId, last: Zxid) -> Next {
        let Some(progress) = self.followers.get_mut(&link) else { return Next::Stay };
        planted!(ack_confirms_barrier => progress.heartbeat_acked = self.heartbeat);
        // An Ack before AckNewLeader is ignored, and no fault (rule 23).
        if !progress.is_counted() {
            return Next::Stay;
        }
        if last.counter > progress.acked {
            if last.counter >= progress.next() || !core.history.epochs().may_hold(last) {
                return self.drop_follower(core, link, "it acknowledges entries that it was not sent");
            }
            progress.acknowledge(last.counter);
            #[cfg(gometa_instrumented)]
            core.remember(progress.node, last.counter);
        }
        self.check(core)
    }

    // ---- Synchronisation

    /// Sends Diff, or requests a snapshot, after which the follower describes its log again. Entries follow with
    /// [`Leader::stream`].
    pub(super) fn synchronise(&mut self, core: &mut Core, link: LinkId) {
        let Some(progress) = self.followers.get_mut(&link) else { return };
        let Some(log) = progress.log() else { return };
        match plan(core.history.epochs(), log) {
            Plan::Diff { base: common } => {
                let base = planted!(common, truncates_one_entry_too_many => {
                    core.history.epochs().at(common.counter.saturating_sub(1)).unwrap_or(common)
                });
                let (peer, votes, from) =
                    (progress.node, progress.is_voter(core.configuration()), log.last());
                probe!("sync.from-snapshot", log.ends().is_empty() && base.counter > 0);
                progress.stream_from(base);
                core.notice(Notice::Synchronising { peer, votes, from, base });
                core.send(link, Message::Diff { epoch: self.epoch, base });
            }
            Plan::Snapshot => {
                let (peer, votes, from) =
                    (progress.node, progress.is_voter(core.configuration()), log.last());
                progress.request_snapshot();
                let base = core.history.epochs().base();
                core.notice(Notice::SnapshotNeeded { peer, votes, from, base });
                core.effects.push(Effect::SendSnapshot { link });
            }
        }
    }

    /// A snapshot of this node's state is being sent to a follower: keeps the log above it.
    pub(crate) fn on_snapshot_begun(&mut self, core: &mut Core, link: LinkId, at: Zxid) {
        let Some(progress) = self.followers.get_mut(&link).filter(|progress| progress.receives_snapshot())
        else {
            return;
        };
        let epochs = core.history.epochs();
        if at.counter < epochs.base().counter {
            probe!("sync.snapshot-outdated");
            core.effects.push(Effect::SendSnapshot { link });
            return;
        }
        assert_eq!(epochs.at(at.counter), Some(at), "a snapshot holds entries of this log");
        assert!(at.counter <= core.history.released(), "a snapshot holds applied entries only");
        progress.pin(at.counter);
        core.notice(Notice::SnapshotSent { peer: progress.node, at });
        probe!("sync.snapshot-before-established", self.established().is_none());
    }

    // ---- Compaction

    /// Compacts the log as far as followers permit. Those whose entries are deleted nevertheless begin again.
    pub(crate) fn compact(&mut self, core: &mut Core) {
        let base = core.history.epochs().base().counter;
        let needed = self.followers.values().filter_map(|progress| progress.needs_above(base)).min();
        core.compact(needed);
        let base = core.history.epochs().base().counter;
        let overtaken = |progress: &Progress| progress.needs_above(base).is_some_and(|from| from < base);
        let links: Vec<(LinkId, bool)> = self
            .followers()
            .filter(|(_, progress)| overtaken(progress))
            .map(|(link, progress)| (link, progress.receives_snapshot()))
            .collect();
        for (link, receives_snapshot) in links {
            if receives_snapshot && let Some(progress) = self.followers.get_mut(&link) {
                probe!("compact.overtakes-snapshot");
                progress.request_snapshot();
                core.effects.push(Effect::SendSnapshot { link });
            } else {
                probe!("compact.overtakes-follower");
                self.drop_follower(core, link, "the log that it needs is deleted");
            }
        }
    }

    /// The commit index that is sent to followers whose logs are prefixes of this one. An established leader sends
    /// it during synchronisation too, so that they apply meanwhile (rule 20); 0 before.
    pub(super) fn commit_for_followers(&self, core: &Core) -> u64 {
        match self.established() {
            Some(_) => core.commit,
            None => planted!(0, sends_commit_before_established => self.initial.counter),
        }
    }

    /// Sends entries from the cursor of a follower on, as far as its window permits, and NewLeader when due.
    pub(super) fn stream(&mut self, core: &mut Core, link: LinkId) {
        let last = core.history.last().counter;
        let bounds = core.config.bounds;
        loop {
            let Some(progress) = self.followers.get_mut(&link) else { return };
            if !progress.is_streamed() {
                return;
            }
            let last = Self::limit(core, progress, progress.limit(last, self.initial));
            if !progress.can_send(last, bounds.window_bytes_max) {
                break;
            }
            let (from, recent_from) = (progress.next(), core.history.recent_from());
            if from < recent_from {
                probe!("sync.from-disk");
                let id = core.allocate_read();
                progress.start_reading(id);
                let (to, bytes_max) = (last.min(recent_from - 1), bounds.batch_bytes_max);
                core.effects.push(Effect::Read { id, from, to, bytes_max });
                return;
            }
            let mut entries = Vec::new();
            let mut bytes = 0;
            while from + entries.len() as u64 <= last
                && let Some(entry) = core.history.recent(from + entries.len() as u64)
            {
                let full = bytes + entry.size() > bounds.batch_bytes_max;
                if !entries.is_empty() && planted!(full, sends_entries_one_by_one => true) {
                    break;
                }
                bytes += entry.size();
                entries.push(entry.clone());
            }
            self.send_entries(core, link, entries, bytes);
        }
        let Some(progress) = self.followers.get_mut(&link) else { return };
        probe!("sync.window-full", progress.is_window_full(last));
        if progress.take_new_leader(self.initial) {
            core.send(link, Message::NewLeader { epoch: self.epoch, last: self.initial });
        }
    }

    /// The last entry that a follower may be sent: one before the first that takes its vote away and is not committed.
    fn limit(core: &Core, progress: &Progress, last: u64) -> u64 {
        let removal = core.configurations.takes_vote_of(progress.node, progress.incarnation(), core.commit);
        probe!("members.removal-withheld", removal.is_some_and(|removal| progress.next() == removal));
        let limit = removal.map_or(last, |removal| last.min(removal - 1));
        planted!(limit, sends_removal_before_commit => last)
    }

    /// Sends a batch of entries, which begins at the follower's cursor.
    fn send_entries(&mut self, core: &mut Core, link: LinkId, entries: Vec<LogEntry>, bytes: usize) {
        let commit = self.commit_for_followers(core);
        let Some(progress) = self.followers.get_mut(&link) else { return };
        let Some(previous) = core.history.epochs().at(progress.next() - 1) else { return };
        progress.sent(entries.len(), bytes);
        progress.commit_sent(commit);
        core.send(link, Message::Propose { epoch: self.epoch, previous, entries, commit });
    }

    /// Sends the entries that a storage read has returned.
    pub(crate) fn on_log_read(&mut self, core: &mut Core, id: u64, entries: Vec<LogEntry>) {
        let reading = self.followers.iter_mut().find(|(_, progress)| progress.is_reading(id));
        let Some((link, progress)) = reading else {
            probe!("sync.read-stale");
            return;
        };
        progress.finish_reading();
        let link = *link;
        if entries.is_empty() {
            self.drop_follower(core, link, "the log that it needs is deleted");
            return;
        }
        let fits = entries.first().is_some_and(|entry| entry.zxid.counter == progress.next())
            && entries.iter().all(|entry| core.history.epochs().at(entry.zxid.counter) == Some(entry.zxid));
        assert!(fits, "storage returns the requested log entries");
        let bytes = entries.iter().map(LogEntry::size).sum();
        self.send_entries(core, link, entries, bytes);
    }

    /// Sends UpToDate, with the current commit index, to a follower that has caught up (rule 19).
    pub(super) fn send_up_to_date(&mut self, core: &mut Core, link: LinkId) {
        let Some(progress) = self.followers.get_mut(&link) else { return };
        if !progress.is_up_to_date() {
            return;
        }
        progress.serve();
        progress.commit_sent(core.commit);
        let epochs = core.history.epochs();
        let last = epochs.at(progress.acked).unwrap_or(epochs.base());
        core.notice(Notice::Synchronised { peer: progress.node, last });
        core.send(link, Message::UpToDate { epoch: self.epoch, commit: core.commit });
    }

    // ---- Broadcast

    /// Commits what a quorum has acknowledged (rule 23).
    pub(super) fn advance_commit(&mut self, core: &mut Core) {
        let durable = planted!(core.history.durable(), leader_counts_unsynced_entries => core.history.last());
        let own = if core.votes() { durable.counter } else { 0 };
        let counted = planted!(
            core.configuration(),
            counts_acks_by_committed_configuration => core.configurations.settled(),
            counts_acks_of_learners => {
                let acks = self.followers.values().filter(|progress| progress.is_counted());
                let acks = acks.map(|progress| progress.acked).chain([own]).collect();
                let reached = crate::quorum::quorum_value(acks);
                core.learn_commit(reached);
                core.configuration()
            }
        );
        let reached = counted.quorum_value(|voter| {
            if planted!(voter.node == core.me(), commits_without_quorum => true) {
                return own;
            }
            let acks = self.followers.values().filter(|progress| {
                progress.is(voter) && planted!(progress.is_counted(), counts_progress_as_ack => true)
            });
            let missing = planted!(0, counts_acks_of_disconnected_voters => core.acked_before(voter.node));
            acks.map(|progress| progress.acked).max().unwrap_or(missing)
        });
        probe!("commit.without-own-disk", reached > own);
        core.learn_commit(reached);
        self.proposals.close(core.commit.min(core.history.durable().counter));
    }

    /// Sends a serving follower a commit index that it was not sent with entries or a heartbeat.
    pub(super) fn send_commit(&mut self, core: &mut Core, link: LinkId) {
        let Some(progress) = self.followers.get_mut(&link) else { return };
        if progress.needs_commit(core.commit) {
            progress.commit_sent(core.commit);
            core.send(link, Message::Commit { epoch: self.epoch, commit: core.commit });
            planted!(sends_commit_twice => {
                core.send(link, Message::Commit { epoch: self.epoch, commit: core.commit })
            });
        }
    }
}
