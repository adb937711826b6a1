//! `gometa get`: prints a key's value.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::{Client, ReadOptions};
use serde_json::{Map, Value};

use crate::{
    args::Get,
    output::{Failure, Format, put_bytes},
};

pub(super) async fn run(
    client: &Client,
    args: &Get,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let options = match args.local {
        true => ReadOptions::local().with_min_revision(args.min_revision),
        false => ReadOptions::default(),
    };
    let entry = client.get_with(args.key.as_bytes(), options).await?;
    // Bytes as they are, also where they are no text.
    if args.raw || format == Format::Table {
        out.write_all(&entry.value)?;
        if !args.raw {
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    let mut fields = Map::new();
    put_bytes(&mut fields, "key", &entry.key);
    put_bytes(&mut fields, "value", &entry.value);
    fields.insert("version".to_owned(), entry.version.into());
    fields.insert("create_revision".to_owned(), entry.create_revision.into());
    fields.insert("mod_revision".to_owned(), entry.mod_revision.into());
    writeln!(out, "{}", Value::Object(fields))?;
    Ok(())
}
