//! `gometa backup`: the whole state of an ensemble at one revision, in a file. `gometa restore` founds an ensemble from it.

use std::{
    env,
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Subcommand;
use gometa_client::{
    Backup, BackupInfo, BackupReader, BackupWriter, Error, ErrorKind as Kind, FormatError, SaveError,
    verify_backup,
};
use serde_json::{Map, Value, json};

use super::storage::size;
use crate::{
    context::Context,
    options::{Options, absolute},
    output::{Explained, Failure, Format, INTERRUPTED, write_json, write_table},
};

/// The size of the buffers of files in bytes.
const BUFFER: usize = 1 << 20;
/// The time between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of attempts to read a backup whose node deletes it, or is lost.
const ATTEMPTS_MAX: usize = 3;
/// The program that restores backups.
const SERVER: &str = "gometa-server";

pub(crate) const BACKUP_HELP: &str = "\
A backup has all keys at one revision, their history, and the settings. It is read from a follower if one answers, while
the ensemble serves: what was acknowledged before the command began is in it. With --node it has what that node has
applied, also if there is no leader.

A file gets its name when it is complete, and is readable by its owner only. What is written to standard output before a
failure is incomplete: `gometa backup verify` finds that, and every flipped bit.

`gometa restore` founds a new ensemble from it.";

pub(crate) const RESTORE_HELP: &str = "\
Founds a new ensemble, with a new id, whose only member is this node: keys, revisions, history and settings are those of
the backup, sessions end. The file is checked first, and the directory must be empty or missing. Runs `gometa-server
-restore`, from the directory of this program or from PATH.

Then start the node with the same --config and --data-dir, and others with empty directories, -join=HOST:PORT and -voter.";

/// The command `backup`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupCommand {
    /// The file to be written, "-" for standard output
    #[arg(required = true)]
    file: Option<PathBuf>,

    /// Read it from the node with this request address alone, which need not have a leader
    #[arg(long, value_name = "ADDRESS")]
    node: Option<String>,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,

    #[command(subcommand)]
    offline: Option<Offline>,
}

/// What is done with a file, without a connection.
#[derive(Subcommand, Debug)]
pub(crate) enum Offline {
    /// Read a whole backup, and check each byte of it
    Verify {
        /// The file
        file: PathBuf,
    },
    /// Print what a backup contains; reads its beginning only
    Show {
        /// The file
        file: PathBuf,
    },
}

impl BackupCommand {
    /// The part that needs no connection, if it is that.
    pub(crate) fn offline(&self) -> Option<&Offline> {
        self.offline.as_ref()
    }

    /// Makes a backup.
    pub(crate) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let Some(file) = &self.file else { return Ok(0) };
        if file.as_os_str() == "-" {
            if context.terminal {
                let message =
                    "standard output is a terminal: name a file, or a program that reads the backup";
                return Err(Failure::usage(message));
            }
            return self.to_output(context, out).await;
        }
        let path = absolute(file);
        if !self.force && path.symlink_metadata().is_ok() {
            return Err(save_failure(SaveError::Exists { path }, false));
        }
        let attempts = async {
            let mut attempt = 1;
            loop {
                match self.to_file(context, &path).await {
                    Err(SaveError::Call(error)) if attempt < ATTEMPTS_MAX && is_lost(&error) => {
                        // If it cannot be written, the command goes on.
                        let _ = writeln!(io::stderr(), "{error}; beginning again");
                        attempt += 1;
                    }
                    result => return result.map_err(|error| save_failure(error, self.node.is_some())),
                }
            }
        };
        let done = tokio::select! {
            done = attempts => done?,
            // The incomplete file is removed, which a process that is killed leaves behind.
            Ok(()) = tokio::signal::ctrl_c() => return Ok(INTERRUPTED),
        };
        done.print(context.format, &path, out)?;
        Ok(0)
    }

    async fn begin(&self, context: &Context) -> Result<Backup, Error> {
        match &self.node {
            Some(address) => context.client.backup_of(address).await,
            None => context.client.backup().await,
        }
    }

    async fn to_file(&self, context: &Context, path: &Path) -> Result<Done, SaveError> {
        let begun = Instant::now();
        let mut backup = self.begin(context).await?;
        let mut progress = Progress::new(io::stderr().is_terminal());
        let saved = backup.save(path, self.force, |backup| progress.at(backup)).await?;
        Ok(Done {
            bytes: saved.bytes,
            address: backup.address().to_owned(),
            info: backup.info().clone(),
            begun,
        })
    }

    async fn to_output(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let call = |error| save_failure(SaveError::Call(error), self.node.is_some());
        let mut backup = self.begin(context).await.map_err(call)?;
        let mut progress = Progress::new(io::stderr().is_terminal());
        let mut writer = BackupWriter::new(BufWriter::with_capacity(BUFFER, out), backup.info())?;
        while let Some(bytes) = backup.next().await.map_err(call)? {
            writer.write(&bytes)?;
            progress.at(&backup);
        }
        writer.finish()?;
        Ok(0)
    }
}

