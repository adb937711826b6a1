//! The simulator's teeth: faults planted in `zab`, `store` and `node`, each of which must be caught.
//!
//! A simulator that finds nothing has shown nothing, unless it is known what it would have found. So the code has
//! places where a promise can be broken on purpose, `mutant!(M07)`, and this table says what each of them does and
//! what ought to notice. They exist only in a build of their own (see `zab/src/mutant.rs`). The benign ones change
//! what may be changed, and must raise nothing.

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
    /// Its name at its places in the code: a letter, M for harmful or B for benign, and two digits.
    pub id: &'static str,
    /// What it does.
    pub what: &'static str,
    /// What it breaks: rules and invariants under their numbers in `docs/protocol.md`.
    pub breaks: &'static str,
}

impl Mutant {
    /// Whether it breaks nothing.
    pub fn is_benign(&self) -> bool {
        self.id.starts_with('B')
    }
}

/// A line of the table.
const fn mutant(id: &'static str, what: &'static str, breaks: &'static str) -> Mutant {
    Mutant { id, what, breaks }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant("M01", "a follower acknowledges what it has not synced", "rule 22, invariant 14"),
    mutant("M02", "NewLeader is acknowledged before history and epoch are durable", "rule 18, invariant 14"),
    mutant("M03", "the epoch becomes durable before the history", "rule 18, invariant 10"),
    mutant("M04", "a follower promises an epoch before the promise is durable", "rule 11, invariant 14"),
    mutant("M05", "a leader proposes an epoch before its own promise is durable", "rule 11, invariant 14"),
    mutant("M06", "an epoch promised to one leader is acknowledged to another", "rule 11, invariant 13"),
    mutant("M07", "a lower epoch than the promised one is accepted", "rule 11, invariant 13"),
    mutant("M08", "a follower offers its history while writes are under way", "rule 11a"),
    mutant("M09", "a leader does not make way for a follower that knows more", "rule 12, invariant 10"),
    mutant("M10", "a leader claims its epoch without a quorum's promises", "rule 13, invariant 10"),
    mutant("M11", "a leader is established without a quorum at its history", "rule 19, invariant 15"),
    mutant("M12", "a follower does not cut what its leader does not have", "rule 16, invariant 21"),
    mutant("M13", "a cut is made in memory and not in the log", "rule 16, invariant 12"),
    mutant("M14", "one entry too many is cut", "rule 16, invariant 15"),
    mutant("M15", "the acknowledgements of a node that lost its directory count", "rule 23, invariant 15"),
    mutant("M16", "the commit index may fall", "rule 23, invariant 15"),
    mutant("M17", "a leader commits what it alone holds", "rule 23, invariant 15"),
    mutant("M18", "progress before AckNewLeader counts as an acknowledgement", "rule 23, invariant 15"),
    mutant("M19", "what is proposed between NewLeader and UpToDate is not logged", "rule 19, invariant 12"),
    mutant("M20", "a barrier passes without a quorum", "section 6.2, invariant 18"),
    mutant("M21", "a read joins a barrier round whose heartbeats have left", "section 6.2, invariant 18"),
    mutant("M22", "a leader ignores that a node has promised a later epoch", "rule 14, invariant 21"),
    mutant("M23", "the durable mark stays where it was when the log is cut", "rule 24"),
    mutant("M24", "a vote speaks of entries that are not durable", "rule 2, invariant 14"),
    mutant("M25", "a leader counts itself before it has synced", "rule 22, invariant 15"),
    mutant("M26", "a node that lost its directory votes", "section 5.8, invariant 8"),
    mutant("M27", "a follower applies what is not known to be committed", "rule 20, invariant 15"),
    mutant("M28", "entries are applied before they are durable here", "rule 24, invariant 15"),
    mutant("M29", "the coordinator seals before everyone has prepared", "formation"),
    mutant("M30", "a node takes part before its seal is durable", "formation, invariant 14"),
    mutant("M31", "a node says that it has prepared before that is durable", "formation, invariant 14"),
    mutant("M32", "a write that stands in the log twice is executed twice", "section 6.9, invariant 19"),
    mutant("M33", "a write below its session's floor is executed", "section 6.9, invariant 19"),
    mutant("M34", "a write is executed after the end of its session", "section 6.9, invariant 19"),
    mutant("M35", "a restart loses the table of sessions", "section 6.9, invariant 17"),
    mutant(
        "M36",
        "a read is answered before its barrier's commit index is applied",
        "section 6.2, invariant 18",
    ),
    mutant("M37", "a write that was forwarded before is called not applied", "section 6.8, invariant 19"),
    mutant("M38", "a local read does not wait for the revision it names", "section 6.2, invariant 18"),
    mutant("M39", "logs are compared by their length and not by their epochs", "rule 16, invariant 21"),
    mutant("M40", "a session ends before it was silent for its time-out", "section 6.9"),
    mutant("M41", "a leader goes on without a quorum in reach", "section 6.6, invariant 21"),
    mutant("M42", "a follower waits for a silent leader for ever", "invariant 21"),
    mutant("M43", "a new leader takes an epoch that was promised before", "rule 11, invariant 13"),
    mutant("M44", "a leader draws its epoch while writes are under way", "rule 11a, invariant 13"),
    mutant(
        "M45",
        "a leader brings others to its history before its claim is durable",
        "rule 13, invariant 14",
    ),
    mutant("M46", "a barrier is told the commit index of an earlier moment", "section 6.2, invariant 18"),
    mutant("M47", "what is proposed in the step that ends a leadership is not logged", "invariant 12"),
    mutant("M48", "what is cut from the log stays in memory", "rule 16, invariant 15"),
    mutant("M49", "the floor of a session is not raised", "section 6.9, invariant 17"),
    mutant("M50", "local reads are answered before a node has been up to date", "section 6.2"),
    mutant("M51", "cas replaces whatever it finds", "invariant 18"),
    mutant("M52", "a session that has ended is still in the table", "section 6.9, invariant 17"),
    mutant(
        "M53",
        "a node serves before it has applied what was committed when it joined",
        "rule 20, section 6.2",
    ),
    mutant("M54", "a leader that is not established calls its history committed", "rule 19, invariant 15"),
    mutant("M55", "whatever a follower sends confirms a barrier round", "section 6.2, invariant 18"),
    mutant("M56", "an answer to an earlier heartbeat confirms a barrier round", "section 6.2, invariant 18"),
    mutant("M57", "an acknowledgement of proposals confirms a barrier round", "section 6.2, invariant 18"),
    mutant("M58", "an answer to the heartbeat before confirms a barrier round", "section 6.2, invariant 18"),
    mutant("M59", "having been heard lately confirms a barrier round", "section 6.2, invariant 18"),
    mutant("M60", "what was acknowledged in an earlier leadership counts", "rule 23, invariant 15"),
    mutant("M61", "so it does of nodes that do not follow now", "rule 23, invariant 15"),
    mutant("M62", "who was up to date in an earlier leadership is taken to be so", "rule 19, invariant 15"),
    mutant("M63", "who waits for a disk in discovery is silent meanwhile", "invariant 21"),
    mutant("M64", "the end of a session is acknowledged and not replicated", "invariant 16"),
    mutant("M65", "a pause counts as a session's silence", "section 6.9"),
    mutant("M66", "sessions are ended in the step that notices a pause", "section 6.9"),
    mutant(
        "M67",
        "a write that is held twice is proposed twice, and called not applied when the second is refused",
        "section 6.8, invariant 19",
    ),
    mutant("M68", "a leader keeps to itself where the members are now", "invariant 21"),
    mutant("B01", "the heart beats half as often", "nothing"),
    mutant("B02", "entries are sent one by one", "nothing"),
    mutant("B03", "each commit is sent twice", "nothing"),
    mutant("B04", "votes are repeated at more widely scattered times", "nothing"),
];

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub mutant: Mutant,
    /// Seeds run; of a mutant that was caught, up to and with the one that caught it.
    pub seeds: u64,
    /// Who caught it, and what was said then.
    pub caught: Option<(&'static str, String)>,
    /// How long that took.
    pub took: Duration,
}

