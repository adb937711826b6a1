//! What runs went through, in numbers. No kind of fault may be missing in a large number of runs.

/// What a run went through, in numbers.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Logs cut back in synchronisation.
    pub truncations: u64,
    /// Epochs established.
    pub established: u64,
    /// Crashes that lost log entries which were not durable.
    pub lost_tails: u64,
    /// Crashes after which writes that were not durable had survived.
    pub surviving_tails: u64,
    /// Linearizable reads that passed a barrier and were answered.
    pub barriers: u64,
    /// Local reads answered.
    pub local_reads: u64,
    /// Pages answered.
    pub pages: u64,
    /// Pages of the versions of a key answered.
    pub histories: u64,
    /// Transactions answered.
    pub txns: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Writes acknowledged after more than one attempt.
    pub retried: u64,
    /// Committed entries without effect, because their write had happened before.
    pub suppressed: u64,
    /// Writes whose outcome their client never learned.
    pub unknown: u64,
    /// Processes started again.
    pub restarts: u64,
    /// Processes paused.
    pub pauses: u64,
    /// Directories lost.
    pub wipes: u64,
    /// Ensembles formed.
    pub formations: u64,
    /// Crashes before the ensemble was formed.
    pub early_crashes: u64,
    /// Crashes in the midst of discovery or synchronisation.
    pub sync_crashes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Connections reset or stalled.
    pub broken_links: u64,
    /// Datagrams lost, doubled, replayed, damaged or made up.
    pub faulty_datagrams: u64,
    /// Per-key histories that no order was found or excluded for within the budget.
    pub unverified: u64,
    /// Per-key histories found linearizable.
    pub verified: u64,
    /// Entries committed.
    pub committed: u64,
    /// Virtual time of the run, in microseconds.
    pub time: u64,
    /// Events.
    pub events: u64,
    /// Faults, kind by kind.
    pub faults: FaultCounts,
}

/// Declares the counts, once.
macro_rules! fault_counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Faults, in numbers.
        #[derive(Clone, Copy, Default, Debug)]
        pub struct FaultCounts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl FaultCounts {
            /// Adds others to them.
            pub fn add(&mut self, other: &FaultCounts) {
                $(self.$name += other.$name;)+
            }

            /// Every count and its name.
            pub fn fields_mut(&mut self) -> Vec<(&'static str, &mut u64)> {
                vec![$((stringify!($name), &mut self.$name),)+]
            }
        }
    };
}

fault_counts! {
    /// Syncs that took 10 ms or longer.
    disk_stalls,
    /// Syncs that took a second or longer.
    long_disk_stalls,
    /// Syncs that failed, which ended the process.
    failed_syncs,
    /// Of these, those whose data the page cache kept for the next start.
    failed_syncs_kept,
    /// Ends of a process of whose writes under way not all survived.
    torn_records,
    /// Losses of power while a start opened the log, or directly after that.
    interrupted_starts,
    /// Ends of a process, or errors of the disk, while a start opened the log, or directly after that.
    failed_starts,
    /// Processes that ended because their disk was full.
    full_disks,
    /// Starts that failed for that reason.
    full_starts,
    /// Syncs that were reported and had done nothing.
    dropped_syncs,
    /// Of these, those whose data a loss of power has lost, so that the next start detects it.
    dropped_syncs_lost,
    /// Bits flipped in segments of the log.
    flipped_bits,
    /// Of these, those that a read for another node found, which ended the process.
    flipped_bits_read,
    /// Write-ahead logs that seemed to end too early.
    early_log_ends,
    /// Databases put back to an older state.
    old_images,
    /// Nodes that stopped because what they had promised is not all there.
    stops,
    /// Of these, those started again with an empty directory.
    replaced_disks,
    /// Snapshots that were made.
    snapshots_made,
    /// Snapshots that were installed.
    snapshots_installed,
    /// Transfers of a snapshot that went on over another connection.
    resumed_transfers,
    /// Transfers of a snapshot that one side gave up.
    transfers_given_up,
    /// Parts of a snapshot that came damaged.
    damaged_parts,
    /// Complete snapshots that turned out to be wrong.
    wrong_snapshots,
    /// Snapshots of an earlier connection that were reported on a later one.
    late_snapshots,
    /// Records altered in a node's table.
    altered_records,
    /// Nodes that have found that the sum of their records is not the state hash.
    scrubs_with_findings,
    /// Nodes that went into quarantine because their state hash differed from that of a majority.
    quarantines_diverged,
    /// Nodes that went into quarantine because of damage that they had found.
    quarantines_damaged,
    /// Nodes that never came back.
    abandoned_nodes,
    /// Ensembles that stopped because a quorum of their nodes had.
    stopped_ensembles,
    /// Pauses of ten seconds or longer.
    long_pauses,
    /// Datagrams lost by chance.
    lost_datagrams,
    /// Datagrams that found their way blocked.
    blocked_datagrams,
    /// Datagrams that arrived twice.
    duplicated_datagrams,
    /// Earlier datagrams that arrived again.
    replayed_datagrams,
    /// Datagrams with flipped bits.
    damaged_datagrams,
    /// Datagrams of random bytes.
    random_datagrams,
    /// Datagrams overtaken by later ones.
    reordered_datagrams,
    /// Connections reset.
    resets,
    /// Of these, those of which one end learned late.
    half_open,
    /// Of these, those that ended within a message.
    cut_messages,
    /// Connections that stood still for a while.
    stalled_links,
    /// Connections slower than others for all of their life.
    slow_links,
    /// Messages that arrived when the two nodes had a newer connection.
    late_messages,
    /// Partitions: one node alone.
    partitions_one,
    /// Partitions: two halves.
    partitions_halves,
    /// Partitions: two halves, and one node that reaches both.
    partitions_bridge,
    /// Partitions: nothing from one node arrives.
    partitions_outbound,
    /// Partitions: nothing reaches one node.
    partitions_inbound,
    /// Partitions: any links.
    partitions_any,
    /// Partitions: the leader reaches no more than a quorum.
    partitions_quorum,
    /// Partitions whose links were stopped one by one.
    partitions_gradual,
    /// Learners added.
    learners_added,
    /// Learners promoted.
    learners_promoted,
    /// Learners removed.
    learners_removed,
    /// Voters removed.
    voters_removed,
    /// Voters with another data directory that are voters again.
    returned_voters,
    /// Replacements of a member by another one that were begun.
    replacements,
    /// Voters that were absent when the ensemble was founded with a quorum.
    absent_voters,
    /// Requests about the members.
    member_requests,
    /// Of these, those answered with success.
    member_requests_answered,
    /// Leaderships handed over.
    handovers,
    /// Transfers taken back.
    transfers_taken_back,
    /// Leaders with a slow disk that have begun to hand over.
    slow_leaders,
    /// Targets of transfers that crashed within 5 ms.
    crashed_targets,
    /// Leaders deposed while what was sent to them arrived later and later.
    late_depositions,
    /// Leaders whose followers all lost their connections at once, unnoticed by the leader.
    abandoned_leaders,
    /// Leaders that were deposed with a minority, and followed the next one when it crashed.
    deposed_minorities,
    /// Nodes established as leader again, without a restart.
    reelected_leaders,
    /// Majorities that were lost for good.
    lost_majorities,
    /// Ensembles founded anew on a survivor.
    recoveries,
    /// Recoveries that ended in the midst of their write, and were begun again.
    interrupted_recoveries,
    /// Nodes that started with the data of an earlier history.
    left_behind,
    /// Nodes that joined a later history with an empty directory, and are voters.
    rejoined,
}