impl Offline {
    pub(crate) fn run(&self, format: Format, out: &mut dyn Write) -> Result<u8, Failure> {
        match self {
            Offline::Verify { file } => {
                let begun = Instant::now();
                let (info, bytes) =
                    open(file).and_then(verify_backup).map_err(|error| invalid(file, error))?;
                let (revision, keys) = (info.revision(), super::progress::keys(info.keys()));
                match format {
                    Format::Table => writeln!(
                        out,
                        "{} is complete, every byte is as it was written: revision {revision}, {keys}, {}",
                        file.display(),
                        size(bytes)
                    )?,
                    Format::Json => {
                        let mut fields = fields(&info);
                        fields.insert("bytes".to_owned(), bytes.into());
                        fields.insert("milliseconds".to_owned(), milliseconds(begun).into());
                        write_json(out, &fields)?;
                    }
                }
            }
            Offline::Show { file } => {
                let reader = open(file).and_then(BackupReader::new).map_err(|error| invalid(file, error))?;
                match format {
                    Format::Table => show(reader.info(), out)?,
                    Format::Json => write_json(out, &fields(reader.info()))?,
                }
            }
        }
        Ok(0)
    }
}

/// What was written to a file.
struct Done {
    bytes: u64,
    address: String,
    info: BackupInfo,
    begun: Instant,
}