impl Verdict {
    /// Whether it is as it ought to be: harmful ones are caught, benign ones are not.
    pub fn is_good(&self) -> bool {
        self.caught.is_some() != self.mutant.is_benign()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mutant { id, what, .. } = self.mutant;
        let said = match &self.caught {
            // A panic is the code's own check: what it says is its name.
            Some((invariant, detail)) if *invariant == "no panic" => {
                let first: String = detail.lines().next().unwrap_or_default().chars().take(50).collect();
                format!("the code's own check: {first}")
            }
            Some((invariant, _)) => (*invariant).to_owned(),
            None => "nothing".to_owned(),
        };
        let flag = if self.is_good() { " " } else { "!" };
        write!(f, "{flag} {id}  {what:<70}  {:>6}  {said}", self.seeds)
    }
}

/// Whether this program was built with mutants.
pub fn is_built_in() -> bool {
    cfg!(gometa_instrumented)
}

/// The one of this name.
pub fn of_name(id: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.id == id)
}

/// Puts a mutant under test in the whole process, or none.
#[cfg(gometa_instrumented)]
pub fn choose(mutant: Option<&Mutant>) {
    let number = mutant.map_or(0, |mutant| gometa_zab::mutant::number(mutant.id));
    gometa_zab::mutant::choose(number);
    gometa_store::mutant::choose(number);
}

