//! The names of all marks, in alphabetical order.

/// The names of the planted faults. What each one breaks is described in `sim/src/mutants.rs`.
pub const MUTANTS: &[&str] = &[
    "ack_confirms_barrier",
    "acks_before_sync",
    "acks_new_leader_before_sync",
    "any_heartbeat_ack_confirms_barrier",
    "any_message_confirms_barrier",
    "applies_uncommitted_entries",
    "applies_unsynced_entries",
    "barrier_has_older_commit_index",
    "cas_ignores_revision",
    "claims_epoch_without_quorum",
    "commit_index_falls",
    "commits_without_quorum",
    "compares_logs_by_length",
    "counts_acks_of_disconnected_voters",
    "counts_acks_of_earlier_epochs",
    "counts_acks_of_unrecorded_incarnation",
    "counts_earlier_synchronisation",
    "counts_progress_as_ack",
    "draws_epoch_with_writes_pending",
    "drops_last_proposals",
    "drops_proposals_before_up_to_date",
    "established_without_quorum",
    "executes_duplicate_write",
    "executes_write_below_floor",
    "executes_write_of_ended_session",
    "expires_sessions_early",
    "expires_sessions_in_late_step",
    "follows_silent_leader",
    "forgets_earlier_attempts",
    "halves_heartbeat_rate",
    "ignores_higher_promise",
    "joins_started_barrier_round",
    "keeps_divergent_tail",
    "keeps_durable_mark_on_truncate",
    "keeps_ended_session_in_table",
    "keeps_truncated_entries_in_memory",
    "leader_counts_unsynced_entries",
    "leads_with_older_history",
    "leads_without_quorum_in_reach",
    "local_read_before_synchronised",
    "local_read_ignores_min_revision",
    "loses_sessions_on_restart",
    "offers_history_with_writes_pending",
    "passes_barrier_without_quorum",
    "pause_counts_as_session_silence",
    "previous_heartbeat_confirms_barrier",
    "promises_before_sync",
    "promises_epoch_to_two_leaders",
    "promises_lower_epoch",
    "proposes_epoch_before_own_sync",
    "proposes_held_write_twice",
    "reads_before_barrier_applied",
    "recent_contact_confirms_barrier",
    "reports_prepared_before_sync",
    "resends_votes_with_more_jitter",
    "reuses_promised_epoch",
    "seals_before_all_prepared",
    "sends_commit_before_established",
    "sends_commit_twice",
    "sends_entries_one_by_one",
    "sends_no_alive",
    "sends_no_announcements",
    "serves_before_applied",
    "session_end_not_replicated",
    "session_floor_stays",
    "synchronises_before_claim_sync",
    "takes_part_before_sealed",
    "truncates_in_memory_only",
    "truncates_one_entry_too_many",
    "unrecorded_incarnation_votes",
    "votes_with_unsynced_entries",
    "writes_epoch_before_history",
];

