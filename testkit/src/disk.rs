//! A disk on which nothing is durable before a test says so, and the table *durable before send* (docs/protocol.md 1.5)
//! checked against it.

use std::collections::VecDeque;

use gometa_zab::{
    Configuration, Effect, Founding, HardState, LogEntry, Message, NodeId, Recovered, Token, Vote, VoteState,
    Write, Zxid,
};

/// What a crash leaves, and what it does not.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    /// The hard state.
    pub hard: HardState,
    /// The genesis.
    pub founding: Option<Founding>,
    /// The base of the log.
    pub base: Zxid,
    /// The log above its base.
    pub log: Vec<LogEntry>,
    /// How far the table is applied.
    pub applied: u64,
    /// The configuration at the base of the log; `None` for the genesis.
    pub configuration: Option<Configuration>,
    /// That of the snapshot that was received last.
    pub received: Option<Configuration>,
    /// Written and not yet durable.
    pub pending: VecDeque<(Token, Write)>,
}

impl Disk {
    /// The zxid of the last durable entry.
    pub fn last(&self) -> Zxid {
        self.log.last().map_or(self.base, |entry| entry.zxid)
    }

    /// Whether the durable log has this zxid, or had it before it was compacted: below the base nothing is known.
    pub fn holds(&self, zxid: Zxid) -> bool {
        match zxid.counter.checked_sub(self.base.counter) {
            None => true,
            Some(0) => zxid == self.base,
            Some(above) => {
                let index = usize::try_from(above - 1).expect("a short log");
                self.log.get(index).is_some_and(|entry| entry.zxid == zxid)
            }
        }
    }

    /// The configuration in force at a counter of the log.
    fn configuration_at(&self, counter: u64) -> Option<Configuration> {
        let logged = self.log.iter().filter(|entry| entry.zxid.counter <= counter);
        logged.filter_map(LogEntry::configuration).last().or_else(|| self.configuration.clone())
    }

    /// Deletes the log through an entry that it has.
    fn compact(&mut self, to: Zxid) {
        assert!(to.counter > self.base.counter && self.holds(to), "the base rises to an entry of the log");
        self.configuration = self.configuration_at(to.counter);
        self.log.retain(|entry| entry.zxid.counter > to.counter);
        self.base = to;
    }

    /// What a node finds at its start.
    pub fn recover(&self) -> Recovered {
        let mut boundaries: Vec<Zxid> = Vec::new();
        for entry in &self.log {
            match boundaries.last_mut() {
                Some(end) if end.epoch == entry.zxid.epoch => *end = entry.zxid,
                _ => boundaries.push(entry.zxid),
            }
        }
        Recovered {
            hard_state: self.hard,
            founding: self.founding.clone(),
            oldest: self.base,
            boundaries,
            applied: self.applied,
            released: self.applied,
            configuration: self.configuration_at(self.applied),
            logged: self.log.iter().filter_map(LogEntry::configuration).collect(),
        }
    }

    /// Makes the oldest write durable.
    pub fn persist(&mut self) -> Option<Token> {
        let (token, write) = self.pending.pop_front()?;
        match write {
            Write::Append(entries) => {
                for entry in entries {
                    assert_eq!(entry.zxid.counter, self.last().counter + 1, "invariant 12: no gap on disk");
                    assert!(entry.zxid.epoch >= self.last().epoch, "epochs never fall along a log");
                    self.log.push(entry);
                }
            }
            Write::Truncate(to) => {
                assert!(self.holds(to), "a log is cut at one of its entries");
                assert!(to.counter >= self.applied, "invariant 15: nothing applied is cut");
                self.log.retain(|entry| entry.zxid.counter <= to.counter);
            }
            Write::Compact(to) => {
                assert!(to.counter <= self.applied, "nothing is deleted that is not applied");
                self.compact(to);
            }
            Write::Install(at) => {
                assert!(
                    !self.log.iter().any(|entry| entry.zxid == at),
                    "a log that holds the snapshot stays"
                );
                assert!(at.counter > self.applied, "invariant 15: a snapshot does not go back");
                self.log.clear();
                self.base = at;
                self.applied = at.counter;
                self.configuration = self.received.take();
            }
            Write::HardState(hard) => {
                assert!(hard.accepted_epoch >= self.hard.accepted_epoch, "invariant 13: promises never fall");
                assert!(hard.current_epoch >= self.hard.current_epoch, "invariant 13: epochs never fall");
                assert!(hard.accepted_epoch >= hard.current_epoch, "invariant 13: p >= a");
                if hard.accepted_epoch == self.hard.accepted_epoch {
                    assert_eq!(hard.accepted_leader, self.hard.accepted_leader, "a promise is to one leader");
                }
                self.hard = hard;
            }
            Write::Founding(founding) => {
                let sealed = self.founding.as_ref().filter(|founding| founding.sealed);
                assert!(sealed.is_none_or(|old| *old == founding), "a sealed genesis is never replaced");
                self.founding = Some(founding);
            }
        }
        assert!(self.hard.accepted_epoch >= self.last().epoch, "invariant 13: p >= epoch(last)");
        Some(token)
    }

