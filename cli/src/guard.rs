//! The option `--guard` of the commands that write.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use clap::builder::{OsStringValueParser, TypedValueParser};
use gometa_client::Client;

use crate::{context::Context, words};

/// What is expected, for messages.
const EXPECTED: &str =
    "write KEY@CREATE_REVISION, such as lock@12; `gometa get KEY -o json` shows the create_revision";

/// The option of a command that writes.
#[derive(clap::Args, Debug)]
pub(crate) struct Guarded {
    /// Only if this key, such as that of a lock, exists and was created at this revision: else exit status 4.
    /// `gometa get KEY -o json` shows its create_revision
    #[arg(long, value_name = "KEY@CREATE_REVISION", value_parser = OsStringValueParser::new().try_map(parse))]
    guard: Option<Guard>,
}

/// A key, and the revision at which it was created.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Guard {
    key: Vec<u8>,
    create_revision: u64,
}

impl Guarded {
    /// Whether there is a guard.
    pub(crate) fn is_given(&self) -> bool {
        self.guard.is_some()
    }

    /// The client, with the guard if there is one.
    pub(crate) fn client(&self, context: &Context) -> Client {
        match &self.guard {
            Some(Guard { key, create_revision }) => context.client.with_guard(key, *create_revision),
            None => context.client.clone(),
        }
    }
}

/// Parses a guard: a key may have any bytes, `@` too, so the last one separates. The error is a message.
fn parse(argument: OsString) -> Result<Guard, String> {
    let bytes = argument.as_bytes();
    let Some(at) = bytes.iter().rposition(|byte| *byte == b'@') else {
        return Err(format!("there is no @: {EXPECTED}"));
    };
    let (key, revision) = (&bytes[..at], &bytes[at + 1..]);
    if key.is_empty() {
        return Err(format!("the key is empty: {EXPECTED}"));
    }
    match words::number(revision) {
        Some(0) => Err(format!("no key is created at revision 0: {EXPECTED}")),
        Some(create_revision) => Ok(Guard { key: key.to_vec(), create_revision }),
        None => {
            let revision = OsString::from_vec(revision.to_vec());
            Err(format!("{revision:?} is no revision: {EXPECTED}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_sign_separates_key_and_revision() {
        for (text, key, create_revision) in [
            (&b"lock@12"[..], &b"lock"[..], 12),
            (b"a@b@1", b"a@b", 1),
            (b"@@7", b"@", 7),
            (b"k\xff @18446744073709551615", b"k\xff ", u64::MAX),
        ] {
            let guard = Guard { key: key.to_vec(), create_revision };
            assert_eq!(parse(OsString::from_vec(text.to_vec())), Ok(guard), "{text:?}");
        }
    }

    #[test]
    fn a_malformed_guard_is_refused_with_its_fault() {
        for (text, fault) in [
            (&b"lock"[..], "there is no @"),
            (b"", "there is no @"),
            (b"@12", "the key is empty"),
            (b"lock@", "\"\" is no revision"),
            (b"lock@0", "no key is created at revision 0"),
            (b"lock@-1", "\"-1\" is no revision"),
            (b"lock@+1", "\"+1\" is no revision"),
            (b"lock@12 ", "\"12 \" is no revision"),
            (b"lock@1\xff", "\"1\\xFF\" is no revision"),
            (b"lock@18446744073709551616", "is no revision"),
        ] {
            let refused = parse(OsString::from_vec(text.to_vec())).unwrap_err();
            assert!(refused.starts_with(fault) || refused.contains(fault), "{text:?}: {refused}");
            assert!(refused.ends_with(EXPECTED), "{refused}");
        }
    }
}