/// The names of the probes: the subject, then what happened.
pub const PROBES: &[&str] = &[
    "apply.from-the-log",
    "apply.waits-for-own-disk",
    "apply.waits-for-the-table",
    "barrier.shared",
    "barrier.without-leader",
    "commit.without-own-disk",
    "deadline.of-what-may-happen",
    "deadline.of-what-was-not-proposed",
    "election.begins-to-ignore",
    "election.candidate-ignored",
    "election.grows-while-looking",
    "election.higher-round",
    "election.joins-established",
    "election.leader-ignored",
    "election.lower-round-answered",
    "election.may-not-campaign",
    "election.over-without-everyone",
    "election.own-name-corrected",
    "election.quorum-lost",
    "election.round-capped",
    "election.seeker",
    "election.vote-without-weight",
    "epoch.promised-to-it-before",
    "epoch.refused",
    "follow.alive-before-the-epoch",
    "follow.connection-lost-in-sync",
    "follow.connection-unwanted",
    "follow.dials-again",
    "follow.leader-does-not-lead",
    "follow.leader-out-of-reach",
    "follow.leader-silent",
    "follow.leader-silent-in-sync",
    "follow.own-disk-stalls",
    "follow.refuses-a-follower",
    "follow.refuses-an-early-follower",
    "follow.settles-first",
    "formation.asks-anew",
    "formation.begins-again",
    "formation.contact-lost",
    "formation.directory-lost",
    "formation.hello-too-late",
    "formation.informs",
    "formation.news-while-writing",
    "formation.older-connection",
    "formation.prepared-anew",
    "formation.prepared-over-a-write",
    "formation.seal-missed",
    "formation.seal-out-of-place",
    "formation.starts-prepared",
    "forward.refused",
    "keys.delete-of-nothing",
    "lead.abdicates",
    "lead.alive-before-heartbeats",
    "lead.applies-before-it-serves",
    "lead.commits-inherited",
    "lead.early-follower",
    "lead.ends-with-barriers",
    "lead.ends-with-fresh-proposals",
    "lead.follower-before-victory",
    "lead.follower-connects-anew",
    "lead.follower-holds-more-than-initial",
    "lead.follower-silent",
    "lead.follower-without-vote",
    "lead.late-joiner",
    "lead.outbid",
    "lead.outbid-when-established",
    "lead.own-disk-stalls",
    "lead.quorum-lost",
    "lead.supporter-leaves",
    "lead.supporters-gone",
    "lead.voter-holds-more",
    "link.dialled-too-late",
    "link.idle-closed",
    "link.message-after-its-end",
    "members.moved",
    "members.told-by-the-leader",
    "memory.evicts-what-is-not-applied",
    "memory.keeps-beyond-its-budget",
    "propose.too-many",
    "propose.without-leader",
    "read.asks-again",
    "read.follower-told-to-ask-again",
    "read.leader-could-not-confirm",
    "read.local-ahead-of-this-node",
    "read.local-before-the-first-synchronisation",
    "read.outlives-a-leader",
    "relay.leader-lost",
    "request.cancelled",
    "request.client-gone",
    "request.no-leader-for-long",
    "request.too-many",
    "request.turned-away",
    "session.end-hides-an-outcome",
    "session.end-refused",
    "session.ended-already",
    "session.ended-at-a-clients-request",
    "session.ended-before-its-batch",
    "session.ended-twice",
    "session.forgets",
    "session.open-already",
    "session.opened-twice",
    "session.out-of-order",
    "session.pause-does-not-count",
    "session.silent-too-long",
    "session.write-after-its-end",
    "session.write-below-the-floor",
    "session.write-twice-in-the-log",
    "sync.applies-before-it-serves",
    "sync.applies-while-streaming",
    "sync.behind-its-target",
    "sync.from-disk",
    "sync.interrupted-before",
    "sync.leader-has-the-later-epoch",
    "sync.progress-while-hardening",
    "sync.propose-before-up-to-date",
    "sync.propose-while-hardening",
    "sync.read-after-leadership",
    "sync.read-for-nobody",
    "sync.trunc",
    "sync.trunc-everything",
    "sync.trunc-within-an-epoch",
    "sync.window-full",
    "table.behind-the-overlay",
    "table.overlaid-absence",
    "vote.stale",
    "write.answered-from-memory",
    "write.asked-for-twice",
    "write.forwarded-again",
    "write.held-twice",
    "write.outlives-a-leader",
    "write.proposed-again",
    "write.refusal-of-an-earlier-attempt",
    "write.refused-for-good",
    "write.settled-by-an-earlier-attempt",
];

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{fs, path::Path, string::String};

    use super::*;

    /// Appends the code below a directory, without comments and white space.
    fn collect(directory: &Path, code: &mut String) {
        for entry in fs::read_dir(directory).expect("the directory exists") {
            let path = entry.expect("the directory can be listed").path();
            if path.is_dir() {
                collect(&path, code);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the file can be read");
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                code.extend(lines.flat_map(str::split_whitespace));
            }
        }
    }

    #[test]
    fn every_name_is_in_the_code_and_every_probe_once() {
        let mut code = String::new();
        for member in ["zab", "store", "node"] {
            collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(member).join("src"), &mut code);
        }
        for name in MUTANTS {
            let in_code = |before| code.contains(&std::format!("{before}{name}=>"));
            assert!(in_code(",") || in_code("planted!("), "{name} is not in the code");
        }
        for name in PROBES {
            assert_eq!(code.matches(&std::format!("probe!(\"{name}\"")).count(), 1, "{name}");
        }
        assert_eq!(code.matches("probe!(\"").count(), PROBES.len(), "a probe is missing in the table");
        for names in [MUTANTS, PROBES] {
            assert!(names.is_sorted(), "the tables are in alphabetical order");
        }
    }
}