    /// Reads durable entries until `bytes_max` is exceeded, at least one.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.log.iter().filter(|entry| (from..=to).contains(&entry.zxid.counter)) {
            bytes += entry.size();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    /// Whether nothing is in flight that changes what the node says of itself.
    fn is_settled(&self) -> bool {
        self.pending.iter().all(|(_, write)| matches!(write, Write::Compact(_)))
    }

    /// Forgets what was not durable.
    pub fn crash(&mut self) {
        self.pending.clear();
    }

    /// Panics if what `node` is about to say or do claims more than its disk would show after a crash.
    pub fn vouch(&self, node: NodeId, effect: &Effect) {
        match effect {
            Effect::Send { message, .. } => self.vouch_message(node, message),
            Effect::Datagram { vote, .. } => self.vouch_vote(node, vote),
            Effect::Commit { counter } => {
                assert!(*counter <= self.last().counter, "rule 24: {counter} is applied but not durable");
            }
            Effect::Read { from, to, .. } => {
                assert!(*from > self.base.counter, "{from} is read but deleted");
                assert!(*to <= self.last().counter, "{to} is read but not durable");
            }
            _ => {}
        }
    }

    /// Panics if `node` is about to send a message that claims more than its disk would show after a crash.
    pub fn vouch_message(&self, node: NodeId, message: &Message) {
        let sealed = self.founding.as_ref().is_some_and(|founding| founding.sealed);
        match message {
            Message::FollowerEpoch { accepted, .. } => {
                assert!(sealed, "a message before the seal is durable");
                assert!(self.is_settled(), "rule 11a: writes are in flight at CEPOCH");
                assert_eq!(*accepted, self.hard.accepted_epoch, "CEPOCH tells the durable promise");
            }
            Message::NewEpoch(epoch) => {
                let promise = (self.hard.accepted_epoch, self.hard.accepted_leader);
                assert_eq!(promise, (*epoch, Some(node)), "NEWEPOCH before the leader's own promise");
            }
            Message::AckEpoch { epoch, current, last, .. } => {
                assert_eq!(*epoch, self.hard.accepted_epoch, "ACKEPOCH before the promise");
                assert_eq!(*current, self.hard.current_epoch, "ACKEPOCH tells the durable epoch");
                assert_eq!(*last, self.last(), "ACKEPOCH tells the durable log");
                assert!(self.is_settled(), "rule 11a: writes are in flight at ACKEPOCH");
            }
            Message::AckNewLeader { epoch, last } | Message::Ack { epoch, last } => {
                assert_eq!(self.hard.current_epoch, *epoch, "rule 22: ack while a < e");
                assert!(self.holds(*last), "ack of {last}, which is not durable");
            }
            Message::Progress { last, .. } => {
                assert!(self.holds(*last), "progress to {last}, which is not durable");
            }
            Message::HeartbeatAck { epoch, .. } => {
                assert_eq!(self.hard.accepted_epoch, *epoch, "a heartbeat is answered within the promise");
            }
            Message::Prepared(ensemble) => {
                let own = self.founding.as_ref().map(|founding| founding.genesis.ensemble);
                assert_eq!(own, Some(*ensemble), "PREPARED before the genesis is durable");
            }
            Message::Seal(ensemble) => {
                let own = self.founding.as_ref().filter(|_| sealed).map(|founding| founding.genesis.ensemble);
                assert_eq!(own, Some(*ensemble), "SEAL before the seal is durable");
            }
            _ => {}
        }
    }

    /// The same for a vote.
    pub fn vouch_vote(&self, node: NodeId, vote: &Vote) {
        assert!(self.founding.as_ref().is_some_and(|founding| founding.sealed), "a vote before the seal");
        let own = vote.candidate.node == node && vote.state != VoteState::Following;
        if own {
            assert!(vote.candidate.epoch <= self.hard.current_epoch, "a vote claims an epoch");
            assert!(self.holds(vote.candidate.last), "a vote claims {}", vote.candidate.last);
        }
    }
}