/// There are none.
#[cfg(not(gometa_instrumented))]
pub fn choose(_: Option<&Mutant>) {}

/// What every program that has mutants contains, and no other.
#[cfg(gometa_instrumented)]
pub const MARKER: [u8; 32] = gometa_zab::mutant::MARKER;

/// Runs one mutant until it is caught or the seeds are used up. Nothing else may run in the process meanwhile.
pub fn judge(mutant: &Mutant, seeds: u64, threads: usize) -> Verdict {
    let seeds = if mutant.is_benign() { seeds.min(BENIGN_SEEDS) } else { seeds };
    let plan = Plan { start: 0, seeds, threads, all: false, changes: Changes::default() };
    choose(Some(mutant));
    let mut took = Duration::ZERO;
    let summary: Summary = runner::run_many(&plan, |_, elapsed| took = elapsed);
    choose(None);
    // Seeds are taken up in order and brought to their ends, so the first failure is the lowest seed that fails.
    let first = summary.failures.into_iter().next();
    let seeds = first.as_ref().map_or(summary.seeds, |outcome| outcome.seed + 1);
    let violation = first.and_then(|outcome| outcome.violation);
    let caught = violation.map(|violation| (violation.invariant, violation.detail));
    Verdict { mutant: *mutant, seeds, caught, took }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// What follows upon each occurrence of `opening` in the code below a directory.
    pub(crate) fn places(directory: &Path, opening: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("the directory is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                places(&path, opening, found);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.extend(code.join("\n").split(opening).skip(1).map(str::to_owned));
        }
    }

    #[test]
    fn every_mutant_has_its_place_in_the_code_and_its_line_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for member in ["zab", "store", "node"] {
            places(&root.join(member).join("src"), "mutant!(", &mut found);
        }
        let names = found.iter().filter_map(|place| place.split(')').next());
        let found: BTreeSet<String> = names.map(str::to_owned).collect();
        let table: BTreeSet<String> = MUTANTS.iter().map(|mutant| mutant.id.to_owned()).collect();
        assert_eq!(table.len(), MUTANTS.len(), "names are given once");
        assert_eq!(found, table);
    }

    #[test]
    fn there_are_enough_of_them() {
        let benign = MUTANTS.iter().filter(|mutant| mutant.is_benign()).count();
        assert!(benign >= 4);
        assert!(MUTANTS.len() - benign >= 24);
    }
}
