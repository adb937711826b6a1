//! Rare paths, marked and counted, so that it is known which of them a simulation has walked.
//!
//! `probe!("sync.trunc")` stands on a path that matters and that a lazy workload would not reach;
//! `probe!("sync.trunc-everything", base == Zxid::ZERO)` counts only where the condition holds, which nothing else
//! may depend on. Like `mutant!`, it is nothing at all, its condition included, in every build but the one with
//! `--cfg gometa_instrumented` (see `mutant.rs`). There it counts: the simulator reads the counts, prints them, and fails if one of
//! many runs leaves a probe unhit.
//!
//! `PROBES` names them all. A probe that is not in it does not compile in that build; one that is in it and nowhere
//! in the code is found by a test in `sim/src/coverage.rs`. `store` shares this file and not this crate; each has
//! counts of its own, which the simulator adds up.

/// Counts that this path was walked, or was walked with the condition holding.
#[cfg(not(gometa_instrumented))]
#[macro_export]
macro_rules! probe {
    ($name:literal) => {{}};
    ($name:literal, $when:expr) => {{}};
}

/// Counts that this path was walked, or was walked with the condition holding.
#[cfg(gometa_instrumented)]
#[macro_export]
macro_rules! probe {
    ($name:literal) => {{
        const PLACE: usize = $crate::probe::place($name);
        $crate::probe::hit(PLACE)
    }};
    ($name:literal, $when:expr) => {
        if $when {
            $crate::probe!($name)
        }
    };
}

#[cfg(gometa_instrumented)]
mod counted {
    use core::sync::atomic::{AtomicU64, Ordering};

    /// What a program with probes has in it, byte for byte.
    pub const MARKER: [u8; 32] = *b"this program has gometa probes!!";

    /// The name of every probe, in the order of the alphabet: what it is about, then what happened.
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

    struct Hits {
        // Only looked for in the finished program.
        #[allow(dead_code)]
        marker: [u8; 32],
        counts: [AtomicU64; PROBES.len()],
    }

    #[used]
    static HITS: Hits = Hits { marker: MARKER, counts: [const { AtomicU64::new(0) }; PROBES.len()] };

    /// Where a name stands in the table; it must.
    pub const fn place(name: &str) -> usize {
        let mut at = 0;
        while at < PROBES.len() {
            if equal(PROBES[at].as_bytes(), name.as_bytes()) {
                return at;
            }
            at += 1;
        }
        panic!("a probe is named in PROBES")
    }

    const fn equal(one: &[u8], other: &[u8]) -> bool {
        let mut at = 0;
        while at < one.len() && at < other.len() && one[at] == other[at] {
            at += 1;
        }
        at == one.len() && at == other.len()
    }

    /// A path was walked.
    pub fn hit(place: usize) {
        HITS.counts[place].fetch_add(1, Ordering::Relaxed);
    }

    /// How often the path at a place of the table was walked, in the whole process.
    pub fn hits(place: usize) -> u64 {
        HITS.counts[place].load(Ordering::Relaxed)
    }
}

#[cfg(gometa_instrumented)]
pub use counted::{MARKER, PROBES, hit, hits, place};
