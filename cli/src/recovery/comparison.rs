//! Orders data directories by the last epoch that they have received something of, then by the last entry (protocol.md 5.13).
//!
//! Only sound directories of voters of the newest history are candidates. A voter is a node id and an incarnation, as in
//! all quorum decisions (protocol.md 5.8): a directory that was emptied may have lost what it has acknowledged.

use std::collections::BTreeMap;

use serde::Serialize;

use super::report::{Configuration, Identity, Member, Position, Report};
use crate::output::Failure;

/// What a directory is in the configuration in force on it.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Voter,
    Learner,
    /// The configuration has the node with another directory: this one is empty, or comes back from quarantine.
    WithoutVote,
    NoMember,
    /// Node or configuration cannot be read.
    Unknown,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Voter => "voter",
            Role::Learner => "learner",
            Role::WithoutVote => "without vote",
            Role::NoMember => "no member",
            Role::Unknown => "unknown",
        }
    }
}

/// Whether acknowledged writes are among those of the best directory.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Writes {
    /// All of them.
    Kept,
    /// All, unless the members were changed without the compared voters.
    KeptUnlessMembersChanged,
    MayBeLost,
}

/// A compared directory.
#[derive(Serialize, Debug)]
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) directory: String,
    pub(crate) node: Option<String>,
    pub(crate) incarnation: Option<String>,
    pub(crate) role: Role,
    pub(crate) history: Option<u64>,
    pub(crate) accepted_epoch: Option<u64>,
    pub(crate) current_epoch: Option<u64>,
    pub(crate) last: Option<Position>,
    /// The number of revisions behind the best one; `None` without a best one, or if it ends at a higher revision.
    pub(crate) behind: Option<u64>,
    /// Why it is no candidate.
    #[serde(skip)]
    pub(crate) reason: Option<String>,
}

/// The directory to recover from, and what that loses.
#[derive(Debug)]
pub(crate) struct Best {
    /// Its row.
    pub(crate) row: usize,
    /// It, as its configuration has it.
    pub(crate) member: Member,
    /// The rows of other candidates that are as good.
    pub(crate) equal: Vec<usize>,
    /// The voters of its configuration.
    pub(crate) voters: Vec<Member>,
    /// Those of them that have a sound directory among the compared ones.
    pub(crate) present: Vec<Member>,
    /// The others.
    pub(crate) missing: Vec<Member>,
    pub(crate) quorum: usize,
    pub(crate) writes: Writes,
    /// The number of revisions that were committed, as another directory knows, and that the best one does not have.
    pub(crate) lost_at_least: u64,
}

impl Best {
    pub(crate) fn quorum_present(&self) -> bool {
        self.present.len() >= self.quorum
    }
}

#[derive(Debug)]
pub(crate) struct Comparison {
    /// In the order of the files.
    pub(crate) rows: Vec<Row>,
    pub(crate) ensemble: Option<String>,
    /// The highest one.
    pub(crate) history: Option<u64>,
    pub(crate) best: Option<Best>,
    /// Remarks, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Row {
    fn new(report: &Report, history: Option<u64>) -> Row {
        let identity = report.identity.as_ref();
        let role = role(report);
        let hard_state = report.hard_state.as_ref();
        Row {
            file: report.file.clone(),
            directory: report.directory.clone(),
            node: identity.map(|identity| identity.node.clone()),
            incarnation: identity.map(|identity| identity.incarnation.clone()),
            role,
            history: report.ensemble.as_ref().map(|ensemble| ensemble.history),
            accepted_epoch: hard_state.map(|state| state.accepted_epoch),
            current_epoch: hard_state.map(|state| state.current_epoch),
            last: report.log.as_ref().and_then(|log| log.end),
            behind: None,
            reason: unusable(report, history).or_else(|| no_voter(report, role)),
        }
    }

    /// The order: the last epoch that it has led or followed in, or whose entries it has received, and the last entry. A log
    /// that has an entry of an epoch has all that was committed in the epochs below, even if the current epoch was not
    /// recorded any more (rule 10).
    fn received(&self) -> Option<(u64, Position)> {
        let last = self.last?;
        Some((self.current_epoch?.max(last.epoch), last))
    }

    /// The node, or its file.
    pub(crate) fn name(&self) -> String {
        self.node.as_ref().map_or_else(|| self.file.clone(), |node| format!("node {node}"))
    }
}

