//! `gometa txn`: executes several operations as one.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use gometa_client::{Deleted, DeletedRange, Entry, Error, ErrorKind, OpResult, Page, Transacted, Written};
use serde_json::{Map, Value, json};

use super::scan::table;
use crate::{
    context::{Context, read_options},
    guard::Guarded,
    input,
    options::absolute,
    output::{Failure, Format, OTHERWISE, entry_fields, put_bytes, put_kind, write_json},
    txn::{self, Operation},
    words::quoted,
};

/// The exit status, and the syntax of scripts.
pub(crate) const SYNTAX_HELP: &str = "\
The exit status is 0 if `then` was executed, and 4 if `otherwise` was, also if it is empty.

A script has one statement a line:
  when
    value KEY RELATION VALUE
    mod-revision KEY RELATION REVISION
    create-revision KEY RELATION REVISION
    exists KEY
    absent KEY
    range [PREFIX] [--start KEY] [--end KEY] --count N --revision REVISION
                                   so many keys, none written after the revision
    empty [PREFIX] [--start KEY] [--end KEY]
  then                             executed if all comparisons hold
    set KEY VALUE
    delete KEY
    get KEY
    range [PREFIX] [--start KEY] [--end KEY] [--limit N] [--reverse] [--keys-only] [--delimiter TEXT]
    delete-range [PREFIX] [--start KEY] [--end KEY]
  otherwise                        executed if one does not hold; the same operations
    get KEY

A RELATION is =, !=, < or >. A key that does not exist has revisions 0, and no comparison with its value holds.
Words are separated by spaces; # before a word begins a comment.
  'single quotes'  no escapes inside
  \"double quotes\"  escapes inside: \\n \\t \\r \\0 \\\\ \\\" and \\xff for any byte
  outside quotes   the same escapes; a backslash before any other character stands for that character

