//! Reading a configuration file, and its errors.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::de::DeserializeSeed;

use super::{
    json::{SectionSeed, UnknownKeys, Unknowns},
    sections::Document,
};

/// The longest configuration file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// An error in a configuration, as one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// An error at a position in the file.
    #[error("{file}:{line}:{column}: {what}")]
    At {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes; just after the error.
        column: usize,
        /// The error, and what was expected.
        what: String,
    },
    /// An error of the file as a whole.
    #[error("{file}: {what}")]
    Whole {
        /// The file.
        file: String,
        /// The error, and what was expected.
        what: String,
    },
}

impl ConfigError {
    pub(super) fn whole(file: &str, what: impl Into<String>) -> ConfigError {
        ConfigError::Whole { file: file.to_owned(), what: what.into() }
    }
}

/// The absolute path; unchanged if the working directory is unknown.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Reads the file at the path that `source` names: a flag or a variable.
pub(super) fn read(path: &Path, source: &str) -> Result<String, ConfigError> {
    let whole = |what: String| ConfigError::whole(&path.display().to_string(), what);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| whole(format!("cannot be read: {error}; check the path given with {source}")))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(whole(format!("longer than {FILE_MAX} bytes: expected a configuration in JSON")));
    }
    String::from_utf8(bytes).map_err(|_| whole("not UTF-8 text: expected a configuration in JSON".to_owned()))
}

/// Parses the JSON; returns a warning for each ignored key, too.
pub(super) fn parse_document(
    file: &str,
    text: &str,
    unknown_keys: UnknownKeys,
) -> Result<(Document, Vec<String>), ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unknowns = Unknowns::new(unknown_keys);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let document = SectionSeed::<Document>::new(&unknowns)
        .deserialize(&mut deserializer)
        .and_then(|document| deserializer.end().map(|()| document))
        .map_err(|error| locate(file, text, &error))?;
    let warnings = unknowns
        .into_warnings()
        .into_iter()
        .map(|(key, what)| {
            let line = text
                .find(&format!("\"{key}\""))
                .map_or(1, |offset| text[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1);
            format!("{file}:{line}: ignored: {what}")
        })
        .collect();
    Ok((document, warnings))
}

/// Translates an error of serde_json, and adds the position.
fn locate(file: &str, json: &str, error: &serde_json::Error) -> ConfigError {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let what = match what {
        what if what.starts_with("control character") => {
            "a string does not end on its line: expected a closing \"".to_owned()
        }
        "trailing comma" => "a comma with nothing after it: expected another item, or no comma".to_owned(),
        "trailing characters" => "text after the configuration: expected the end of the file".to_owned(),
        what if what.starts_with("EOF while parsing") => {
            format!("the file ends too early ({what}): expected the rest of it")
        }
        "key must be a string" => "expected a key in double quotes".to_owned(),
        "expected value" => "expected a value: a string in double quotes, a number, {…} or […]".to_owned(),
        what => what.to_owned(),
    };
    let file = file.to_owned();
    match (error.line(), error.column()) {
        (0, _) => ConfigError::Whole { file, what },
        // Missing at the end of a line: the position is there, not at the start of the next one.
        (line, 0) if line > 1 => {
            let column = json.lines().nth(line - 2).map_or(1, |before| before.len() + 1);
            ConfigError::At { file, line: line - 1, column, what }
        }
        (line, column) => ConfigError::At { file, line, column, what },
    }
}
