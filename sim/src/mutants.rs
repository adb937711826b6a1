//! The planted faults (mutants) of `zab`, `store`, `node` and `log`: what each one does, and a run that must catch it.
//!
//! They measure what the simulator can find. They exist only in the instrumented build (see `gometa_marks`). Benign
//! mutants change behaviour that no rule fixes, and must not be caught. Three mutants of `log` are not in the table,
//! because no run catches them. The tests in `log/tests/durability` catch all mutants of `log`.

use std::{fmt, time::Duration};

use crate::{
    changes::Changes,
    runner::{self, Plan, Summary},
};

/// Seeds that a benign mutant is given.
const BENIGN_SEEDS: u64 = 300;

/// A planted fault.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its number: M for harmful, L for harmful and in `log`, or B for benign; and two digits.
    pub id: &'static str,
    /// Its name in the code, in `planted!`.
    pub name: &'static str,
    /// The faulty behaviour.
    pub what: &'static str,
    /// The rules and invariants that it breaks, as numbered in `docs/protocol.md`; log rules in `log/src/lib.rs`.
    pub breaks: &'static str,
}

impl Mutant {
    /// Whether it breaks no rule.
    pub fn is_benign(&self) -> bool {
        self.id.starts_with('B')
    }

    /// The columns of its row in a document that no run can change.
    fn columns(&self) -> String {
        let Mutant { id, name, what, breaks } = self;
        format!("| {id} | `{name}` | {what} | {breaks} |")
    }
}

/// Makes the table: number, name in the code, behaviour, broken rules and invariants.
macro_rules! mutants {
    ($($id:ident $name:ident: $what:literal, $breaks:literal;)+) => {
        /// All mutants, by number.
        pub const MUTANTS: &[Mutant] =
            &[$(Mutant { id: stringify!($id), name: stringify!($name), what: $what, breaks: $breaks }),+];
    };
}

