//! The output of `etcdctl get -w json`: the response to a range request of etcd, one JSON object.
//!
//! It is parsed as a stream: no more than one element of `kvs` is in memory. Numbers may be strings, as those of etcd's
//! gateway for HTTP are.

use std::{fmt, io::BufRead};

use serde::{
    Deserialize, Deserializer as _,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Deserializer;

use super::record::{Fault, Record, Sink, Stop, with_place};
use crate::base64;

/// Reads the object, and checks that it is complete.
pub(super) fn read(input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut kvs = Kvs { sink, count: 0, is_inside: false, stop: None };
    let mut json = Deserializer::from_reader(input);
    let parsed = json.deserialize_map(Response(&mut kvs)).and_then(|end| json.end().map(|()| end));
    if let Some(stop) = kvs.stop {
        return Err(stop);
    }
    let position = kvs.is_inside.then_some(kvs.count + 1);
    let Totals { more, count } = parsed.map_err(|error| {
        if error.is_io() {
            return Fault::of_input(position, error.into());
        }
        let place = |line, column| format!("line {line}, column {column}");
        Fault::of_text(position, with_place(&error, place))
    })?;
    if more {
        let message =
            format!("it has {} of {count} keys (\"more\" is true): write it without --limit", kvs.count);
        return Err(Fault::of_text(None, message));
    }
    if count != kvs.count {
        let message = format!("its \"count\" is {count}, but it has {} keys: it is not complete", kvs.count);
        return Err(Fault::of_text(None, message));
    }
    Ok(())
}

/// The fields behind `kvs`.
struct Totals {
    more: bool,
    count: u64,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Header,
    Kvs,
    More,
    Count,
}

/// Parses the object.
struct Response<'a, 'b>(&'a mut Kvs<'b>);

impl<'de> Visitor<'de> for Response<'_, '_> {
    type Value = Totals;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output of `etcdctl get -w json`, an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Totals, A::Error> {
        let (mut header, mut totals) = (false, Totals { more: false, count: 0 });
        while let Some(field) = map.next_key()? {
            match field {
                Field::Header => {
                    map.next_value::<IgnoredAny>()?;
                    header = true;
                }
                Field::Kvs => map.next_value_seed(&mut *self.0)?,
                Field::More => totals.more = map.next_value()?,
                Field::Count => {
                    let Integer(count) = map.next_value()?;
                    totals.count = u64::try_from(count).map_err(A::Error::custom)?;
                }
            }
        }
        if header { Ok(totals) } else { Err(A::Error::missing_field("header")) }
    }
}

/// Parses the elements of `kvs`, and passes them on.
struct Kvs<'a> {
    sink: &'a mut Sink<'a>,
    /// The number of elements that were passed on.
    count: u64,
    /// Whether an element is being parsed.
    is_inside: bool,
    /// Why the parser was stopped by an error of its own.
    stop: Option<Stop>,
}

impl<'de> DeserializeSeed<'de> for &mut Kvs<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Kvs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.is_inside = true;
        while let Some(element) = elements.next_element::<Kv>()? {
            let passed_on = element.record(self.count + 1).and_then(|record| (self.sink)(record));
            if let Err(stop) = passed_on {
                self.stop = Some(stop);
                return Err(A::Error::custom("stopped"));
            }
            self.count += 1;
        }
        self.is_inside = false;
        Ok(())
    }
}

/// An element of `kvs`. Other fields, the revisions, are not imported.
#[derive(Deserialize)]
#[serde(expecting = "an object with key and value")]
struct Kv {
    key: String,
    /// Missing if it is empty.
    #[serde(default)]
    value: String,
    #[serde(default)]
    lease: Integer,
}

impl Kv {
    fn record(self, position: u64) -> Result<Record, Stop> {
        let decoded = |name: &str, text: &str| {
            let message = || format!("`{name}` is no base64 with padding (RFC 4648)");
            base64::decode(text).ok_or_else(|| Fault::of_text(Some(position), message()))
        };
        let (key, value) = (decoded("key", &self.key)?, decoded("value", &self.value)?);
        Ok(Record::new(position, key, value, self.lease.0 != 0))
    }
}

