//! `gometa member`: the members of the ensemble with their roles, and changes of them.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use clap::Subcommand;
use gometa_client::{Error, ErrorKind, MemberRecord, MembersChanged, MembersVersion, Membership};
use serde_json::{Value, json};

use crate::{
    context::Context,
    options::parse_duration,
    output::{Failure, Format, UNHEALTHY, write_json, write_table},
};

/// The pause between two attempts with `--wait`.
const PAUSE: Duration = Duration::from_millis(200);

/// The commands about members.
#[derive(Subcommand, Debug)]
pub(crate) enum MemberCommand {
    /// List the members with their roles, as one node knows them
    List,
    /// Make a learner a voter; it must be up to date
    Promote(Promote),
    /// Remove a voter or a learner; a leader hands over first
    Remove(Change),
    /// Replace a voter: make a learner a voter, and remove the other member. The leader does it, as soon as the learner is up
    /// to date
    Replace(Replace),
    /// Leave a learner that is to become a voter a learner, and end a replacement by it
    Cancel(Change),
    /// Test whether nodes can be stopped together without stopping the ensemble: exit status 0 or 5
    SafeToStop(SafeToStop),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Change {
    /// The member: its id, or one of its addresses
    member: String,

    /// Only if this is the version of the members, as `member list` prints it
    #[arg(long, value_name = "EPOCH:REVISION", value_parser = parse_version)]
    follows: Option<MembersVersion>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Promote {
    #[command(flatten)]
    change: Change,

    /// Wait until it is up to date, for at most this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Replace {
    #[command(flatten)]
    change: Change,

    /// The learner that takes its place: its id, or one of its addresses
    replacement: String,

    /// Wait until it is done, for at most this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct SafeToStop {
    /// The members: their ids, or one of the addresses of each
    members: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Transfer {
    /// The voter that is to lead, its id or one of its addresses; any other voter if it is not given
    member: Option<String>,
}

/// The commands about the leader.
#[derive(Subcommand, Debug)]
pub(crate) enum LeaderCommand {
    /// Hand the leadership over, without an interruption of the service
    Transfer(Transfer),
}

fn parse_version(text: &str) -> Result<MembersVersion, String> {
    let parsed = text.split_once(':').and_then(|(epoch, revision)| {
        Some(MembersVersion { epoch: epoch.parse().ok()?, revision: revision.parse().ok()? })
    });
    parsed.ok_or_else(|| "expected EPOCH:REVISION, two numbers".to_owned())
}

impl MemberCommand {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let client = &context.client;
        match self {
            MemberCommand::List => {
                list(&client.membership().await?, context.format, out)?;
                Ok(0)
            }
            MemberCommand::Promote(Promote { change, wait }) => {
                let node = change.node(context).await?;
                let until = Instant::now() + wait.unwrap_or_default();
                let changed = loop {
                    let result = client.promote_member(node, change.follows).await;
                    let waits = |error: &Error| {
                        error.kind() == ErrorKind::FailedPrecondition && Instant::now() + PAUSE < until
                    };
                    match result {
                        Err(error) if waits(&error) => tokio::time::sleep(PAUSE).await,
                        result => break result?,
                    }
                };
                let words = ["is a voter now", "was a voter already"];
                report(&changed, node, words, context.format, out)
            }
            MemberCommand::Remove(change) => {
                let node = change.node(context).await?;
                let changed = client.remove_member(node, change.follows).await?;
                report(&changed, node, ["is removed", "was no member"], context.format, out)
            }
            MemberCommand::Replace(replace) => replace.run(context, out).await,
            MemberCommand::Cancel(change) => {
                let node = change.node(context).await?;
                let changed = client.cancel_promotion(node, change.follows).await?;
                let words = ["stays a learner", "was to stay a learner already"];
                report(&changed, node, words, context.format, out)
            }
            MemberCommand::SafeToStop(SafeToStop { members }) => {
                let membership = client.membership().await?;
                let nodes: Vec<u64> =
                    members.iter().map(|member| resolve(&membership, member)).collect::<Result<_, _>>()?;
                let advice = client.safe_to_stop(nodes).await?;
                match context.format {
                    Format::Json => {
                        write_json(out, &json!({ "safe": advice.safe, "reason": advice.reason }))?;
                    }
                    Format::Table if advice.safe => {
                        writeln!(out, "safe: the other voters are a quorum that has every write")?;
                    }
                    Format::Table => writeln!(out, "not safe: {}", advice.reason)?,
                }
                Ok(if advice.safe { 0 } else { UNHEALTHY })
            }
        }
    }
}

impl Replace {
    async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let client = &context.client;
        let before = client.membership().await?;
        let (node, new) = (resolve(&before, &self.change.member)?, resolve(&before, &self.replacement)?);
        let mut changed = client.replace_member(node, new, self.change.follows).await?;
        let done = |membership: &Membership| {
            let find = |node| membership.members.iter().find(|member| member.node == node);
            membership.committed && find(node).is_none() && find(new).is_some_and(|member| member.votes)
        };
        let until = Instant::now() + self.wait.unwrap_or_default();
        while !done(&changed.membership) && Instant::now() + PAUSE < until {
            tokio::time::sleep(PAUSE).await;
            changed.membership = client.membership().await?;
        }
        let complete = done(&changed.membership);
        let old = before.members.iter().find(|member| member.node == node);
        let old = old.map_or_else(|| format!("{node:016x}"), |member| member.message_address.clone());
        let words = if complete {
            [format!("has taken the place of {old}"), format!("had taken the place of {old} already")]
        } else {
            [
                format!("takes the place of {old} as soon as it is up to date"),
                format!("takes the place of {old} already"),
            ]
        };
        report(&changed, new, words.each_ref().map(String::as_str), context.format, out)?;
        Ok(if complete || self.wait.is_none() { 0 } else { UNHEALTHY })
    }
}

impl LeaderCommand {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let LeaderCommand::Transfer(Transfer { member }) = self;
        let membership = context.client.membership().await?;
        let to = member.as_deref().map(|member| resolve(&membership, member)).transpose()?;
        let leader = context.client.transfer_leadership(to).await?;
        match context.format {
            Format::Json => write_json(out, &json!({ "leader": format!("{leader:016x}") }))?,
            Format::Table => {
                let found = membership.members.iter().find(|member| member.node == leader);
                let at = found.map(|member| format!(" ({})", member.message_address)).unwrap_or_default();
                writeln!(out, "{leader:016x}{at} leads")?;
            }
        }
        Ok(0)
    }
}

