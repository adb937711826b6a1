//! `gometa get`: prints a key's value.

use std::{io::Write, os::unix::ffi::OsStrExt};

use gometa_client::{Layout, ReadOptions, printable};
use serde_json::{Map, Value};

use super::Setting;
use crate::{
    args::Get,
    output::{Failure, Format, put_bytes, write_json},
};

pub(super) async fn run(setting: &Setting, args: &Get, out: &mut dyn Write) -> Result<(), Failure> {
    let options = match args.local {
        true => ReadOptions::local().with_min_revision(args.min_revision),
        false => ReadOptions::default(),
    };
    let entry = setting.client.get_with(args.key.as_bytes(), options).await?;
    if args.raw {
        return Ok(out.write_all(&entry.value)?);
    }
    if setting.format == Format::Table {
        // Elsewhere than on a terminal the bytes are as they are, also where they are not text.
        match setting.terminal {
            true => out.write_all(printable(&entry.value, Layout::Lines).as_bytes())?,
            false => out.write_all(&entry.value)?,
        }
        return Ok(out.write_all(b"\n")?);
    }
    let mut fields = Map::new();
    put_bytes(&mut fields, "key", &entry.key);
    put_bytes(&mut fields, "value", &entry.value);
    fields.insert("version".to_owned(), entry.version.into());
    fields.insert("create_revision".to_owned(), entry.create_revision.into());
    fields.insert("mod_revision".to_owned(), entry.mod_revision.into());
    Ok(write_json(out, &Value::Object(fields))?)
}
