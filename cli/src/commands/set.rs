//! `gometa set`: creates or replaces a key.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt};

use crate::{
    context::Context,
    guard::Guarded,
    output::{Failure, write_written},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Set {
    key: OsString,
    /// "-" for standard input
    value: OsString,

    #[command(flatten)]
    guarded: Guarded,
}

impl Set {
    pub(super) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        let value = context.value(&self.value)?;
        let written = self.guarded.client(context).set(self.key.as_bytes(), value).await?;
        write_written(out, context.format, written)
    }
}