The same as JSON, if the first character is {; bytes in base64 are in key_base64, value_base64, …:
  {\"when\": [{\"key\": \"a\", \"relation\": \"=\", \"mod_revision\": 7}, {\"range\": {\"prefix\": \"c/\", \"count\": 0}}],
   \"then\": [{\"set\": {\"key\": \"a\", \"value\": \"v\"}}, {\"range\": {\"prefix\": \"b/\", \"limit\": 5}},
            {\"delete_range\": {\"prefix\": \"d/\"}}],
   \"otherwise\": [{\"get\": {\"key\": \"a\"}}]}";

#[derive(clap::Args, Debug)]
pub(crate) struct Txn {
    /// The file of the transaction, "-" for standard input
    #[arg(default_value = "-")]
    file: PathBuf,

    /// If neither branch writes: read from the answering node without confirmation by a quorum: faster, possibly stale
    #[arg(long)]
    local: bool,

    /// With --local: wait until the node has applied this revision
    #[arg(long, value_name = "REVISION", requires = "local", default_value_t = 0)]
    min_revision: u64,

    #[command(flatten)]
    guarded: Guarded,
}

impl Txn {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let (name, text) = self.text(context)?;
        let transaction =
            txn::parse(&text).map_err(|message| Failure::usage(format!("{name}: {message}")))?;
        if self.local && transaction.writes() {
            let message = "--local is for transactions that write in neither branch: leave it out";
            return Err(Failure::usage(message));
        }
        if self.guarded.is_given() && !transaction.writes() {
            let message = "--guard is for transactions that write in one of their branches: leave it out";
            return Err(Failure::usage(message));
        }
        let options = read_options(self.local, self.min_revision);
        let answer = self.guarded.client(context).commit(transaction.to_txn().options(options)).await?;
        let (branch, operations) = match answer.succeeded {
            true => ("then", transaction.then),
            false => ("otherwise", transaction.otherwise),
        };
        match context.format {
            Format::Json => write_json(out, &answer_fields(&answer, &operations))?,
            Format::Table => {
                writeln!(out, "executed {branch}, revision {}", answer.revision)?;
                for (operation, result) in operations.iter().zip(&answer.results) {
                    write_result(context, operation, result, out)?;
                }
            }
        }
        Ok(if answer.succeeded { 0 } else { OTHERWISE })
    }

    /// The text of the transaction, and the name of its source.
    fn text(&self, context: &Context) -> Result<(String, Vec<u8>), Failure> {
        if self.file.as_os_str() == "-" {
            if !context.dash {
                let message = "txn: standard input is the source of the shell's lines: name a file";
                return Err(Failure::usage(message));
            }
            return Ok(("standard input".to_owned(), Context::standard_input()?));
        }
        let name = absolute(&self.file).display().to_string();
        let read = File::open(&self.file).and_then(input::read_all);
        let text = read.map_err(|error: io::Error| Failure::usage(format!("cannot read {name}: {error}")))?;
        Ok((name, text))
    }
}

/// The answer as JSON.
fn answer_fields(answer: &Transacted, operations: &[Operation]) -> Value {
    let results = operations.iter().zip(&answer.results);
    let results: Vec<Value> = results.map(|(operation, result)| result_fields(operation, result)).collect();
    json!({ "succeeded": answer.succeeded, "revision": answer.revision, "results": results })
}

fn result_fields(operation: &Operation, result: &OpResult) -> Value {
    let mut fields = Map::new();
    fields.insert("operation".to_owned(), operation.verb.replace('-', "_").into());
    let of_range = matches!(operation.verb, "range" | "delete-range");
    put_bytes(&mut fields, if of_range { "prefix" } else { "key" }, &operation.key);
    match result {
        OpResult::Written(Written { revision, version, .. }) => {
            fields.insert("revision".to_owned(), (*revision).into());
            fields.insert("version".to_owned(), (*version).into());
        }
        OpResult::Deleted(Deleted { existed, revision, .. }) => {
            fields.insert("existed".to_owned(), (*existed).into());
            fields.insert("revision".to_owned(), (*revision).into());
        }
        OpResult::DeletedRange(DeletedRange { count, revision, .. }) => {
            fields.insert("count".to_owned(), (*count).into());
            fields.insert("revision".to_owned(), (*revision).into());
        }
        OpResult::Entry(entry) => {
            fields.insert("exists".to_owned(), entry.is_some().into());
            fields.extend(entry.iter().flat_map(|entry| entry_fields(entry, false)));
        }
        OpResult::Page(page) => {
            let entries = page.entries.iter();
            let entries: Vec<_> =
                entries.map(|entry| entry_fields(entry, operation.keys.keys_only)).collect();
            fields.insert("entries".to_owned(), entries.into());
            match &page.next {
                Some(next) => put_bytes(&mut fields, "next", next),
                None => drop(fields.insert("next".to_owned(), Value::Null)),
            }
            fields.insert("revision".to_owned(), page.revision.into());
        }
        OpResult::Left(error) => drop(fields.insert("error".to_owned(), error_fields(error))),
        _ => {}
    }
    Value::Object(fields)
}

fn error_fields(error: &Error) -> Value {
    let mut fields = Map::new();
    put_kind(&mut fields, error.kind());
    fields.insert("message".to_owned(), error.message().into());
    if let Some(revision) = error.actual_revision() {
        fields.insert("actual_revision".to_owned(), revision.into());
    }
    Value::Object(fields)
}

/// Writes the line of a result, and those of a page's entries.
fn write_result(
    context: &Context,
    operation: &Operation,
    result: &OpResult,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    write!(out, "{}", operation.verb)?;
    if !operation.key.is_empty() {
        out.write_all(b" ")?;
        out.write_all(&context.shown(&operation.key))?;
    }
    out.write_all(b": ")?;
    match result {
        OpResult::Written(Written { revision, version, .. }) => {
            writeln!(out, "revision {revision}, version {version}")?;
        }
        OpResult::Deleted(Deleted { existed: true, revision, .. }) => {
            writeln!(out, "deleted at revision {revision}")?;
        }
        OpResult::DeletedRange(DeletedRange { count: 0, .. }) => writeln!(out, "there were no such keys")?,
        OpResult::DeletedRange(DeletedRange { count, revision, .. }) => {
            writeln!(
                out,
                "{count} {} deleted at revision {revision}",
                if *count == 1 { "key" } else { "keys" }
            )?;
        }
        OpResult::Deleted(_) => writeln!(out, "there was no such key")?,
        OpResult::Entry(Some(Entry { value, .. })) => {
            out.write_all(&context.shown(value))?;
            out.write_all(b"\n")?;
        }
        OpResult::Entry(None) => writeln!(out, "there is no such key")?,
        OpResult::Page(Page { entries, next, revision, .. }) => {
            let count = entries.len();
            write!(out, "{count} {}", if count == 1 { "key" } else { "keys" })?;
            if let Some(next) = next {
                let rest = operation.keys.command(Some(&next[..]), *revision);
                let rest = rest.unwrap_or_else(|| format!("at revision {revision}"));
                write!(out, ", and there are more: {rest}")?;
            }
            out.write_all(b"\n")?;
            table(context, entries, operation.keys.keys_only, "  ", out)?;
        }
        OpResult::Left(error) if error.kind() == ErrorKind::TooLarge => {
            let revision = error.actual_revision().unwrap_or_default();
            let command = match operation.verb {
                "delete-range" => None,
                "get" => Some(format!("gometa get {} --at={revision}", quoted(&operation.key))),
                _ => operation.keys.command(None, revision),
            };
            match command {
                Some(command) => writeln!(out, "the answer is full; read it with: {command}")?,
                None => writeln!(out, "the answer is full; read it at revision {revision}")?,
            }
        }
        OpResult::Left(error) => writeln!(out, "executed, without its result: {}", error.message())?,
        other => writeln!(out, "{other:?}")?,
    }
    Ok(())
}
