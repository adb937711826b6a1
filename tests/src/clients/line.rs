//! The lines that are exchanged with a driver: words, `name=value`, bytes in hexadecimal.

use std::{collections::BTreeMap, fmt};

use anyhow::Context as _;

/// A call: a verb and its fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// `set`
    pub verb: String,
    /// The fields in the order of the line.
    pub fields: Vec<(String, String)>,
}

/// The answer to a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Success, with these results.
    Ok(BTreeMap<String, String>),
    /// Failure, with these details.
    Error(BTreeMap<String, String>),
    /// The client does not offer the call.
    Unsupported,
}

impl Line {
    /// Creates a line without fields.
    pub fn new(verb: &str) -> Line {
        Line { verb: verb.to_owned(), fields: Vec::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Line {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a field with bytes.
    #[must_use]
    pub fn with_bytes(self, name: &str, bytes: &[u8]) -> Line {
        self.with(name, hex(bytes))
    }

    /// Returns a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Returns a required field.
    pub fn wanted(&self, name: &str) -> anyhow::Result<&str> {
        self.field(name).with_context(|| format!("{} needs {name}", self.verb))
    }

    /// Returns a required field with bytes.
    pub fn bytes(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        unhex(self.wanted(name)?)
    }

    /// Returns an optional field with a number.
    pub fn number(&self, name: &str) -> anyhow::Result<Option<u64>> {
        self.field(name).map(str::parse).transpose().with_context(|| format!("{name} is a number"))
    }

    /// Parses a line, which begins with a number.
    pub fn parse(text: &str) -> anyhow::Result<(u64, Line)> {
        let mut words = text.split(' ');
        let number = words.next().unwrap_or_default();
        let number = number.parse().with_context(|| format!("{number:?} is not a number of a call"))?;
        let verb = words.next().context("a verb comes second")?.to_owned();
        let fields = words.map(named).collect::<anyhow::Result<_>>()?;
        Ok((number, Line { verb, fields }))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verb)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Answer {
    /// Parses a line, which begins with a number.
    pub fn parse(text: &str) -> anyhow::Result<(u64, Answer)> {
        let (number, line) = Line::parse(text)?;
        let fields = || line.fields.iter().cloned().collect();
        let answer = match line.verb.as_str() {
            "ok" => Answer::Ok(fields()),
            "error" => Answer::Error(fields()),
            "unsupported" => Answer::Unsupported,
            verb => anyhow::bail!("{verb:?} is not an answer"),
        };
        Ok((number, answer))
    }

    /// Returns a numeric result.
    pub fn number(&self, name: &str) -> anyhow::Result<u64> {
        let Answer::Ok(fields) = self else { anyhow::bail!("it failed: {self}") };
        let value = fields.get(name).with_context(|| format!("the answer has no {name}: {self}"))?;
        value.parse().with_context(|| format!("{name}={value} is not a number"))
    }

    /// Returns the kind of a failure.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Answer::Error(fields) => fields.get("kind").map(String::as_str),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, fields) = match self {
            Answer::Ok(fields) => ("ok", fields),
            Answer::Error(fields) => ("error", fields),
            Answer::Unsupported => return f.write_str("unsupported"),
        };
        f.write_str(verb)?;
        fields.iter().try_for_each(|(name, value)| match value.len() {
            0..=200 => write!(f, " {name}={value}"),
            length => write!(f, " {name}=({} bytes)", length / 2),
        })?;
        match self {
            Answer::Error(fields) => {
                let message = fields.get("message").map(|hex| unhex(hex).unwrap_or_default());
                write!(f, " {:?}", String::from_utf8_lossy(&message.unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }
}

fn named(word: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = word.split_once('=').with_context(|| format!("{word:?} is not name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Formats bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Parses bytes in hexadecimal.
pub fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(text.is_ascii() && text.len().is_multiple_of(2), "{text:?} is not hexadecimal");
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    pairs.collect::<Result<_, _>>().with_context(|| format!("{text:?} is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let line = Line::new("cas").with("client", 1).with_bytes("key", b"k\xff\0").with_bytes("value", b"");
        assert_eq!(line.to_string(), "cas client=1 key=6bff00 value=");
        let (number, read) = Line::parse("7 cas client=1 key=6bff00 value=").unwrap();
        assert_eq!((number, &read), (7, &line));
        assert_eq!(read.bytes("key").unwrap(), b"k\xff\0");
        assert_eq!(read.number("client").unwrap(), Some(1));
        for text in ["", "x set", "7", "7 set key", "7 set key=6"] {
            assert!(Line::parse(text).and_then(|(_, line)| line.bytes("key")).is_err(), "{text}");
        }
    }

    #[test]
    fn answers_are_read() {
        let (number, answer) = Answer::parse("9 ok revision=12 version=1").unwrap();
        assert_eq!((number, answer.number("revision").unwrap()), (9, 12));
        let (_, answer) = Answer::parse("9 error kind=NotFound message=6e6f").unwrap();
        assert_eq!(answer.kind(), Some("NotFound"));
        assert!(answer.number("revision").is_err() && answer.to_string().contains("\"no\""));
        assert!(Answer::parse("9 fine").is_err());
    }
}