mutants! {
    M01 acks_before_sync: "a follower acknowledges entries before they are synced", "rule 22, invariant 14";
    M02 acks_new_leader_before_sync: "a follower acknowledges NewLeader before history and epoch are durable",
        "rule 18, invariant 14";
    M03 writes_epoch_before_history: "a follower makes the current epoch durable before the history",
        "rule 18, invariant 10";
    M04 promises_before_sync: "a follower acknowledges an epoch before its promise is durable",
        "rule 11, invariant 14";
    M05 proposes_epoch_before_own_sync: "a leader proposes an epoch before its own promise is durable",
        "rule 11, invariant 14";
    M06 promises_epoch_to_two_leaders: "a follower acknowledges one epoch to two leaders", "rule 11, invariant 13";
    M07 promises_lower_epoch: "a follower accepts an epoch below its promise", "rule 11, invariant 13";
    M08 offers_history_with_writes_pending: "a follower reports its history while storage writes are pending",
        "rule 11a";
    M09 leads_with_older_history: "a leader does not step down for a voter with a newer history",
        "rule 12, invariant 10";
    M10 claims_epoch_without_quorum: "a leader claims its epoch without promises from a quorum",
        "rule 13, invariant 10";
    M11 established_without_quorum: "a leader is established before a quorum holds its initial history",
        "rule 19, invariant 15";
    M12 keeps_divergent_tail: "a follower keeps entries that its leader does not have", "rule 16, invariant 21";
    M13 truncates_in_memory_only: "a truncation changes the memory and not the log on disk", "rule 16, invariant 12";
    M14 truncates_one_entry_too_many: "synchronisation truncates one entry too many", "rule 16, invariant 15";
    M15 counts_acks_of_unrecorded_incarnation: "acks from a voter with an unrecorded incarnation are counted",
        "rule 23, invariant 15";
    M16 commit_index_falls: "the commit index can fall", "rule 23, invariant 15";
    M17 commits_without_quorum: "a leader commits entries that only it holds", "rule 23, invariant 15";
    M18 counts_progress_as_ack: "Progress before AckNewLeader is counted as an ack", "rule 23, invariant 15";
    M19 drops_proposals_before_up_to_date: "proposals between NewLeader and UpToDate are not logged",
        "rule 19, invariant 12";
    M20 passes_barrier_without_quorum: "a barrier passes without a quorum", "section 6.2, invariant 18";
    M21 joins_started_barrier_round: "a read joins a barrier round whose heartbeats were already sent",
        "section 6.2, invariant 18";
    M22 ignores_higher_promise: "a leader ignores a voter that has promised a later epoch", "rule 14, invariant 21";
    M23 keeps_durable_mark_on_truncate: "the durable mark does not fall when the log is truncated", "rule 24";
    M24 votes_with_unsynced_entries: "a vote names entries that are not durable", "rule 2, invariant 14";
    M25 leader_counts_unsynced_entries: "a leader counts its own entries before they are synced",
        "rule 22, invariant 15";
    M26 unrecorded_incarnation_votes: "a voter with an unrecorded incarnation takes part in elections",
        "section 5.8, invariant 8";
    M27 applies_uncommitted_entries: "a follower applies entries before they are known to be committed",
        "rule 20, invariant 15";
    M28 applies_unsynced_entries: "entries are applied before they are durable on this node", "rule 24, invariant 15";
    M29 seals_before_all_prepared: "the coordinator seals the genesis before all voters have prepared it",
        "formation";
    M30 takes_part_before_sealed: "a node takes part in the protocol before its seal is durable",
        "formation, invariant 14";
    M31 reports_prepared_before_sync: "a node reports the genesis as prepared before it is durable",
        "formation, invariant 14";
    M32 executes_duplicate_write: "a write that is in the log twice is executed twice", "section 6.9, invariant 19";
    M33 executes_write_below_floor: "a write below its session's floor is executed", "section 6.9, invariant 19";
    M34 executes_write_of_ended_session: "a write is executed after its session has ended",
        "section 6.9, invariant 19";
    M35 loses_sessions_on_restart: "a restart loses the session table", "section 6.9, invariant 17";
    M36 reads_before_barrier_applied: "a read is answered before the barrier's commit index is applied",
        "section 6.2, invariant 18";
    M37 forgets_earlier_attempts: "a write that was forwarded earlier is reported as not applied",
        "section 6.8, invariant 19";
    M38 local_read_ignores_min_revision: "a local read does not wait for min_revision", "section 6.2, invariant 18";
    M39 compares_logs_by_length: "logs are compared by length instead of by epochs", "rule 16, invariant 21";
    M40 expires_sessions_early: "a session expires before its timeout", "section 6.9";
    M41 leads_without_quorum_in_reach: "a leader goes on without a reachable quorum", "section 6.6, invariant 21";
    M42 follows_silent_leader: "a follower never gives up a silent leader", "invariant 21";
    M43 reuses_promised_epoch: "a new leader takes an epoch that was already promised", "rule 11, invariant 13";
    M44 draws_epoch_with_writes_pending: "a leader chooses its epoch while storage writes are pending",
        "rule 11a, invariant 13";
    M45 synchronises_before_claim_sync: "a leader synchronises followers before its claim is durable",
        "rule 13, invariant 14";
    M46 barrier_has_older_commit_index: "a barrier returns a commit index older than its round",
        "section 6.2, invariant 18";
    M47 drops_last_proposals: "proposals of a leadership's last step are not logged", "invariant 12";
    M48 keeps_truncated_entries_in_memory: "truncated entries stay in memory", "rule 16, invariant 15";
    M49 session_floor_stays: "a session's floor is not raised", "section 6.9, invariant 17";
    M50 local_read_before_synchronised: "local reads are answered before the first synchronisation", "section 6.2";
    M51 cas_ignores_revision: "cas ignores the expected revision", "invariant 18";
    M52 keeps_ended_session_in_table: "an ended session stays in the table", "section 6.9, invariant 17";
    M53 serves_before_applied: "a node serves before it has applied what was committed when it joined",
        "rule 20, section 6.2";
    M54 sends_commit_before_established: "a leader sends a commit index before it is established",
        "rule 19, invariant 15";
    M55 any_message_confirms_barrier: "any message from a follower confirms a barrier round",
        "section 6.2, invariant 18";
    M56 any_heartbeat_ack_confirms_barrier: "an ack of any earlier heartbeat confirms a barrier round",
        "section 6.2, invariant 18";
    M57 ack_confirms_barrier: "an Ack of proposals confirms a barrier round", "section 6.2, invariant 18";
    M58 previous_heartbeat_confirms_barrier: "an ack of the previous heartbeat confirms a barrier round",
        "section 6.2, invariant 18";
    M59 recent_contact_confirms_barrier: "recent contact confirms a barrier round", "section 6.2, invariant 18";
    M60 counts_acks_of_earlier_epochs: "acks of earlier epochs are counted", "rule 23, invariant 15";
    M61 counts_acks_of_disconnected_voters: "acks of earlier epochs are counted for disconnected voters",
        "rule 23, invariant 15";
    M62 counts_earlier_synchronisation: "synchronisation in an earlier epoch counts for establishment",
        "rule 19, invariant 15";
    M63 sends_no_alive: "no Alive is sent while a node waits for its disk in discovery", "invariant 21";
    M64 session_end_not_replicated: "the end of a session is acknowledged and not replicated", "invariant 16";
    M65 pause_counts_as_session_silence: "a pause of the leader counts as silence of its sessions", "section 6.9";
    M66 expires_sessions_in_late_step: "sessions expire in the step that detects a pause", "section 6.9";
    M67 proposes_held_write_twice: "a held write is proposed twice, and one refusal reported as not applied",
        "section 6.8, invariant 19";
    M68 records_no_addresses: "a leader does not record the members' new addresses", "section 5.3, invariant 21";
    M69 compacts_above_flushed_state: "the log is deleted above the counter through which the state is durable",
        "section 7, invariant 12";
    M70 labels_snapshot_by_memory: "a snapshot is labelled with the counter in memory, not with its own", "section 7";
    M71 replaces_log_that_holds_snapshot: "a snapshot replaces a log that holds it", "section 7, invariant 14";
    M72 installs_senders_hard_state: "the current epoch of the leader is installed with its snapshot",
        "rule 18, invariant 10";
    M73 applies_while_installing: "batches of the old state reach the new one", "section 7, invariant 17";
    M74 counts_snapshot_receivers: "the receiver of a snapshot is counted before AckNewLeader",
        "rule 19, invariant 15";
    M75 stored_counts_as_persisted: "a batch in the table counts as a durable write to the log", "rule 24, invariant 14";
    M76 answer_replaces_newer_record: "the answer of a read of the table replaces a record that has changed since",
        "invariant 17";
    M77 drops_record_while_read: "a record leaves the memory while it is being read", "invariant 17";
    M78 keeps_truncated_entries_ahead: "entries that were read ahead are applied after their truncation",
        "rule 16, invariant 3";
    M79 compares_hashes_of_other_counters: "state hashes of different counters are compared",
        "section 5.10, invariant 22";
    M80 compares_hashes_without_incarnation: "the state hash of another incarnation counts as the voter's",
        "section 5.10, invariant 22";
    M81 compares_connected_voters_only: "a majority of the voters that have reported decides which state is right",
        "section 5.10, invariant 22";
    M82 quarantines_two_nodes_at_once: "a second node is told to go into quarantine before the first is back",
        "section 5.10, invariant 22";
    M83 quarantines_without_majority: "a leader orders a node into quarantine although the other voters are not a majority",
        "section 5.10, invariant 22";
    M84 alters_record: "records are altered when they are written to the table", "invariants 17 and 18";
    M85 does_not_record_configuration: "the state does not record the configuration of an applied entry",
        "section 5.3, invariant 17";
    M86 ignores_configuration_of_snapshot: "the configuration of an installed snapshot does not take effect",
        "section 5.3, invariant 20";
    M87 keeps_truncated_configuration: "a truncation does not take a configuration back",
        "section 5.3, invariant 20";
    M88 changes_before_previous_change_is_committed: "a change is proposed before the one before it is committed",
        "section 5.1, invariant 20";
    M89 proposes_own_removal: "a leader proposes to take its own vote away",
        "section 5.6, invariant 20";
    M90 sends_removal_before_commit: "a node is sent the removal of its vote before it is committed",
        "section 5.6, invariant 20";
    M91 counts_acks_of_learners: "acks of learners are counted",
        "section 5.5, invariant 15";
    M92 counts_acks_by_committed_configuration: "a leader counts by the applied configuration instead of the latest one",
        "section 5.5, invariant 15";
    M93 ignores_leader_with_later_configuration: "a node does not follow its candidate that leads with a later configuration",
        "section 5.5, invariant 21";
    M94 hands_over_before_target_has_all: "a leader hands over before the target holds its log and all of it is committed",
        "section 6.10, invariant 23";
    M95 leads_on_after_handoff: "a leader goes on leading after its HANDOFF", "section 6.10, invariant 23";
    M96 proposes_during_transfer: "a leader proposes while it waits to hand over", "section 6.10, invariant 23";
    M97 never_takes_transfer_back: "a transfer is not taken back after an election timeout",
        "section 6.10, invariant 23";
    M98 lets_expiries_wait: "the end of a silent session waits for the end of a transfer", "section 6.10";
    M99 proposes_no_own_changes: "a leader does not give a vote back", "section 5.8, invariant 21";
    M100 forgets_desired_role: "a voter with another directory stays a learner", "section 5.8, invariant 20";
    M101 answers_before_change_is_committed: "a request is answered by a change that is not committed",
        "section 5.11, invariant 20";
    M102 forgets_replacement: "a promotion ends the replacement of another member", "section 5.2, invariant 20";
    M103 founds_without_quorum: "a minority of the voters founds an ensemble", "section 5.7";
    M104 replaces_genesis_of_other_author: "a node that has prepared a genesis replaces it by that of another author",
        "section 5.7";
    M105 leads_on_with_slow_disk: "a leader whose disk is slow never hands over to one with a quick disk",
        "section 6.10, invariant 21";
    M106 forgets_superseded_version: "the version that a write supersedes is not kept", "section 7.7, invariant 24";
    M107 drops_history_above_horizon: "more history is dropped than what is below the horizon", "section 7.7, invariant 24";
    M108 reads_below_horizon: "a page below the horizon is read", "section 7.8, invariant 24";
    M109 continues_behind_next_key: "a page continues behind the key after its last one", "section 7.8, invariant 24";
    M110 reads_later_version: "a page has a version that is later than its revision", "section 7.8, invariant 24";
    M111 reads_page_before_table_has_it: "a page is read before the table has what it must show", "section 7.8, invariant 24";
    M112 one_comparison_is_enough: "a transaction succeeds if one of its comparisons holds", "section 7.9, invariant 25";
    M113 executes_first_write_only: "a transaction executes only the first write of its branch", "section 7.9, invariant 25";
    M114 reads_before_own_writes: "a read in a transaction does not see what the transaction wrote before", "section 7.9, invariant 25";
    M115 reads_results_at_present: "what a transaction wrote and read is read at the present revision", "section 7.9, invariant 25";
    M116 ignores_guard: "a write is executed although its guard fails", "section 7.10";
    M117 reads_ranges_before_table_has_all: "the ranges of a transaction are read before the table has all that was applied", "section 7.9";
    M118 compares_only_the_count: "a comparison of a range does not look at the revisions of its keys", "section 7.9, invariant 25";
    M119 deletes_range_without_its_last_key: "the deletion of a range leaves its last key", "section 7.9, invariant 25";
    M120 leaves_out_deletions: "the versions of a key lack its deletions", "section 7.12, invariant 26";
    M121 leaves_out_version_at_horizon: "the versions of a key lack the one that it had at the horizon", "section 7.12, invariant 26";
    M122 keeps_ranges_of_replaced_table: "an installation does not end the reading of the next entry's ranges", "section 7.9, invariant 25";
    M123 keeps_epoch_of_lost_quorum: "the ensemble is founded anew in an epoch that the survivor has promised already",
        "section 5.13, invariant 27";
    M124 keeps_history_of_lost_quorum: "the ensemble is founded anew, and its history id stays the same",
        "section 5.13, invariant 27";
    M125 founds_lower_history: "the ensemble is founded anew with a lower history id",
        "section 5.13, invariant 21";
    M126 keeps_lost_voters: "the ensemble is founded anew, and the lost voters stay members",
        "section 5.13, invariant 21";
    M127 removes_lost_voters_at_once: "the lost voters are removed by one entry",
        "section 5.13, invariant 20";
    M128 keeps_sessions_of_lost_quorum: "the ensemble is founded anew, and its sessions stay open",
        "section 5.13, invariant 27";
    M129 keeps_logged_sessions_of_lost_quorum:
        "only sessions of the state end, and none that entries above it have opened", "section 5.13, invariant 27";
    M130 compares_survivors_by_counter: "the survivor with the highest counter is founded anew, whatever its epochs",
        "section 5.13, invariant 27";
    M131 takes_part_in_other_history: "votes and connections of an earlier or a later history are accepted",
        "section 5.13, invariant 27";
    L01 accepts_base_above_state: "a start accepts a log that begins above the durable state", "log rule 6";
    L02 begins_without_directory_sync: "the name of a new segment is not synced", "log rule 5";
    L03 commits_without_sync: "a batch is reported without a sync", "log rule 1";
    L04 deletes_segments_above_base: "segments are deleted that have entries above the base", "log rule 6";
    L05 does_not_repeat_last_batch: "a start does not write the last batch again", "log rule 5";
    L06 ignores_mark: "a start does not compare the log with the mark", "log rule 4";
    L07 ignores_truncation_in_header: "a start ignores the truncation that a header names", "log rule 2";
    L08 raises_mark_before_sync: "the mark names a batch that is not synced", "log rule 4";
    L09 renames_segment_before_sync: "a segment gets its number before its contents are synced", "log rule 5";
    L10 shortens_last_segment_early: "a start cuts the last segment before the next one is begun", "log rule 5";
    B01 halves_heartbeat_rate: "the heartbeat interval is doubled", "nothing";
    B02 sends_entries_one_by_one: "entries are sent one by one", "nothing";
    B03 sends_commit_twice: "each Commit is sent twice", "nothing";
    B04 resends_votes_with_more_jitter: "votes are resent with more jitter", "nothing";
}

