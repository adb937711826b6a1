//! `gometa recover compare`: which data directory to recover from, after a majority of the voters is lost. It reads reports
//! of `gometa-server -inspect`, and needs no connection.

use std::{io::Write, path::PathBuf};

use clap::Subcommand;
use gometa_client::{Layout, printable};
use serde_json::{Value, json};

use crate::{
    output::{Failure, Format, OTHERWISE, write_json, write_table},
    recovery::{Best, Comparison, Member, Row, Writes, compare, read},
};

const RECOVER: &str = "gometa-server -recover=yes-lose-unreplicated-writes -config=node.json";
const START: &str = "gometa-server -config=node.json";

const COMPARE_HELP: &str = "\
Write a report of each data directory that is left, while its node is stopped:
  gometa-server -inspect=DIR -inspect-format=json > FILE

The best directory is the one that has received most: the highest epoch, current or of the last entry, then the highest
last entry. Candidates are sound directories of voters, of the newest history. Exit status 0 if there is a best one and
recovery is needed; 4 if there is none, or a quorum of the voters is left, which can start without recovery.";

/// The commands about recovery.
#[derive(Subcommand, Debug)]
pub(crate) enum RecoverCommand {
    /// Tell which data directory has the most, from reports of gometa-server -inspect
    #[command(after_help = COMPARE_HELP)]
    Compare(Compare),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Compare {
    /// Reports of data directories of one ensemble, in JSON
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl RecoverCommand {
    pub(crate) fn run(&self, format: Format, out: &mut dyn Write) -> Result<u8, Failure> {
        let RecoverCommand::Compare(Compare { files }) = self;
        let reports = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let comparison = compare(&reports)?;
        match format {
            Format::Json => write_json(out, &fields(&comparison))?,
            Format::Table => show(&comparison, out)?,
        }
        let recovers = comparison.best.is_some_and(|best| !best.quorum_present());
        Ok(if recovers { 0 } else { OTHERWISE })
    }
}

/// What to do next, one command each.
fn next(best: &Best) -> Vec<String> {
    if best.quorum_present() {
        return vec![START.to_owned()];
    }
    let mut commands = vec![RECOVER.to_owned()];
    if best.voters.len() > 1 {
        commands.push(format!("{START} -join={} -voter", best.member.request_address));
    }
    commands
}

fn fields(comparison: &Comparison) -> Value {
    let Comparison { rows, ensemble, history, best, notes } = comparison;
    let candidates: Vec<&Row> = rows.iter().filter(|row| row.reason.is_none()).collect();
    let reasons = rows.iter().filter_map(|row| {
        let reason = row.reason.as_ref()?;
        Some(json!({ "file": row.file, "directory": row.directory, "node": row.node, "role": row.role, "reason": reason }))
    });
    let members = |members: &[Member]| -> Vec<Value> {
        let member =
            |member: &Member| json!({ "node": member.node, "request_address": member.request_address });
        members.iter().map(member).collect()
    };
    let best = best.as_ref();
    let chosen = best.map(|best| {
        let (row, address) = (&rows[best.row], &best.member.request_address);
        let equal: Vec<&String> = best.equal.iter().map(|row| &rows[*row].file).collect();
        json!({
            "file": row.file, "directory": row.directory, "node": row.node, "request_address": address, "equal": equal,
        })
    });
    json!({
        "ensemble": ensemble,
        "history": history,
        "candidates": candidates,
        "best": chosen,
        "quorum_present": best.is_some_and(Best::quorum_present),
        "voters": best.map(|best| best.voters.len()),
        "quorum": best.map(|best| best.quorum),
        "present": best.map(|best| members(&best.present)),
        "missing": best.map(|best| members(&best.missing)),
        "acknowledged_writes": best.map(|best| best.writes),
        "lost_at_least": best.map(|best| best.lost_at_least),
        "reasons": reasons.collect::<Vec<_>>(),
        "notes": notes,
        "next": best.map(next).unwrap_or_default(),
    })
}

/// Writes a line. Parts of it come from files.
fn say(out: &mut dyn Write, line: &str) -> Result<(), Failure> {
    Ok(writeln!(out, "{}", printable(line.as_bytes(), Layout::OneLine))?)
}

fn table(comparison: &Comparison) -> Vec<Vec<String>> {
    let header = ["FILE", "NODE", "ROLE", "HISTORY", "ACCEPTED", "CURRENT", "LAST", "BEHIND", "RESULT"];
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let best = comparison.best.as_ref();
    let rows = comparison.rows.iter().enumerate().map(|(index, row)| {
        let result = match best {
            _ if row.reason.is_some() => "no candidate",
            Some(best) if best.row == index => "best",
            Some(best) if best.equal.contains(&index) => "as good",
            _ => "candidate",
        };
        vec![
            row.file.clone(),
            row.node.clone().unwrap_or("-".to_owned()),
            row.role.name().to_owned(),
            number(row.history),
            number(row.accepted_epoch),
            number(row.current_epoch),
            row.last.map_or("-".to_owned(), |last| last.to_string()),
            number(row.behind),
            result.to_owned(),
        ]
    });
    [header.map(str::to_owned).to_vec()].into_iter().chain(rows).collect()
}

fn show(comparison: &Comparison, out: &mut dyn Write) -> Result<(), Failure> {
    let Comparison { rows, best, notes, .. } = comparison;
    write_table(out, &table(comparison))?;
    for (row, reason) in rows.iter().filter_map(|row| Some((row, row.reason.as_ref()?))) {
        say(out, &format!("{} is no candidate: {reason}", row.file))?;
    }
    match best {
        Some(best) => conclude(comparison, best, out),
        None => {
            notes.iter().try_for_each(|note| say(out, &format!("note: {note}")))?;
            let older = rows.iter().any(|row| row.history.is_some() && row.history < comparison.history);
            let hint = "; reports of the older history are compared if those of the newer one are left out, but then all \
                        writes of the newer one are lost";
            say(out, &format!("there is no directory to recover from{}", if older { hint } else { "" }))
        }
    }
}

fn conclude(comparison: &Comparison, best: &Best, out: &mut dyn Write) -> Result<(), Failure> {
    let row = &comparison.rows[best.row];
    let named = |member: &Member| format!("{} ({})", member.node, member.request_address);
    let list = |members: &[Member]| members.iter().map(named).collect::<Vec<_>>().join(", ");
    let name = named(&best.member);
    say(out, &format!("best: node {name}, directory {}", row.directory))?;
    if !best.equal.is_empty() {
        let files: Vec<&str> = best.equal.iter().map(|row| &*comparison.rows[*row].file).collect();
        say(out, &format!("equal to it: {}; any of them will do, and the first is taken", files.join(", ")))?;
    }
    let (present, voters, quorum) = (best.present.len(), best.voters.len(), best.quorum);
    say(out, &format!("{present} of {voters} voters can be used, quorum {quorum}"))?;
    if !best.missing.is_empty() {
        say(out, &format!("missing voters: {}", list(&best.missing)))?;
    }
    say(
        out,
        match best.writes {
            Writes::Kept => "no acknowledged write is lost: each is on one of these voters",
            Writes::KeptUnlessMembersChanged => {
                "every acknowledged write is on one of these voters, unless the missing ones have changed the members alone"
            }
            Writes::MayBeLost => "writes that were acknowledged by the missing voters alone may be lost",
        },
    )?;
    comparison.notes.iter().try_for_each(|note| say(out, &format!("note: {note}")))?;
    let commands = next(best);
    if best.quorum_present() {
        say(out, "do not recover: a quorum is left, and the ensemble starts without recovery")?;
        say(
            out,
            &format!(
                "start these nodes with their own directories and configuration files: {}",
                list(&best.present)
            ),
        )?;
    } else {
        say(
            out,
            "make sure that the missing voters never start again with their old directories; then, on the best node:",
        )?;
    }
    for (index, command) in commands.iter().enumerate() {
        if index > 0 {
            say(
                out,
                "once it serves, on each other node, with an empty directory and its own configuration file:",
            )?;
        }
        say(out, &format!("  {command}"))?;
    }
    Ok(())
}
