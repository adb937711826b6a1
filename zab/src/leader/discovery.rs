//! Discovery: promises of followers, and epochs that cannot be had (rules 11 to 14).

use alloc::vec::Vec;

use super::{Leader, Stage};
use crate::{
    effect::Notice,
    history::Epochs,
    message::{Message, Reason},
    progress::Progress,
    state::{Core, Next},
    types::{Epoch, LinkId, Zxid},
};

impl Leader {
    pub(super) fn on_follower_epoch(&mut self, core: &mut Core, link: LinkId, accepted: Epoch) -> Next {
        if self.uses(link) {
            return Next::Stay;
        }
        let discovering = matches!(self.stage, Stage::Discovering);
        if !discovering && accepted > self.epoch && core.is_plausible(accepted) {
            return self.rediscover(core, link, accepted);
        }
        self.admit(core, link, accepted);
        self.check(core)
    }

    /// Admits a follower or learner, whose FollowerEpoch was received.
    pub(super) fn admit(&mut self, core: &mut Core, link: LinkId, accepted: Epoch) {
        let Some(hello) = core.links.get_mut(&link).and_then(|link| {
            link.follower_epoch = None;
            link.hello.clone()
        }) else {
            return core.close(link);
        };
        if hello.ensemble != core.ensemble() {
            return core.refuse(link, Reason::OtherEnsemble); // A node counts only after its seal is durable.
        }
        if !core.is_plausible(accepted) {
            return core.refuse(link, Reason::Version);
        }
        // A node has one connection to its leader: an older one of the same data directory is stale.
        let same =
            |progress: &Progress| (progress.node, progress.incarnation()) == (hello.node, hello.incarnation);
        let older = self.followers().find(|(_, progress)| same(progress));
        if let Some((older, heard)) = older.map(|(link, progress)| (link, progress.heard)) {
            probe!("lead.follower-reconnects");
            core.check_reconnect(link, (older, heard));
            self.drop_follower(core, older, "it has connected again");
        }
        let progress = Progress::new(&hello, accepted, core.now);
        self.note_contact(core, hello.node, hello.incarnation);
        if !progress.is_voter(core.configuration()) {
            probe!("lead.nonvoting-follower");
            if core.configuration().voter_with_id(hello.node).is_some() {
                core.notice(Notice::UnrecordedIncarnation { peer: hello.node });
            }
        }
        self.followers.insert(link, progress);
        if self.has_begun() {
            probe!("lead.late-follower");
            core.send(link, Message::NewEpoch(self.epoch));
        }
    }

    /// A node that has promised this epoch or a later one to another leader can never join this leadership: steps
    /// down, to run discovery again above its promise; at most once in two election timeouts (rule 14).
    fn rediscover(&mut self, core: &mut Core, link: LinkId, accepted: Epoch) -> Next {
        core.epoch_floor = core.epoch_floor.max(accepted);
        let interval = core.config.timeouts.election * 2;
        let due = core.rediscovered.is_none_or(|at| core.now.since(at) >= interval);
        if planted!(due, ignores_higher_promise => false) {
            probe!("lead.sees-higher-epoch");
            probe!("lead.sees-higher-epoch-when-established", self.established().is_some());
            core.rediscovered = Some(core.now);
            // The connection stays: its promise is the first of the next discovery.
            if !self.uses(link)
                && let Some(state) = core.links.get_mut(&link)
            {
                state.follower_epoch = Some(accepted);
            }
            return Next::Look("a node has promised a later epoch");
        }
        self.take_follower(core, link);
        core.refuse(link, Reason::TooSoon);
        Next::Stay
    }

    pub(super) fn on_ack_epoch(
        &mut self,
        core: &mut Core,
        link: LinkId,
        (current, last): (Epoch, Zxid),
        oldest: Zxid,
        boundaries: Vec<Zxid>,
    ) -> Next {
        let Some(progress) = self.followers.get_mut(&link) else { return Next::Stay };
        if !progress.awaits_ack_epoch() {
            return Next::Stay;
        }
        // Only a leader of a later epoch could have truncated its log, and this node would have promised that epoch.
        let acknowledged = self.acknowledged.get(&(progress.node, progress.incarnation())).copied();
        let epoch = self.epoch;
        let lost = |acknowledged: &u64| current < epoch || last.counter < *acknowledged;
        // For as long as the connection lasts: a snapshot does not bring promises back.
        progress.outdated = progress.outdated.or(acknowledged.filter(lost));
        let Some(log) = Epochs::new(oldest, boundaries).filter(|log| log.last() == last) else {
            return self.drop_follower(core, link, "its description of its log is invalid");
        };
        // Rule 12 holds until the quorum is complete. Later a voter may well have more: an unacknowledged tail, which
        // is truncated.
        let newer = progress.is_voter(core.configuration())
            && planted!((current, last) > (self.own.epoch, self.own.last), leads_with_older_history => false);
        if newer && matches!(self.stage, Stage::Promising { .. } | Stage::Gathering) {
            probe!("lead.steps-down");
            return Next::Look("a follower has a newer history");
        }
        probe!("lead.voter-ahead", newer);
        progress.promise(log);
        if matches!(self.stage, Stage::Synchronising | Stage::Established) {
            self.synchronise(core, link);
        }
        self.check(core)
    }

    pub(super) fn on_refuse_epoch(&mut self, core: &mut Core, link: LinkId, accepted: Epoch) -> Next {
        if accepted >= self.epoch && core.is_plausible(accepted) {
            self.rediscover(core, link, accepted)
        } else {
            self.drop_follower(core, link, "it refuses the epoch")
        }
    }
}