impl Done {
    fn print(&self, format: Format, path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let Done { bytes, address, info, begun } = self;
        match format {
            Format::Table => {
                let seconds = begun.elapsed().as_secs_f64();
                let keys = super::progress::keys(info.keys());
                let rate = size((*bytes as f64 / seconds.max(0.001)) as u64);
                let (revision, bytes) = (info.revision(), size(*bytes));
                writeln!(
                    out,
                    "backup at revision {revision}, {keys}, {bytes} in {seconds:.1} s ({rate}/s), from node {address}"
                )?;
            }
            Format::Json => {
                let mut fields = fields(info);
                fields.insert("file".to_owned(), path.display().to_string().into());
                fields.insert("bytes".to_owned(), (*bytes).into());
                fields.insert("address".to_owned(), address.as_str().into());
                fields.insert("milliseconds".to_owned(), milliseconds(*begun).into());
                write_json(out, &fields)?;
            }
        }
        Ok(())
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Reports on standard error how far a backup is: bytes, and the rate since the last report.
struct Progress {
    shown: bool,
    /// When the last line was written, and the number of bytes then.
    last: (Instant, u64),
}

impl Progress {
    fn new(shown: bool) -> Progress {
        Progress { shown, last: (Instant::now(), 0) }
    }

    fn at(&mut self, backup: &Backup) {
        let since = self.last.0.elapsed();
        if self.shown && since >= INTERVAL {
            let line = Progress::line(backup.position(), backup.info().length(), self.last.1, since);
            // If it cannot be written, the command goes on.
            let _ = writeln!(io::stderr(), "{line}");
            self.last = (Instant::now(), backup.position());
        }
    }

    fn line(now: u64, total: u64, before: u64, since: Duration) -> String {
        let rate = (now - before) as f64 / since.as_secs_f64();
        format!("{} of {}, {}/s", size(now), size(total), size(rate as u64))
    }
}

/// Whether another attempt may succeed, of a backup that was begun or not.
fn is_lost(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::FailedPrecondition | Kind::ConnectionLost | Kind::Unavailable | Kind::DeadlineExceeded
    ) && error.operation() == gometa_client::Operation::ReadBackup
}

fn save_failure(error: SaveError, named: bool) -> Failure {
    match error {
        SaveError::Call(error) => {
            let advice = match error.kind() {
                Kind::Unsupported => Some("the node runs an earlier version of gometa-server: upgrade it"),
                Kind::FailedPrecondition => {
                    Some("begin another backup; a slow reader needs more than a minute for a part")
                }
                Kind::ResourceExhausted => {
                    Some("wait until another backup is read, or name another node with --node")
                }
                Kind::Unavailable | Kind::DeadlineExceeded if !named => {
                    Some("without a leader, one node can be backed up: gometa backup FILE --node ADDRESS")
                }
                _ => None,
            };
            match advice {
                None => Failure::Call(error),
                Some(advice) => explained(error.to_string(), Failure::Call(error), Some(advice)),
            }
        }
        SaveError::Exists { path } => Failure::usage(format!(
            "{} exists: name another file, or replace a file with --force",
            path.display()
        )),
        SaveError::Io { path, source } => explained(
            format!("cannot write {}: {source}", path.display()),
            Failure::Io { what: "cannot write", error: source },
            None,
        ),
        other => Failure::usage(other.to_string()),
    }
}

fn explained(message: String, cause: Failure, advice: Option<&str>) -> Failure {
    let advice = advice.map(str::to_owned);
    Failure::Explained(Box::new(Explained { cause, message, advice, fields: Map::new() }))
}

fn open(file: &Path) -> Result<io::BufReader<File>, FormatError> {
    Ok(io::BufReader::with_capacity(BUFFER, File::open(file)?))
}

/// The failure for a file that is no sound backup.
fn invalid(file: &Path, error: FormatError) -> Failure {
    let message = format!("{}: {error}", file.display());
    let error = match error {
        FormatError::Io(error) => error,
        _ => io::Error::from(io::ErrorKind::InvalidData),
    };
    explained(message, Failure::Io { what: "cannot read", error }, None)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time as people read it, in UTC.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The calendar repeats itself every 400 years, which begin on the first of March here.
    let shifted = days + 719_468;
    let (cycle, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = cycle * 400 + year + carry;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn fields(info: &BackupInfo) -> Map<String, Value> {
    let members: Vec<Value> = info
        .members()
        .iter()
        .map(|member| {
            json!({
                "node": format!("{:016x}", member.node),
                "message_address": member.message_address,
                "request_address": member.request_address,
                "votes": member.votes,
            })
        })
        .collect();
    let created = info.created().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let fields = json!({
        "backup": format!("{:016x}", info.id()),
        "ensemble": hex(&info.ensemble().id),
        "history": info.ensemble().history,
        "revision": info.revision(),
        "epoch": info.epoch(),
        "oldest_revision": info.oldest_revision(),
        "keys": info.keys(),
        "sessions": info.sessions(),
        "state_hash": hex(info.state_hash()),
        "format": info.format(),
        "level": info.level(),
        "members": members,
        "node": format!("{:016x}", info.node()),
        "created_unix_ms": created,
        "version": info.version(),
        "length": info.length(),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn show(info: &BackupInfo, out: &mut dyn Write) -> Result<(), Failure> {
    let ensemble = info.ensemble();
    let mut rows = vec![
        ("backup", format!("{:016x}", info.id())),
        ("created", date(info.created())),
        ("by node", format!("{:016x}, version {}", info.node(), info.version())),
        ("ensemble", format!("{}, history {}", hex(&ensemble.id), ensemble.history)),
        ("revision", format!("{}, epoch {}", info.revision(), info.epoch())),
        ("history", format!("from revision {}", info.oldest_revision())),
        ("keys", info.keys().to_string()),
        ("sessions", info.sessions().to_string()),
        ("state hash", hex(info.state_hash())),
        ("records", format!("format {}, level {}", info.format(), info.level())),
        ("size", size(info.length())),
    ];
    for member in info.members() {
        let role = if member.votes { "voter" } else { "learner" };
        rows.push(("member", format!("{:016x}, {role}, {}", member.node, member.request_address)));
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), printed(&value)]).collect();
    Ok(write_table(out, &rows)?)
}

/// A text of a file, for the terminal.
fn printed(text: &str) -> String {
    gometa_client::printable(text.as_bytes(), gometa_client::Layout::OneLine)
}

/// The command `restore`.
#[derive(clap::Args, Debug)]
pub(crate) struct Restore {
    /// The backup
    file: PathBuf,

    /// The directory to be made, instead of DataDir of the configuration
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl Restore {
    /// Runs the server's part, and returns its exit status.
    pub(crate) fn run(&self, options: &Options) -> Result<u8, Failure> {
        let config = options.config.as_ref().ok_or_else(|| {
            Failure::usage("restore needs --config FILE: the configuration of the node, as for gometa-server")
        })?;
        let joined = |flag: &str, value: &Path| {
            let mut argument = std::ffi::OsString::from(flag);
            argument.push(value);
            argument
        };
        let program = beside().unwrap_or_else(|| PathBuf::from(SERVER));
        let mut command = process::Command::new(&program);
        command.arg(joined("-restore=", &self.file)).arg(joined("-config=", config));
        if let Some(directory) = &self.data_dir {
            command.arg(joined("-data-dir=", directory));
        }
        let status = command.status().map_err(|error| {
            let message = format!("cannot run {}: {error}", program.display());
            let advice = "install gometa-server beside gometa, or in a directory of PATH";
            explained(message, Failure::Io { what: "cannot run gometa-server", error }, Some(advice))
        })?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}

/// The server beside this program, if it is there.
fn beside() -> Option<PathBuf> {
    let path = env::current_exe().ok()?.with_file_name(SERVER);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        let at = |seconds: u64| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(951_868_800), "2000-03-01 00:00:00 UTC");
        assert_eq!(at(1_798_761_599), "2026-12-31 23:59:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn progress_has_bytes_and_the_rate_since_the_last_line() {
        let line = Progress::line(30 << 20, 300 << 20, 10 << 20, Duration::from_millis(500));
        assert_eq!(line, "30 MiB of 300 MiB, 40 MiB/s");
    }
}
