//! `gometa history`: the versions of a key.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

use gometa_client::{HistoryOptions, KeyVersion};
use serde_json::Map;

use crate::{
    context::{Context, read_options},
    output::{Failure, Format, put_bytes, write_json},
};

const HEADINGS: [&str; 4] = ["REVISION", "CHANGE", "VERSION", "SIZE"];

#[derive(clap::Args, Debug)]
pub(crate) struct History {
    key: OsString,

    /// At most so many versions
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u64,

    /// Only versions with a lower revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    before: u64,

    /// Print no values
    #[arg(long)]
    keys_only: bool,

    /// Read from the answering node without confirmation by a quorum: faster, possibly stale
    #[arg(long)]
    local: bool,

    /// With --local: wait until the node has applied this revision
    #[arg(long, value_name = "REVISION", requires = "local", default_value_t = 0)]
    min_revision: u64,
}

impl History {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let mut options = HistoryOptions::default().options(read_options(self.local, self.min_revision));
        if self.keys_only {
            options = options.keys_only();
        }
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        let mut before = self.before;
        let mut table = Table::default();
        loop {
            let limit = if self.limit == 0 { 0 } else { left };
            let page_options = options.clone().before_revision(before).limit(limit);
            let page = context.client.history_with(self.key.as_bytes(), page_options).await?;
            left -= (page.versions.len() as u64).min(left);
            match context.format {
                Format::Json => {
                    for version in &page.versions {
                        self.write_fields(version, page.oldest_revision, out)?;
                    }
                }
                Format::Table => table.write(context, &page.versions, self.keys_only, out)?,
            }
            match page.next_before {
                Some(next) if left > 0 => before = next,
                Some(_) => return Ok(0),
                None => {
                    if context.format == Format::Table {
                        table.end(page.oldest_revision, out)?;
                    }
                    return Ok(0);
                }
            }
        }
    }

    fn write_fields(
        &self,
        version: &KeyVersion,
        oldest_revision: u64,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let mut fields = Map::new();
        put_bytes(&mut fields, "key", self.key.as_bytes());
        fields.insert("revision".to_owned(), version.revision.into());
        fields.insert("change".to_owned(), change(version).into());
        if !version.deleted {
            fields.insert("version".to_owned(), version.version.into());
            fields.insert("create_revision".to_owned(), version.create_revision.into());
            fields.insert("value_size".to_owned(), version.value_size.into());
            if !self.keys_only {
                put_bytes(&mut fields, "value", &version.value);
            }
        }
        fields.insert("oldest_revision".to_owned(), oldest_revision.into());
        Ok(write_json(out, &fields)?)
    }
}

/// What happened to the key.
fn change(version: &KeyVersion) -> &'static str {
    match version {
        KeyVersion { deleted: true, .. } => "deleted",
        KeyVersion { version: 1, .. } => "created",
        _ => "changed",
    }
}

/// The columns of all pages; values begin in the same column, unless a later page needs more room.
#[derive(Default)]
struct Table {
    widths: [usize; HEADINGS.len()],
    has_lines: bool,
}

impl Table {
    fn write(
        &mut self,
        context: &Context,
        versions: &[KeyVersion],
        keys_only: bool,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let numbers = |version: &KeyVersion| match version.deleted {
            true => [String::new(), String::new()],
            false => [version.version, version.value_size].map(|number| number.to_string()),
        };
        let rows: Vec<[String; HEADINGS.len()]> = versions
            .iter()
            .map(|version| {
                let [number, size] = numbers(version);
                [version.revision.to_string(), change(version).to_owned(), number, size]
            })
            .collect();
        for row in rows.iter().chain([&HEADINGS.map(str::to_owned)]) {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.len().max(*width);
            }
        }
        if !self.has_lines && !rows.is_empty() {
            self.has_lines = true;
            let value = if keys_only { "" } else { "VALUE" };
            self.line(HEADINGS, value.as_bytes(), out)?;
        }
        for (row, version) in rows.iter().zip(versions) {
            self.line(row.each_ref().map(String::as_str), &context.shown(&version.value), out)?;
        }
        Ok(())
    }

    fn line(&self, cells: [&str; HEADINGS.len()], value: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
        let cells: Vec<String> =
            cells.iter().zip(self.widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let cells = cells.join("  ");
        match value {
            [] => writeln!(out, "{}", cells.trim_end())?,
            value => {
                write!(out, "{cells}  ")?;
                out.write_all(value)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Writes where the history begins, after the last version.
    fn end(&self, oldest_revision: u64, out: &mut dyn Write) -> Result<(), Failure> {
        match (self.has_lines, oldest_revision) {
            (true, 0) => {}
            (true, oldest) => writeln!(out, "the history begins at revision {oldest}")?,
            (false, 0) => writeln!(out, "no versions")?,
            (false, oldest) => writeln!(out, "no versions; the history begins at revision {oldest}")?,
        }
        Ok(())
    }
}
