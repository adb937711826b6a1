//! `gometa settings`: the settings of the ensemble.

use std::io::Write;

use clap::Subcommand;
use gometa_client::{ErrorKind, Setting};
use serde_json::{Value, json};

use super::health::KEY;
use crate::{
    context::Context,
    guard::Guarded,
    output::{Failure, Format, write_json, write_table},
    words,
};

/// The word for the default of a setting.
const DEFAULT: &str = "default";

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Settings {
    #[command(flatten)]
    read: Read,

    #[command(subcommand)]
    command: Option<SettingsCommand>,
}

/// The commands about settings.
#[derive(Subcommand, Debug)]
enum SettingsCommand {
    /// List the settings; the same as `settings` alone
    List(Read),
    /// Print the value of a setting
    Get {
        /// The setting
        name: String,

        #[command(flatten)]
        read: Read,
    },
    /// Change a setting, on all nodes
    Set(Set),
}

#[derive(clap::Args, Debug)]
struct Read {
    /// Read from the answering node without confirmation by a quorum: possible without a leader, and possibly stale
    #[arg(long)]
    local: bool,
}

impl Read {
    async fn settings(&self, context: &Context) -> Result<Vec<Setting>, Failure> {
        if !self.local {
            // A node lists what it has applied: after a linearizable read that is not older than the call.
            match context.client.get(KEY).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(context.client.settings().await?)
    }
}

#[derive(clap::Args, Debug)]
struct Set {
    /// The setting
    name: String,

    /// A number, or "default"
    #[arg(value_parser = parse_value)]
    value: Chosen,

    #[command(flatten)]
    guarded: Guarded,
}

/// The value of a setting, or its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chosen {
    Number(u64),
    Default,
}

fn parse_value(text: &str) -> Result<Chosen, String> {
    match text {
        DEFAULT => Ok(Chosen::Default),
        text => {
            let number = words::number(text.as_bytes()).map(Chosen::Number);
            number.ok_or_else(|| format!("write a number, or {DEFAULT}"))
        }
    }
}

impl Settings {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        match &self.command {
            None => list(&self.read.settings(context).await?, context.format, out),
            Some(SettingsCommand::List(read)) => list(&read.settings(context).await?, context.format, out),
            Some(SettingsCommand::Get { name, read }) => {
                let settings = read.settings(context).await?;
                let setting = find(&settings, name)?;
                match context.format {
                    Format::Json => write_json(out, &fields(setting))?,
                    Format::Table => writeln!(out, "{}", setting.value)?,
                }
                Ok(0)
            }
            Some(SettingsCommand::Set(set)) => set.run(context, out).await,
        }
    }
}

impl Set {
    async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let value = match self.value {
            Chosen::Number(number) => Some(number),
            Chosen::Default => None,
        };
        let revision = self.guarded.client(context).set_setting(&self.name, value).await?;
        match context.format {
            Format::Json => writeln!(out, "{}", json!({ "revision": revision }))?,
            Format::Table => writeln!(out, "revision {revision}")?,
        }
        Ok(0)
    }
}

/// The setting with a name.
fn find<'a>(settings: &'a [Setting], name: &str) -> Result<&'a Setting, Failure> {
    settings.iter().find(|setting| setting.name == name).ok_or_else(|| {
        let names: Vec<&str> = settings.iter().map(|setting| setting.name.as_str()).collect();
        Failure::usage(format!("there is no setting {name}; there are {}", names.join(", ")))
    })
}

fn list(settings: &[Setting], format: Format, out: &mut dyn Write) -> Result<u8, Failure> {
    match format {
        Format::Json => {
            for setting in settings {
                write_json(out, &fields(setting))?;
            }
        }
        Format::Table => {
            let mut rows =
                vec![["NAME", "VALUE", "DEFAULT", "MIN", "MAX", "SET"].map(str::to_owned).to_vec()];
            rows.extend(settings.iter().map(|setting| {
                let numbers = [setting.value, setting.default, setting.min, setting.max];
                let numbers = numbers.iter().map(u64::to_string);
                let is_set = if setting.is_set { "yes" } else { "no" };
                [setting.name.clone()].into_iter().chain(numbers).chain([is_set.to_owned()]).collect()
            }));
            write_table(out, &rows)?;
        }
    }
    Ok(0)
}

fn fields(setting: &Setting) -> Value {
    let Setting { name, value, is_set, default, min, max, .. } = setting;
    json!({ "name": name, "value": value, "is_set": is_set, "default": default, "min": min, "max": max })
}
