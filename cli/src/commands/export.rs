//! `gometa export`: keys and values of one revision, as lines of JSON.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, IsTerminal, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use gometa_client::{Error, ErrorKind as Kind, Range};
use serde_json::{Map, json};
use tempfile::NamedTempFile;

use super::progress::{Progress, keys};
use crate::{
    context::Context,
    options::absolute,
    output::{Explained, Failure, Format, INTERRUPTED, put_bytes, write_json},
};

/// The size of the buffer of the output in bytes.
const BUFFER: usize = 64 << 10;

/// The format of the lines.
pub(crate) const FORMAT_HELP: &str = "\
A line is {\"key\":\"a\",\"value\":\"b\"}. A key or value that is not UTF-8 is in base64, as key_base64 or value_base64.
All keys are read at one revision; values need not fit into memory.

A file gets its name when it is complete, and is readable by its owner only. What is written to standard output before
a failure is incomplete: check the exit status.";

#[derive(clap::Args, Debug)]
pub(crate) struct Export {
    /// The file to be written, "-" for standard output
    #[arg(default_value = "-")]
    file: PathBuf,

    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["start", "end"])]
    prefix: Option<OsString>,

    /// Leave out the keys below this one
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,

    /// Leave out this key and those above it
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

impl Export {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        if self.file.as_os_str() == "-" {
            let mut buffer = BufWriter::with_capacity(BUFFER, out);
            let shown = !context.terminal && io::stderr().is_terminal();
            self.write(context, shown, &mut buffer).await?;
            buffer.flush()?;
            return Ok(0);
        }
        let target = Target { path: absolute(&self.file), force: self.force };
        target.check()?;
        let mut temporary = target.temporary()?;
        let mut buffer = BufWriter::with_capacity(BUFFER, temporary.as_file_mut());
        let written = tokio::select! {
            written = self.write(context, io::stderr().is_terminal(), &mut buffer) => written,
            // The temporary file is removed, which a process that is killed leaves behind.
            true = interrupted(context) => return Ok(INTERRUPTED),
        };
        let written = written.and_then(|done| Ok((buffer.flush()?, done).1));
        drop(buffer);
        let Done { keys: count, bytes, revision } = written.map_err(|failure| match failure {
            Failure::Io { error, .. } => target.failed(error),
            failure => failure,
        })?;
        target.publish(temporary)?;
        match context.format {
            Format::Table => writeln!(out, "{} exported at revision {revision}", keys(count))?,
            Format::Json => {
                writeln!(out, "{}", json!({ "keys": count, "bytes": bytes, "revision": revision }))?;
            }
        }
        Ok(0)
    }

    fn range(&self) -> Range {
        let bytes =
            |argument: &Option<OsString>| argument.as_deref().map_or(&[][..], OsStr::as_bytes).to_vec();
        Range::prefix(bytes(&self.prefix)).start(bytes(&self.start)).end(bytes(&self.end))
    }

    /// Writes the lines.
    async fn write(&self, context: &Context, shown: bool, out: &mut dyn Write) -> Result<Done, Failure> {
        let mut scan = context.client.scan(self.range());
        let mut progress = Progress::new(shown);
        while let Some(entry) = scan.next().await {
            let entry = entry.map_err(|error| failed_at(scan.revision(), error))?;
            let mut fields = Map::new();
            put_bytes(&mut fields, "key", &entry.key);
            put_bytes(&mut fields, "value", &entry.value);
            write_json(out, &fields)?;
            progress.count(entry.key.len() + entry.value.len());
        }
        let revision = scan.revision().unwrap_or_default();
        Ok(Done { keys: progress.keys(), bytes: progress.bytes(), revision })
    }
}

/// What was written.
struct Done {
    keys: u64,
    /// The bytes of keys and values.
    bytes: u64,
    revision: u64,
}

/// The failure of a scan that reads at `revision`.
fn failed_at(revision: Option<u64>, error: Error) -> Failure {
    match revision {
        Some(revision) if error.kind() == Kind::Compacted => Failure::Explained(Box::new(Explained {
            message: format!(
                "export: not complete: the ensemble has dropped revision {revision}, at which the keys are read: {}",
                error.message()
            ),
            advice: Some(
                "keep a longer history meanwhile (`gometa settings`: HistoryAgeMinutes, HistoryBytesMax), or export \
                 smaller ranges"
                    .to_owned(),
            ),
            cause: Failure::Call(error),
            fields: Map::new(),
        })),
        _ => Failure::Call(error),
    }
}

/// Waits for Ctrl-C. False if it cannot be received, or is received by the shell.
async fn interrupted(context: &Context) -> bool {
    context.dash && tokio::signal::ctrl_c().await.is_ok()
}

/// The file that is written.
struct Target {
    path: PathBuf,
    /// Whether an existing file is replaced.
    force: bool,
}

impl Target {
    /// Checks that the file can get its name.
    fn check(&self) -> Result<(), Failure> {
        let name = self.path.display();
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Failure::usage(format!("cannot write {name}: {error}"))),
            Ok(metadata) if !metadata.is_file() => {
                let message =
                    format!("{name} is no regular file: write to standard output, `gometa export > FILE`");
                Err(Failure::usage(message))
            }
            Ok(_) if self.force => Ok(()),
            Ok(_) => Err(self.exists()),
        }
    }

    fn exists(&self) -> Failure {
        Failure::usage(format!(
            "{} exists: name another file, or replace it with --force",
            self.path.display()
        ))
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::Explained(Box::new(Explained {
            message: format!("cannot write {}: {error}", self.path.display()),
            cause: Failure::Io { what: "cannot write", error },
            advice: None,
            fields: Map::new(),
        }))
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Creates a file beside it, which is removed if it is dropped.
    fn temporary(&self) -> Result<NamedTempFile, Failure> {
        let mut prefix = OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        prefix.push(".");
        let created =
            tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempfile_in(self.directory());
        created.map_err(|error| Failure::usage(format!("cannot write {}: {error}", self.path.display())))
    }

    /// Makes the complete file durable under its name.
    fn publish(&self, temporary: NamedTempFile) -> Result<(), Failure> {
        let failed = |error| self.failed(error);
        temporary.as_file().sync_all().map_err(failed)?;
        let renamed =
            if self.force { temporary.persist(&self.path) } else { temporary.persist_noclobber(&self.path) };
        renamed.map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => self.exists(),
            _ => self.failed(error.error),
        })?;
        File::open(self.directory()).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}