impl Change {
    async fn node(&self, context: &Context) -> Result<u64, Failure> {
        resolve(&context.client.membership().await?, &self.member)
    }
}

/// The id of a member that is named by it, or by one of its addresses.
fn resolve(membership: &Membership, text: &str) -> Result<u64, Failure> {
    let has = |member: &&MemberRecord| {
        [&member.message_address, &member.request_address, &member.election_address]
            .iter()
            .any(|it| *it == text)
    };
    if let Some(member) = membership.members.iter().find(has) {
        return Ok(member.node);
    }
    match u64::from_str_radix(text, 16) {
        Ok(node) if !text.starts_with('+') => Ok(node),
        _ => {
            let known: Vec<&str> =
                membership.members.iter().map(|member| member.message_address.as_str()).collect();
            Err(Failure::usage(format!(
                "{text:?} is neither a node id nor an address of a member; the members are {}",
                known.join(", ")
            )))
        }
    }
}

/// The role of a member, for people.
fn role(member: &MemberRecord, membership: &Membership) -> String {
    let role = match (member.votes, member.promised) {
        (true, _) => "voter",
        (false, true) => "learner, to be a voter",
        (false, false) => "learner",
    };
    let replaced = membership.members.iter().find(|other| Some(other.node) == member.replaces);
    replaced.map_or_else(|| role.to_owned(), |old| format!("{role} in place of {}", old.message_address))
}

fn version(membership: &Membership) -> String {
    format!("{}:{}", membership.version.epoch, membership.version.revision)
}

fn fields(membership: &Membership) -> Value {
    let member = |member: &MemberRecord| {
        json!({
            "node": format!("{:016x}", member.node),
            "role": if member.votes { "voter" } else { "learner" },
            "to_be_voter": member.promised,
            "replaces": member.replaces.map(|node| format!("{node:016x}")),
            "message_address": member.message_address,
            "request_address": member.request_address,
            "election_address": member.election_address,
        })
    };
    let members: Vec<_> = membership.members.iter().map(member).collect();
    json!({ "version": version(membership), "committed": membership.committed, "members": members })
}

fn list(membership: &Membership, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Json => write_json(out, &fields(membership))?,
        Format::Table => {
            let mut rows = vec![["NODE", "ROLE", "MESSAGES", "REQUESTS"].map(str::to_owned).to_vec()];
            rows.extend(membership.members.iter().map(|member| {
                vec![
                    format!("{:016x}", member.node),
                    role(member, membership),
                    member.message_address.clone(),
                    member.request_address.clone(),
                ]
            }));
            write_table(out, &rows)?;
            let pending = if membership.committed { "" } else { ", not committed yet" };
            writeln!(out, "version {}{pending}", version(membership))?;
        }
    }
    Ok(())
}

/// Prints the result of a change: `words` if it has changed something, and if not.
fn report(
    changed: &MembersChanged,
    node: u64,
    words: [&str; 2],
    format: Format,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let MembersChanged { membership, changed, .. } = changed;
    match format {
        Format::Json => {
            let mut fields = fields(membership);
            fields["changed"] = (*changed).into();
            write_json(out, &fields)?;
        }
        Format::Table => {
            let member = membership.members.iter().find(|member| member.node == node);
            let name = member.map_or_else(|| format!("{node:016x}"), |member| member.message_address.clone());
            let voters = membership.members.iter().filter(|member| member.votes).count();
            let learners = membership.members.len() - voters;
            let [done, held] = words;
            writeln!(
                out,
                "{name} {}: {voters} {}, {learners} {}",
                if *changed { done } else { held },
                if voters == 1 { "voter" } else { "voters" },
                if learners == 1 { "learner" } else { "learners" },
            )?;
        }
    }
    Ok(0)
}
