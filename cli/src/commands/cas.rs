//! `gometa cas`: replaces a key if it has a given revision.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

use crate::{
    context::Context,
    guard::Guarded,
    output::{Failure, write_written},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Cas {
    key: OsString,
    /// The expected mod_revision, 0 if the key must not exist; `gometa get KEY -o json` shows it
    revision: u64,
    /// "-" for standard input
    value: OsString,

    #[command(flatten)]
    guarded: Guarded,
}

impl Cas {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let value = context.value(&self.value)?;
        let written = self.guarded.client(context).cas(self.key.as_bytes(), self.revision, value).await?;
        write_written(out, context.format, written)
    }
}
