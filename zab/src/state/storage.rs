//! Storage writes of a node: their order, what they make durable, and how long they take.

use super::{Change, Compaction, Core, PendingWrite, first_configuration};
use crate::{
    configuration::Configuration,
    effect::{Effect, Notice, Write},
    event::Event,
    integrity::Fault,
    membership::Configurations,
    message::LogEntry,
    types::{NodeId, Token, Zxid},
};

/// The interval between two notices of one node's slow storage, in microseconds.
const SLOW_NOTICE_INTERVAL: u64 = 30_000_000;

impl Core {
    pub(crate) fn allocate_read(&mut self) -> u64 {
        self.last_read += 1;
        self.last_read
    }

    /// Takes over what the caller reports of this node's storage and state.
    pub(crate) fn on_report(&mut self, event: &Event) {
        if let Event::DiskSpace(space) = event {
            self.space = *space;
        } else if let Event::StateStalled(stalled) = event {
            self.state_stalled = *stalled;
        } else if let Event::StateHash(hash) = event {
            self.integrity.hashes.add(*hash);
        } else if let Event::Damaged = event {
            self.integrity.fault = Some(Fault::Damaged);
        }
    }

    /// Adds an entry to the log in memory. Its configuration is in force from now on (protocol.md 5.1).
    pub(crate) fn append(&mut self, entry: LogEntry) {
        if let Some(configuration) = entry.configuration() {
            self.configurations.append(configuration);
        }
        self.history.push(entry);
    }

    /// Truncates the log in memory, and takes back the configurations above.
    pub(crate) fn truncate(&mut self, to: Zxid) {
        self.history.truncate(to);
        planted!(self.configurations.truncate(to), keeps_truncated_configuration => {});
    }

    /// Takes over how far the caller has applied the log.
    pub(crate) fn applied(&mut self, counter: u64) {
        self.history.set_applied(counter);
        self.configurations.settle(counter);
    }

    /// Issues the installation of a snapshot with this configuration; `None` is the genesis.
    pub(crate) fn install(&mut self, at: Zxid, configuration: Option<Configuration>) -> Token {
        self.issue(Write::Install(at), Change::Install(at, configuration))
    }

    /// Issues a storage write other than an installation. `history` must contain its change already.
    pub(crate) fn write(&mut self, write: Write) -> Token {
        let change = match &write {
            Write::Append(_) => Change::Append { through: self.history.last().counter },
            Write::Truncate(_) => {
                // No earlier append may raise the durable mark above the truncation (rule 24). There is none: a
                // follower describes its log when all its writes are complete (rule 11a), and appends nothing before
                // Diff.
                let appends = |pending: &PendingWrite| matches!(pending.change, Change::Append { .. });
                assert!(!self.pending_writes.iter().any(appends), "no append is pending at a truncation");
                Change::Truncate
            }
            Write::Compact(_) => Change::Compact,
            Write::Install(zxid) => unreachable!("the installation of {zxid} is issued by `install`"),
            Write::HardState(hard) => Change::HardState(*hard),
            Write::Founding(founding) => Change::Founding(founding.clone()),
        };
        self.issue(write, change)
    }

    fn issue(&mut self, write: Write, change: Change) -> Token {
        self.last_token.0 += 1;
        let token = self.last_token;
        if self.pending_writes.is_empty() {
            self.latency.start(self.now);
        }
        self.pending_writes.push_back(PendingWrite { token, change });
        self.effects.push(Effect::Write { token, write });
        token
    }

    /// Storage has completed all writes through `token`.
    pub(crate) fn persist(&mut self, token: Token) {
        assert!(token <= self.last_token, "storage reports only what was written");
        self.persisted = self.persisted.max(token);
        if self.pending_writes.front().is_some_and(|pending| pending.token <= token) {
            self.latency.complete(self.now);
        }
        while self.pending_writes.front().is_some_and(|pending| pending.token <= token) {
            match self.pending_writes.pop_front().map(|pending| pending.change) {
                Some(Change::Append { through }) => self.history.set_durable(through),
                Some(Change::HardState(hard)) => {
                    assert!(
                        hard.accepted_epoch >= self.hard.accepted_epoch
                            && hard.current_epoch >= self.hard.current_epoch,
                        "epochs never fall (invariant 13)"
                    );
                    self.hard = hard;
                }
                Some(Change::Founding(founding)) => {
                    let first = first_configuration(&self.config.voters, Some(&founding));
                    self.configurations = Configurations::new(first);
                    self.founding = Some(founding);
                }
                Some(Change::Install(zxid, configuration)) => self.installed(zxid, configuration),
                Some(Change::Truncate | Change::Compact) | None => {}
            }
        }
    }

