//! The interpreter of golden scripts: commands that every kind of ensemble understands, and the comparison of
//! transcripts.

use std::{
    error::Error,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    str::FromStr,
};

use gometa_zab::NodeId;

use crate::{
    ensemble::Ensemble,
    text::{Topic, name},
};

/// A node, by its letter.
#[derive(Clone, Copy)]
pub struct Name(pub NodeId);

impl Name {
    /// Its place among the voters, from 0.
    pub fn index(self) -> usize {
        self.0.0 as usize - 1
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        match text.as_bytes() {
            [letter @ b'A'..=b'Z'] => Ok(Name(NodeId(u64::from(letter - b'A' + 1)))),
            _ => Err(format!("{text} is no node: nodes are A, B, C")),
        }
    }
}

/// The commands of every script. Where no node is named, all are meant.
#[derive(goldenscript::Command)]
pub enum Command {
    /// Starts nodes.
    Start(#[arg(optional)] Vec<Name>),
    /// Separates two nodes and breaks their connections.
    Disconnect(Name, Name),
    /// Lets two nodes reach each other again.
    Reconnect(Name, Name),
    /// Delivers what is in flight, until nothing is left or `max` is reached.
    Deliver {
        from: Option<Name>,
        #[arg(key)]
        to: Option<Name>,
        #[arg(key)]
        max: Option<usize>,
    },
    /// Holds back messages of this kind (all, without a kind), and everything behind them.
    Hold {
        from: Option<Name>,
        #[arg(key)]
        to: Option<Name>,
        #[arg(key)]
        kind: Option<String>,
    },
    /// Revokes every `hold`.
    Release,
    /// From now on writes become durable as soon as everything is delivered.
    Autopersist(#[arg(optional)] Vec<Name>),
    /// From now on writes become durable only by `persist`.
    Manual(#[arg(optional)] Vec<Name>),
    /// Lets time pass (milliseconds) while everything is delivered.
    Run(u64),
    /// Runs, with working disks, until there is an established leader that all others follow.
    Settle,
    /// The same, and the leader must be this one.
    Elect(Name),
    /// Shows lines about these topics: votes, heartbeats, links, writes, joining, broadcast.
    Show(Vec<String>),
    /// Hides them.
    Hide(Vec<String>),
    /// The roles of nodes, and what they have promised, hold, and have applied.
    Status(#[arg(optional)] Vec<Name>),
    /// The logs on the disks of nodes.
    Log(#[arg(optional)] Vec<Name>),
    /// Has `expect` and `never` disregard all lines before this.
    Now,
    /// These lines occur in this order after the last one expected; hidden ones count. Written by hand from the
    /// protocol's rules: regenerating a script does not touch them.
    Expect(Vec<String>),
    /// No line after the last one expected contains this.
    Never(Vec<String>),
    /// A command of this kind of ensemble only.
    #[command(other)]
    Other(goldenscript::Command),
}

/// An ensemble that scripts can drive.
pub trait Scripted: Ensemble + Default {
    /// Its own commands.
    type Command: for<'a> TryFrom<&'a goldenscript::Command, Error = Box<dyn Error>>;

    fn perform(&mut self, command: Self::Command) -> Result<(), Box<dyn Error>>;

    fn start(&mut self, id: NodeId) -> Result<(), String>;

    fn status(&self, id: NodeId) -> String;

    fn log(&self, id: NodeId) -> String;

    /// Called after each command.
    ///
    /// # Errors
    /// If an invariant is broken.
    fn check(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// These nodes, or all.
    fn all(&self, names: &[Name]) -> Vec<NodeId> {
        match names {
            [] => self.nodes(),
            names => names.iter().map(|name| name.0).collect(),
        }
    }

    /// Records lines that a command asks for; `expect` finds them as well.
    fn report(&mut self, lines: Vec<String>) {
        for line in lines {
            self.environment_mut().record(Topic::Story, line);
        }
    }
}

/// Runs one script.
struct Interpreter<E> {
    ensemble: E,
    /// The first line of the transcript that `expect` and `never` regard.
    mark: usize,
}

impl<E: Scripted> Interpreter<E> {
    fn expect(&mut self, lines: &[String]) -> Result<(), Box<dyn Error>> {
        let transcript = &self.ensemble.environment().transcript;
        for line in lines {
            match transcript[self.mark..].iter().position(|recorded| recorded == line) {
                Some(index) => self.mark += index + 1,
                None => {
                    let recorded = transcript[self.mark..].join("\n  ");
                    return Err(format!("no line `{line}`; the lines are:\n  {recorded}").into());
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let id = |name: &Option<Name>| name.map(|name| name.0);
        let ensemble = &mut self.ensemble;
        match command {
            Command::Start(names) => {
                for node in ensemble.all(names) {
                    ensemble.start(node)?;
                }
            }
            Command::Disconnect(a, b) => ensemble.environment_mut().network.disconnect(a.0, b.0),
            Command::Reconnect(a, b) => ensemble.environment_mut().network.reconnect(a.0, b.0),
            Command::Deliver { from, to, max } => {
                ensemble.deliver(id(from), id(to), max.unwrap_or(usize::MAX));
            }
            Command::Hold { from, to, kind } => {
                ensemble.environment_mut().network.holds.push((id(from), id(to), kind.clone()));
            }
            Command::Release => ensemble.environment_mut().network.holds.clear(),
            Command::Autopersist(names) => {
                for node in ensemble.all(names) {
                    ensemble.environment_mut().manual.remove(&node);
                }
            }
            Command::Manual(names) => {
                let all = ensemble.all(names);
                ensemble.environment_mut().manual.extend(all);
            }
            Command::Run(ms) => ensemble.run(*ms),
            Command::Settle => {
                ensemble.settle()?;
            }
            Command::Elect(wanted) => {
                let leader = ensemble.settle()?;
                if leader != wanted.0 {
                    return Err(format!("{} leads", name(leader)).into());
                }
            }
            Command::Show(words) => {
                for word in words {
                    ensemble.environment_mut().hidden.remove(&Topic::parse(word)?);
                }
            }
            Command::Hide(words) => {
                for word in words {
                    ensemble.environment_mut().hidden.insert(Topic::parse(word)?);
                }
            }
            Command::Status(names) => {
                let lines = ensemble.all(names).into_iter().map(|id| ensemble.status(id)).collect();
                ensemble.report(lines);
            }
            Command::Log(names) => {
                let lines = ensemble.all(names).into_iter().map(|id| ensemble.log(id)).collect();
                ensemble.report(lines);
            }
            Command::Now => self.mark = ensemble.environment().transcript.len(),
            Command::Expect(lines) => self.expect(lines)?,
            Command::Never(words) => {
                let lines = &ensemble.environment().transcript[self.mark..];
                for word in words {
                    if let Some(line) = lines.iter().find(|line| line.contains(word)) {
                        return Err(format!("there is a line `{line}`").into());
                    }
                }
            }
            Command::Other(command) => ensemble.perform(E::Command::try_from(command)?)?,
        }
        Ok(())
    }
}

impl<E: Scripted> goldenscript::Runner for Interpreter<E> {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        self.perform(command)?;
        self.ensemble.check()?;
        Ok(self.ensemble.environment_mut().take_visible())
    }
}

/// Runs every script `testscripts/<topic>/<claim>.script` of a crate, twice: its transcript must be the one in the
/// file, and both runs equal, hidden lines included.
///
/// `UPDATE_GOLDENFILES=1` rewrites transcripts, never `expect`s; `SCRIPT=word` runs only scripts with the word in
/// their path.
///
/// # Panics
/// If a script fails.
pub fn check_scripts<E: Scripted>(manifest_dir: &str) {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some_and(|value| !value.is_empty());
    let only = std::env::var("SCRIPT").unwrap_or_default();
    let mut all = scripts(&Path::new(manifest_dir).join("testscripts"));
    all.retain(|path| path.to_string_lossy().contains(&only));
    assert!(!all.is_empty(), "there are scripts");
    let fault = |path: &PathBuf| check::<E>(path, update).err();
    let wrong: Vec<String> =
        all.iter().filter_map(|path| fault(path).map(|what| format!("{}: {what}", path.display()))).collect();
    assert!(wrong.is_empty(), "{} of {} scripts\n{}", wrong.len(), all.len(), wrong.join("\n\n"));
}

/// The scripts below a directory, in the order of their paths.
fn scripts(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).expect("the directory can be listed");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { scripts(&path) } else { vec![path] }).collect()
}

fn check<E: Scripted>(path: &Path, update: bool) -> Result<(), String> {
    let text = fs::read_to_string(path).expect("a script can be read");
    if !text.starts_with("# ") {
        return Err("does not begin with a sentence that states its claim".to_owned());
    }
    let (played, transcript) = play::<E>(&text)?;
    if update && played != text {
        fs::write(path, &played).expect("a script can be written");
    } else if played != text {
        return Err(format!("the transcript differs at {}", difference(&text, &played)));
    }
    let (_, again) = play::<E>(&played)?;
    if transcript != again {
        return Err(format!(
            "a second run differs at {}",
            difference(&transcript.join("\n"), &again.join("\n"))
        ));
    }
    Ok(())
}

/// The script with its transcript, and all lines, hidden ones included.
fn play<E: Scripted>(text: &str) -> Result<(String, Vec<String>), String> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut interpreter = Interpreter { ensemble: E::default(), mark: 0 };
        let played = goldenscript::generate(&mut interpreter, text);
        played.map(|played| (played, interpreter.ensemble.environment().transcript.clone()))
    }));
    match result {
        Ok(played) => played.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// The first line in which two texts differ.
fn difference(before: &str, after: &str) -> String {
    let line = |text: &str, number: usize| text.lines().nth(number).unwrap_or("(nothing)").to_owned();
    let lines = before.lines().count().max(after.lines().count());
    (0..lines).find(|number| line(before, *number) != line(after, *number)).map_or_else(
        || "white space".to_owned(),
        |number| format!("line {}:\n  - {}\n  + {}", number + 1, line(before, number), line(after, number)),
    )
}