fn role(report: &Report) -> Role {
    let (Some(identity), Some(Configuration { voters, learners })) = (&report.identity, report.members())
    else {
        return Role::Unknown;
    };
    let is = |member: &Member| member.is(identity);
    if voters.iter().any(is) {
        return Role::Voter;
    }
    if learners.iter().any(is) {
        return Role::Learner;
    }
    let known = voters.iter().chain(&learners).any(|member| member.node == identity.node);
    if known { Role::WithoutVote } else { Role::NoMember }
}

/// Why a directory cannot be recovered from, by what it contains alone.
fn unusable(report: &Report, history: Option<u64>) -> Option<String> {
    if let Some(damaged) = report.damaged() {
        return Some(damaged);
    }
    let Some(ensemble) = &report.ensemble else {
        return Some("it belongs to no ensemble: it is empty, or was not created completely".to_owned());
    };
    if !ensemble.sealed {
        return Some("the founding of its ensemble was not completed: it has no entries".to_owned());
    }
    if let Some(newest) = history.filter(|newest| ensemble.history < *newest) {
        let older = ensemble.history;
        return Some(format!("its history {older} was given up when history {newest} was founded"));
    }
    let end = report.log.as_ref().and_then(|log| log.end);
    let complete = report.identity.is_some() && report.hard_state.is_some() && end.is_some();
    (!complete).then(|| "its identity, epochs or last entry are missing in the report".to_owned())
}

fn no_voter(report: &Report, role: Role) -> Option<String> {
    let why = match role {
        Role::Voter => return None,
        Role::Learner => "it is a learner",
        Role::WithoutVote => {
            "it has no vote: the members have its node with another incarnation, or as a voter that was never started; \
             such a directory was emptied, or comes back from quarantine"
        }
        Role::NoMember if report.configuration.is_none() => "it was no voter when the ensemble was founded",
        Role::NoMember => "it is no member: it was removed, or has not received that it joined",
        Role::Unknown => "its members are missing in the report",
    };
    Some(why.to_owned())
}

/// Compares reports.
///
/// # Errors
/// They are of several ensembles, or two are of one directory.
pub(crate) fn compare(reports: &[Report]) -> Result<Comparison, Failure> {
    let ensemble = the_ensemble(reports)?;
    refuse_copies(reports)?;
    let sealed = reports.iter().filter_map(|report| report.ensemble.as_ref()).filter(|it| it.sealed);
    let history = sealed.map(|ensemble| ensemble.history).max();
    let mut rows: Vec<Row> = reports.iter().map(|report| Row::new(report, history)).collect();
    let mut notes = Vec::new();
    if reports.iter().any(|report| report.ensemble.is_some() && report.configuration.is_none()) {
        notes.push(
            "some reports do not tell the members: the voters of the founding are taken instead, which is wrong if members \
             were changed; inspect again with this version of gometa-server"
                .to_owned(),
        );
    }
    let best = choose(reports, history, &mut rows);
    if let Some(best) = best.as_ref().filter(|best| !best.quorum_present()) {
        notes.extend(losses(best, &rows));
    }
    Ok(Comparison { rows, ensemble, history, best, notes })
}

/// The ensemble of all reports; `None` if none of them has one.
fn the_ensemble(reports: &[Report]) -> Result<Option<String>, Failure> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for report in reports {
        if let Some(ensemble) = &report.ensemble {
            files.entry(&ensemble.id).or_default().push(&report.file);
        }
    }
    if files.len() > 1 {
        let groups = files.iter().map(|(id, files)| format!("{} of {id}", files.join(", ")));
        let groups = groups.collect::<Vec<_>>().join("; ");
        return Err(Failure::usage(format!(
            "the reports are of different ensembles: {groups}; compare those of one"
        )));
    }
    Ok(files.into_keys().next().map(str::to_owned))
}

fn refuse_copies(reports: &[Report]) -> Result<(), Failure> {
    for (index, report) in reports.iter().enumerate() {
        let Some(identity) = &report.identity else { continue };
        let Some(other) = reports[..index].iter().find(|other| other.identity.as_ref() == Some(identity))
        else {
            continue;
        };
        if other.file == report.file {
            return Err(Failure::usage(format!("{} is named twice", report.file)));
        }
        let Identity { node, incarnation } = identity;
        return Err(Failure::usage(format!(
            "{} and {} are reports of one data directory, or of a copy of it: node {node}, incarnation {incarnation}; name \
             only the one of the directory that the node used last",
            other.file, report.file
        )));
    }
    Ok(())
}