/// The result of running a mutant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The mutant.
    pub mutant: Mutant,
    /// The first seed that caught it, counted from 1; if none did, the number of seeds run.
    pub seeds: u64,
    /// The invariant that caught it, and the details.
    pub caught: Option<(&'static str, String)>,
    /// The time that the run took.
    pub took: Duration,
}

impl Verdict {
    /// Whether a harmful mutant was caught, or a benign one was not.
    pub fn is_good(&self) -> bool {
        self.caught.is_some() != self.mutant.is_benign()
    }
}

impl Verdict {
    fn caught_by(&self) -> String {
        match &self.caught {
            // A panic is a failed assertion, which its message names.
            Some((invariant, detail)) if *invariant == "no panic" => {
                let first: String = detail.lines().next().unwrap_or_default().chars().take(50).collect();
                format!("assertion: {first}")
            }
            Some((invariant, _)) => (*invariant).to_owned(),
            None => "nothing".to_owned(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mutant { id, what, .. } = self.mutant;
        let flag = if self.is_good() { " " } else { "!" };
        write!(f, "{flag} {id}  {what:<70}  {:>6}  {}", self.seeds, self.caught_by())
    }
}

/// The head of the table of mutants in a document.
const TABLE_HEAD: &str =
    "| | name | faulty behaviour | breaks | caught by | seeds |\n|---|---|---|---|---|---|\n";

/// Splits a document into what is before the rows of the table of mutants, the rows, and what follows.
fn split_table(document: &str) -> Option<(&str, &str, &str)> {
    let start = document.find(TABLE_HEAD)? + TABLE_HEAD.len();
    let rows: usize =
        document[start..].split_inclusive('\n').take_while(|row| row.starts_with('|')).map(str::len).sum();
    Some((&document[..start], &document[start..start + rows], &document[start + rows..]))
}

/// Replaces the rows of the table of mutants in a document; `None` if it has no such table.
pub fn with_table(document: &str, verdicts: &[Verdict]) -> Option<String> {
    let (before, _, after) = split_table(document)?;
    let row = |verdict: &Verdict| {
        format!("{} {} | {} |\n", verdict.mutant.columns(), verdict.caught_by(), verdict.seeds)
    };
    Some([before, &verdicts.iter().map(row).collect::<String>(), after].concat())
}

/// Whether this program was built with mutants.
pub fn is_built_in() -> bool {
    cfg!(gometa_instrumented)
}

/// The mutant with this number.
pub fn of_id(id: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.id == id)
}

/// Activates a mutant in the whole process, or none.
#[cfg(gometa_instrumented)]
pub fn choose(mutant: Option<&Mutant>) {
    gometa_marks::activate(mutant.map(|mutant| gometa_marks::mutant(mutant.name)));
}

/// Does nothing: this program has no mutants.
#[cfg(not(gometa_instrumented))]
pub fn choose(_: Option<&Mutant>) {}

/// The first seeds of mutants that few seeds catch: each is shortly before one that does.
const STARTS: &[(&str, u64)] = &[("M80", 20_300), ("M98", 6_600)];

/// Runs a mutant until it is caught or the seeds are used up. No other simulation may run in the process meanwhile.
pub fn judge(mutant: &Mutant, seeds: u64, threads: usize) -> Verdict {
    let seeds = if mutant.is_benign() { seeds.min(BENIGN_SEEDS) } else { seeds };
    let start = STARTS.iter().find(|(id, _)| *id == mutant.id).map_or(0, |(_, start)| *start);
    let plan = Plan { start, seeds, threads, all: false, changes: Changes::default() };
    choose(Some(mutant));
    let mut took = Duration::ZERO;
    let summary: Summary = runner::run_many(&plan, |_, elapsed| took = elapsed);
    choose(None);
    // Seeds run in order and each to its end, so the first failure is the lowest seed that fails.
    let first = summary.failures.into_iter().next();
    let seeds = first.as_ref().map_or(summary.seeds, |outcome| outcome.seed + 1);
    let violation = first.and_then(|outcome| outcome.violation);
    let caught = violation.map(|violation| (violation.invariant, violation.detail));
    Verdict { mutant: *mutant, seeds, caught, took }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_describes_every_mutant_once() {
        let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        let in_log = |name: &&str| gometa_marks::LOG_MUTANTS.contains(name);
        let (of_log, others): (BTreeSet<&str>, BTreeSet<&str>) = names.iter().copied().partition(in_log);
        assert_eq!(others, gometa_marks::MUTANTS.iter().copied().collect());
        assert_eq!(of_log.len(), MUTANTS.iter().filter(|mutant| mutant.id.starts_with('L')).count());
        let ids: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.id).collect();
        assert_eq!((ids.len(), names.len()), (MUTANTS.len(), MUTANTS.len()));
    }

    #[test]
    fn the_document_has_a_row_for_every_mutant() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/evidence.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (_, rows, _) = split_table(&document).unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        for (row, mutant) in rows.iter().zip(MUTANTS) {
            assert!(
                row.starts_with(&mutant.columns()),
                "{row}: gometa-sim --mutants --evidence docs/evidence.md"
            );
        }
        assert_eq!(rows.len(), MUTANTS.len());
    }

    #[test]
    fn there_are_enough_mutants() {
        let benign = MUTANTS.iter().filter(|mutant| mutant.is_benign()).count();
        assert!(benign >= 4);
        assert!(MUTANTS.len() - benign >= 24);
    }
}
