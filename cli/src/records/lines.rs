//! Lines of JSON, as `gometa export` writes them.

use std::io::{BufRead, Read};

use super::record::{Fault, Record, Sink, Stop, with_place};
use crate::{input::without_byte_order_mark, pair::Pair};

/// The length of the longest line in bytes: room for a value in escapes.
const LINE_MAX: u64 = 8 << 20;

/// Reads lines until the end of the input. Empty lines count, and are no records.
pub(super) fn read(mut input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut line = Vec::new();
    for position in 1u64.. {
        line.clear();
        let read = input.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line);
        read.map_err(|error| Fault::of_input(Some(position), error))?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > LINE_MAX {
            return Err(Fault::of_text(Some(position), format!("it has more than {LINE_MAX} bytes")));
        }
        let text = if position == 1 { without_byte_order_mark(&line) } else { &line };
        let text = text.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        // The parser would take a list for an object.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(Fault::of_text(Some(position), "expected an object with key and value"));
        }
        let Pair { key, value } = serde_json::from_slice(text).map_err(|error| {
            Fault::of_text(Some(position), with_place(&error, |_, column| format!("column {column}")))
        })?;
        sink(Record::new(position, key, value, false))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::record::collected, *};

    fn read_all(text: &str) -> (Vec<Record>, Option<(Option<u64>, String)>) {
        collected(|sink| read(text.as_bytes(), sink))
    }

    fn record(position: u64, key: &[u8], value: &[u8]) -> Record {
        Record::new(position, key.to_vec(), value.to_vec(), false)
    }

    #[test]
    fn keys_and_values_are_text_or_base64_each() {
        let text = "\u{feff}{\"key\": \"a\", \"value\": \"é\\n\"}\r\n\n  \r\n{\"value_base64\":\"\",\"key_base64\":\"/w==\"}\n\
                    {\"key_base64\":\"AP8=\",\"value\":\"\"}";
        let expected =
            vec![record(1, b"a", "é\n".as_bytes()), record(4, b"\xff", b""), record(5, b"\0\xff", b"")];
        assert_eq!(read_all(text), (expected, None));
        assert_eq!(read_all(""), (vec![], None));
    }

    #[test]
    fn a_bad_line_is_named_and_the_lines_before_it_are_passed_on() {
        for (line, expected) in [
            ("{\"key\":\"b\",\"value\":\"cut", "column 23: EOF while parsing a string"),
            ("hello", "expected an object with key and value"),
            ("[1, 2]", "expected an object with key and value"),
            ("7", "expected an object with key and value"),
            ("{\"value\":\"v\"}", "missing field `key`"),
            ("{\"key\":\"k\"}", "missing field `value`"),
            (
                "{\"key\":\"k\",\"value\":\"v\",\"version\":3}",
                "column 32: unknown field `version`, expected one of `key`, `key_base64`, `value`, `value_base64`",
            ),
            ("{\"key\":\"k\",\"key\":\"l\",\"value\":\"v\"}", "column 16: duplicate field `key`"),
            (
                "{\"key\":\"k\",\"value\":\"v\",\"value_base64\":\"dg==\"}",
                "both `value` and `value_base64`: one of them is enough",
            ),
            (
                "{\"key\":\"k\",\"value_base64\":\"dg\"}",
                "`value_base64` is no base64 with padding (RFC 4648)",
            ),
            ("{\"key\":\"k\",\"value\":\"v\"} {}", "column 25: trailing characters"),
        ] {
            let text =
                format!("{{\"key\":\"a\",\"value\":\"1\"}}\n\n{line}\n{{\"key\":\"z\",\"value\":\"1\"}}\n");
            let (records, fault) = read_all(&text);
            assert_eq!(records, [record(1, b"a", b"1")], "{line}");
            assert_eq!(fault, Some((Some(3), expected.to_owned())), "{line}");
        }
    }

    #[test]
    fn the_length_of_a_line_is_bounded() {
        let longest = "\\u0001".repeat(1 << 20);
        let (records, fault) = read_all(&format!("{{\"key\":\"a\",\"value\":\"{longest}\"}}"));
        assert_eq!((records.len(), fault), (1, None), "a value of the largest size in escapes");
        let (records, fault) =
            read_all(&format!("\n{{\"key\":{}\"a\",\"value\":\"\"}}", " ".repeat(8 << 20)));
        let expected = "it has more than 8388608 bytes".to_owned();
        assert_eq!((records.len(), fault), (0, Some((Some(2), expected))));
    }

    #[test]
    fn sizes_are_checked_before_a_record_is_passed_on() {
        let line = |key: usize, value: usize| {
            format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", "k".repeat(key), "v".repeat(value))
        };
        let (found, fault) = read_all(&[line(1, 0), line(4096, 1 << 20)].join("\n"));
        assert_eq!((found.len(), fault), (2, None));
        for (key, value, expected) in [
            (0, 1, "set \"\": the key is empty; keys have at least 1 byte"),
            (4097, 1, "…\": a key of 4097 bytes exceeds the limit of 4096 bytes"),
            (1, (1 << 20) + 1, "set \"k\": a value of 1048577 bytes exceeds the limit of 1048576 bytes"),
        ] {
            let (found, fault) = read_all(&[line(1, 0), line(key, value), line(1, 0)].join("\n"));
            let (position, message) = fault.unwrap();
            assert_eq!((found.len(), position), (1, Some(2)), "{message}");
            assert!(message.ends_with(expected), "{message}");
        }
    }
}