    /// State and log are replaced by a snapshot. What it holds is committed.
    fn installed(&mut self, at: Zxid, configuration: Option<Configuration>) {
        let from = self.history.last();
        self.history.install(at);
        let first = || first_configuration(&self.config.voters, self.founding.as_ref());
        planted!(
            self.configurations.install(configuration.unwrap_or_else(first)),
            ignores_configuration_of_snapshot => {}
        );
        self.integrity.reset();
        self.learn_commit(at.counter);
        self.notice(Notice::SnapshotInstalled { from, at });
    }

    /// Whether a snapshot is being installed.
    pub(crate) fn is_installing(&self) -> bool {
        self.pending_writes.iter().any(|pending| matches!(pending.change, Change::Install(..)))
    }

    /// Takes over how far the log may be compacted.
    pub(crate) fn set_compaction(&mut self, through: u64, forced: u64) {
        assert!(through <= self.history.released(), "the durable state holds applied entries only");
        self.compaction = Compaction { through, forced: forced.min(through) };
    }

    /// Compacts the log as far as it may be. Followers of this leader need the entries above `needed`, if it has any.
    pub(crate) fn compact(&mut self, needed: Option<u64>) {
        let Compaction { through, forced } = self.compaction;
        let needed = needed.unwrap_or(through);
        probe!("compact.held-back", needed < through);
        probe!("compact.forced", needed < forced);
        let to = through.min(needed.max(forced));
        // An installation replaces the log whose base this is.
        if to > self.history.epochs().base().counter && !self.is_installing() {
            let to = self.history.epochs().at(to).expect("an applied entry is in the log");
            self.history.compact(to);
            self.write(Write::Compact(to));
        }
    }

    pub(crate) fn persisted(&self, token: Token) -> bool {
        self.persisted >= token
    }

    /// The token of the last storage write: once it is complete, all earlier ones are.
    pub(crate) fn last_write(&self) -> Token {
        self.pending_writes.back().map_or(self.persisted, |pending| pending.token)
    }

    /// Whether all storage writes are complete that change what this node says of itself (rule 11a). Which applied entries
    /// are still in the log is no part of that.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending_writes.iter().all(|pending| matches!(pending.change, Change::Compact))
    }

    /// Whether this node's storage, of the log or of what is applied, makes no progress, so that it must not lead
    /// (protocol.md 6.6).
    pub(crate) fn may_not_lead(&self) -> bool {
        self.state_stalled || self.is_stalled()
    }

    /// Whether the storage of this node's log makes no progress. The timeout is `timeouts.disk`, or four times the average
    /// latency if that is longer, but at most four times `timeouts.disk`.
    pub(crate) fn is_stalled(&self) -> bool {
        let disk = self.config.timeouts.disk;
        let timeout = disk.max(self.latency.average().saturating_mul(4).min(disk.saturating_mul(4)));
        !self.is_idle() && self.latency.current(self.now) > timeout
    }

    /// The write latency of this node's storage, in microseconds, if it is slow: a quarter of the election timeout or
    /// more. Else 0.
    pub(crate) fn slow_latency(&self) -> u64 {
        let current = if self.is_idle() { 0 } else { self.latency.current(self.now) };
        let latency = current.max(self.latency.average());
        if latency >= self.config.timeouts.election / 4 { latency } else { 0 }
    }

    /// Reports the slow storage of a node, at a limited rate. A latency of 0 is not slow.
    pub(crate) fn report_slow_storage(&mut self, node: NodeId, write_latency: u64) {
        let last = self.slow_reported.get(&node);
        if write_latency > 0 && last.is_none_or(|last| self.now.since(*last) >= SLOW_NOTICE_INTERVAL) {
            self.slow_reported.insert(node, self.now);
            self.notice(Notice::SlowStorage { node, write_latency });
        }
    }
}
