//! `gometa upgrade`: the feature levels of the members, and the last step of a rolling upgrade.

use std::{io::Write, time::Duration};

use clap::Subcommand;
use gometa_client::{MemberRecord, NodeStatus};
use gometa_proto::added_by;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    context::Context,
    output::{Failure, Format, write_json, write_table},
};

/// The time after which a member counts as missing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

const FINALIZE_HELP: &str = "\
Every member must be connected and run a version that supports the level; otherwise nothing changes. There is no way back:
from then on, a version that does not support the level is refused. Until then each node can be stopped and started with the
earlier version again. If the outcome is unknown, repeat it, and do not start the earlier version before.";

/// The commands about upgrades.
#[derive(Subcommand, Debug)]
pub(crate) enum UpgradeCommand {
    /// Show the version and the feature levels of every member, and what finalize would change
    Status,
    /// Raise the feature level of the ensemble, when all members run the new version
    #[command(after_help = FINALIZE_HELP)]
    Finalize(Finalize),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Finalize {
    /// The level; if it is not given, the highest that a member supports
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    level: Option<u32>,
}

/// What the members support.
struct Report {
    /// The feature level of the ensemble.
    level: u32,
    /// Each member, with its answer or why there is none.
    members: Vec<(MemberRecord, Result<NodeStatus, String>)>,
}

impl UpgradeCommand {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let report = Report::new(context).await?;
        match (self, context.format) {
            (UpgradeCommand::Status, Format::Json) => write_json(out, &report.fields())?,
            (UpgradeCommand::Status, Format::Table) => report.show(out)?,
            (UpgradeCommand::Finalize(Finalize { level }), format) => {
                // The leader refuses it, and says why, unless every member supports it.
                let level = level.unwrap_or_else(|| report.highest());
                let changed = context.client.finalize_upgrade(level).await?;
                let now = changed.membership.level;
                match format {
                    Format::Json => write_json(out, &json!({ "level": now, "changed": changed.changed }))?,
                    Format::Table if changed.changed => {
                        writeln!(out, "the ensemble runs at feature level {now} now")?;
                    }
                    Format::Table => writeln!(out, "the ensemble runs at feature level {now} already")?,
                }
            }
        }
        Ok(0)
    }
}

impl Report {
    /// Asks every member at once.
    async fn new(context: &Context) -> Result<Report, Failure> {
        let membership = context.client.membership().await?;
        let client = context.client.with_timeout(context.timeout.min(ANSWER_TIMEOUT));
        let mut tasks = JoinSet::new();
        for member in membership.members {
            let client = client.clone();
            tasks.spawn(async move {
                let answer = match member.request_address.as_str() {
                    "" => Err("its address for clients is not known".to_owned()),
                    address => client.status_of(address).await.map_err(|error| error.message().to_owned()),
                };
                (member, answer)
            });
        }
        let mut members = tasks.join_all().await;
        members.sort_by_key(|(member, _)| member.node);
        Ok(Report { level: membership.level.max(1), members })
    }

    fn answers(&self) -> impl Iterator<Item = &NodeStatus> {
        self.members.iter().filter_map(|(_, answer)| answer.as_ref().ok())
    }

    /// The highest level that every member supports which answers.
    fn target(&self) -> u32 {
        let highest = self.answers().map(|status| status.level_max).min();
        highest.unwrap_or(self.level).max(self.level)
    }

    /// The highest level that a member supports which answers.
    fn highest(&self) -> u32 {
        self.answers().map(|status| status.level_max).max().unwrap_or(self.level).max(self.level)
    }

    /// The members that keep the target below what others support.
    fn behind(&self) -> Vec<&str> {
        if self.highest() == self.target() {
            return Vec::new();
        }
        let lowest = self
            .members
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_ok_and(|status| status.level_max <= self.target()));
        lowest.map(|(member, _)| member.message_address.as_str()).collect()
    }

    fn upgrade_first(&self) -> String {
        format!("upgrade {} first", self.behind().join(", "))
    }

    /// The levels above that of the ensemble, through the target, with what each adds.
    fn changes(&self) -> Vec<(u32, &'static str)> {
        let unknown = "not known to this version of gometa: ask with the new one";
        (self.level + 1..=self.target()).map(|level| (level, added_by(level).unwrap_or(unknown))).collect()
    }

    /// The members that do not answer.
    fn missing(&self) -> Vec<&str> {
        let missing = self.members.iter().filter(|(_, answer)| answer.is_err());
        missing.map(|(member, _)| member.message_address.as_str()).collect()
    }

    fn fields(&self) -> Value {
        let member = |(member, answer): &(MemberRecord, Result<NodeStatus, String>)| {
            let status = answer.as_ref().ok();
            json!({
                "node": format!("{:016x}", member.node),
                "message_address": member.message_address,
                "version": status.map(|status| &status.version),
                "level_min": status.map(|status| status.level_min),
                "level_max": status.map(|status| status.level_max),
                "level": status.map(|status| status.level),
                "error": answer.as_ref().err(),
            })
        };
        let change = |(level, adds): (u32, &str)| json!({ "level": level, "adds": adds });
        json!({
            "level": self.level,
            "target": self.target(),
            "can_finalize": self.target() > self.level && self.missing().is_empty(),
            "changes": self.changes().into_iter().map(change).collect::<Vec<_>>(),
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
        })
    }

    fn show(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut rows =
            vec![["NODE", "MESSAGES", "VERSION", "SUPPORTS", "RUNS AT"].map(str::to_owned).to_vec()];
        rows.extend(self.members.iter().map(|(member, answer)| {
            let mut row = vec![format!("{:016x}", member.node), member.message_address.clone()];
            match answer {
                Ok(status) if status.level_min == status.level_max => {
                    row.extend([
                        status.version.clone(),
                        status.level_max.to_string(),
                        status.level.to_string(),
                    ]);
                }
                Ok(status) => row.extend([
                    status.version.clone(),
                    format!("{} to {}", status.level_min, status.level_max),
                    status.level.to_string(),
                ]),
                Err(_) => row.push("no answer".to_owned()),
            }
            row
        }));
        write_table(out, &rows)?;
        writeln!(out, "the ensemble runs at feature level {}", self.level)?;
        let (missing, changes) = (self.missing(), self.changes());
        if changes.is_empty() {
            match self.behind().is_empty() {
                false => writeln!(out, "finalize is refused: {}", self.upgrade_first())?,
                true => writeln!(out, "finalize would change nothing: no member supports a higher one")?,
            }
            return Ok(());
        }
        if missing.is_empty() {
            writeln!(out, "finalize would raise it to {}, which adds:", self.target())?;
        } else {
            writeln!(
                out,
                "finalize would raise it to {}, and is refused until {} is back or removed; it adds:",
                self.target(),
                missing.join(", ")
            )?;
        }
        for (level, adds) in changes {
            writeln!(out, "  {level}: {adds}")?;
        }
        if !self.behind().is_empty() {
            writeln!(
                out,
                "other members support more: {}, or name the level with --level",
                self.upgrade_first()
            )?;
        }
        Ok(())
    }
}