/// Chooses among the candidates. Those that are no voters of the best one's configuration, which is newer than theirs, are
/// none afterwards.
fn choose(reports: &[Report], history: Option<u64>, rows: &mut [Row]) -> Option<Best> {
    let candidates: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].reason.is_none()).collect();
    let most = candidates.iter().filter_map(|row| rows[*row].received()).max()?;
    let row = candidates.iter().copied().find(|row| rows[*row].received() == Some(most))?;
    let voters = reports[row].members()?.voters;
    let chosen = reports[row].identity.as_ref()?;
    let member = voters.iter().find(|voter| voter.is(chosen))?.clone();
    let name = rows[row].name();
    for &other in &candidates {
        let votes = |identity| voters.iter().any(|voter| voter.is(identity));
        if !reports[other].identity.as_ref().is_some_and(votes) {
            rows[other].reason = Some(format!("it is no voter of the later configuration that {name} has"));
        }
    }
    let equal = candidates.into_iter().filter(|other| *other != row);
    let equal = equal
        .filter(|other| rows[*other].reason.is_none() && rows[*other].received() == Some(most))
        .collect();
    for other in rows.iter_mut().filter(|other| other.history == history) {
        other.behind = other.last.and_then(|last| most.1.counter.checked_sub(last.counter));
    }
    // A node that has not received its promotion yet is counted, too.
    let usable = reports.iter().filter(|report| unusable(report, history).is_none());
    let usable: Vec<&Identity> = usable.filter_map(|report| report.identity.as_ref()).collect();
    let is_present = |voter: &Member| usable.iter().any(|identity| voter.is(identity));
    let (present, missing): (Vec<Member>, Vec<Member>) = voters.iter().cloned().partition(is_present);
    let quorum = voters.len() / 2 + 1;
    let writes = if present.len() >= quorum {
        Writes::Kept
    } else if present.len() + quorum > voters.len() {
        Writes::KeptUnlessMembersChanged
    } else {
        Writes::MayBeLost
    };
    let same = reports.iter().zip(rows.iter()).filter(|(_, row)| row.history == history);
    let committed = same.map(|(report, _)| report.committed()).max().unwrap_or(0);
    let lost_at_least = committed.saturating_sub(most.1.counter);
    Some(Best { row, member, equal, voters, present, missing, quorum, writes, lost_at_least })
}

/// What is known about lost entries, without a quorum.
fn losses(best: &Best, rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    let row = &rows[best.row];
    let (name, received) = (row.name(), row.received());
    let others = || rows.iter().enumerate().filter(|(index, _)| *index != best.row).map(|(_, row)| row);
    let others = || others().filter(|other| other.history == row.history);
    if best.lost_at_least > 0 {
        let lost = best.lost_at_least;
        notes.push(format!(
            "at least {lost} committed revisions will be lost: another directory knows of them"
        ));
    }
    let ahead: Vec<&Row> =
        others().filter(|other| other.received() > received && other.last != row.last).collect();
    for ahead in &ahead {
        let (other, last) = (ahead.name(), ahead.last.unwrap_or_default());
        notes.push(if ahead.last > row.last {
            format!("{other} has entries through {last} that {name} lacks: they are not recovered, and may have been acknowledged")
        } else {
            format!("{other}, which ends at {last}, was in a later epoch than {name}: the entries above may have been given up")
        });
    }
    let below = received.map_or(0, |(epoch, _)| epoch);
    let is_candidate = |other: &Row| other.reason.is_none();
    if others().any(is_candidate) && !ahead.into_iter().any(is_candidate) {
        notes.push(format!(
            "entries of the other candidates that {name} lacks are of epochs below {below}, and were never acknowledged"
        ));
    }
    let accepted =
        rows.iter().filter(|other| other.history == row.history).filter_map(|row| row.accepted_epoch).max();
    if let Some(accepted) = accepted.filter(|accepted| *accepted > below) {
        notes.push(format!(
            "epochs through {accepted} were proposed: the missing voters may have written in them, above epoch {below}"
        ));
    }
    notes
}