/// A number, or one in a string.
#[derive(Default, Deserialize)]
#[serde(try_from = "NumberOrText")]
struct Integer(i64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number")]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl TryFrom<NumberOrText> for Integer {
    type Error = String;

    fn try_from(form: NumberOrText) -> Result<Integer, String> {
        match form {
            NumberOrText::Number(number) => Ok(Integer(number)),
            NumberOrText::Text(text) => {
                text.parse().map(Integer).map_err(|_| format!("{text:?} is no number"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::collected, *};

    fn read_all(text: &str) -> (Vec<Record>, Option<(Option<u64>, String)>) {
        collected(|sink| read(text.as_bytes(), sink))
    }

    #[test]
    fn numbers_may_be_strings_and_fields_may_be_missing() {
        let (records, fault) = read_all(
            r#"{"kvs": [{"key": "YQ==", "create_revision": "2", "value": "MQ==", "lease": "77"},
                        {"value": "", "lease": 0, "key": "/w==", "something": ["new"]},
                        {"key": "Yg==", "lease": 9223372036854775807}],
                "count": "3", "more": false, "header": {"revision": "24"}}
            "#,
        );
        assert_eq!(fault, None);
        let record = |position, key: &[u8], value: &[u8], has_lease| {
            Record::new(position, key.to_vec(), value.to_vec(), has_lease)
        };
        let expected =
            [record(1, b"a", b"1", true), record(2, b"\xff", b"", false), record(3, b"b", b"", true)];
        assert_eq!(records, expected);
        assert_eq!(read_all("{\"header\":{}}"), (vec![], None), "there is no key");
    }

    #[test]
    fn a_fault_is_named_with_the_element() {
        let kv = "{\"key\":\"YQ==\",\"value\":\"MQ==\"}";
        for (text, sound, position, expected) in [
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv}],\"more\":true,\"count\":20}}"),
                1,
                None,
                "it has 1 of 20 keys (\"more\" is true): write it without --limit",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv}],\"count\":2}}"),
                1,
                None,
                "its \"count\" is 2, but it has 1 keys: it is not complete",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv},{{\"key\":\"YQ\"}}],\"count\":2}}"),
                1,
                Some(2),
                "`key` is no base64 with padding (RFC 4648)",
            ),
            (
                format!(
                    "{{\"header\":{{}},\"kvs\":[{kv},{{\"key\":\"YQ==\",\"value\":\"*\"}}],\"count\":2}}"
                ),
                1,
                Some(2),
                "`value` is no base64 with padding (RFC 4648)",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv},{{\"key\":\"\"}}],\"count\":2}}"),
                1,
                Some(2),
                "set \"\": the key is empty; keys have at least 1 byte",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv},{kv},{{\"value\":\"\"}}]}}"),
                2,
                Some(3),
                "line 1, column 92: missing field `key`",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv},{{\"key\":\"YQ==\",\"lease\":\"x\"}}]}}"),
                1,
                Some(2),
                "line 1, column 76: \"x\" is no number",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv},\n{{\"key\":\"YQ="),
                1,
                Some(2),
                "line 2, column 11: EOF while parsing a string",
            ),
            (
                format!("{{\"header\":{{}},\"kvs\":[{kv}]"),
                1,
                None,
                "line 1, column 50: EOF while parsing an object",
            ),
            (format!("{{\"kvs\":[{kv}],\"count\":1}}"), 1, None, "line 1, column 49: missing field `header`"),
            (
                kv.to_owned(),
                0,
                None,
                "line 1, column 7: unknown field `key`, expected one of `header`, `kvs`, `more`, `count`",
            ),
            ("{\"header\":{}} {}".to_owned(), 0, None, "line 1, column 15: trailing characters"),
            (
                "[]".to_owned(),
                0,
                None,
                "line 1, column 1: invalid type: sequence, expected the output of `etcdctl get -w json`, an object",
            ),
        ] {
            let (records, fault) = read_all(&text);
            assert_eq!((records.len(), fault), (sound, Some((position, expected.to_owned()))), "{text}");
        }
    }
}
