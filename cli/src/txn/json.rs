//! A transaction as a JSON object, whose fields are those of the messages `Txn`, `Compare` and `TxnOperation`.
//!
//! Bytes that are not UTF-8 are in base64, in a field with the suffix `_base64`, as in the output.

use gometa_client::{Compare, Relation};
use serde::Deserialize;

use super::transaction::{Keys, Operation, Transaction};
use crate::pair::{Pair, bytes, wanted};

/// Reads a transaction.
///
/// # Errors
/// A message with line and column.
pub(super) fn parse(text: &[u8]) -> Result<Transaction, String> {
    let object: Object = serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        format!("line {line}, column {column}: {message}")
    })?;
    let Object { when, then, otherwise } = object;
    Ok(Transaction {
        when: when.into_iter().map(|comparison| comparison.0).collect(),
        then: then.into_iter().map(Operation::from).collect(),
        otherwise: otherwise.into_iter().map(Operation::from).collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with when, then and otherwise")]
struct Object {
    #[serde(default)]
    when: Vec<Checked>,
    #[serde(default)]
    then: Vec<Step>,
    #[serde(default)]
    otherwise: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", expecting = "an operation, such as {\"get\": {\"key\": …}}")]
enum Step {
    Set(Pair),
    Delete(Key),
    Get(Key),
    Range(Span),
    DeleteRange(Bounds),
}

impl From<Step> for Operation {
    fn from(step: Step) -> Operation {
        match step {
            Step::Set(Pair { key, value }) => Operation::set(key, &value),
            Step::Delete(Key(key)) => Operation::delete(key),
            Step::Get(Key(key)) => Operation::get(key),
            Step::Range(Span(keys)) => Operation::range(keys),
            Step::DeleteRange(bounds) => Operation::delete_range(bounds.0),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "CompareFields")]
struct Checked(Compare);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a comparison, an object")]
struct CompareFields {
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(default)]
    relation: JsonRelation,
    create_revision: Option<u64>,
    mod_revision: Option<u64>,
    value: Option<String>,
    value_base64: Option<String>,
    range: Option<RangeState>,
}

#[derive(Clone, Copy, PartialEq, Default, Deserialize)]
enum JsonRelation {
    #[default]
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = ">")]
    Greater,
}

impl From<JsonRelation> for Relation {
    fn from(relation: JsonRelation) -> Relation {
        match relation {
            JsonRelation::Equal => Relation::Equal,
            JsonRelation::NotEqual => Relation::NotEqual,
            JsonRelation::Less => Relation::Less,
            JsonRelation::Greater => Relation::Greater,
        }
    }
}

impl TryFrom<CompareFields> for Checked {
    type Error = String;

    fn try_from(fields: CompareFields) -> Result<Checked, String> {
        let others = [&fields.key, &fields.key_base64, &fields.value, &fields.value_base64];
        let is_alone = others.iter().all(|field| field.is_none())
            && (fields.create_revision, fields.mod_revision) == (None, None)
            && fields.relation == JsonRelation::Equal;
        match fields.range {
            Some(RangeState { keys, count, revision }) if is_alone => {
                return Ok(Checked(Compare::range(keys.range(), count, revision)));
            }
            Some(_) => return Err("a comparison of a range has nothing else".to_owned()),
            None => {}
        }
        let key = wanted("key", fields.key, fields.key_base64)?;
        let relation = fields.relation.into();
        let value = bytes("value", fields.value, fields.value_base64)?;
        match (fields.create_revision, fields.mod_revision, value) {
            (Some(revision), None, None) => Ok(Compare::create_revision(key, relation, revision)),
            (None, Some(revision), None) => Ok(Compare::mod_revision(key, relation, revision)),
            (None, None, Some(value)) => Ok(Compare::value(key, relation, value)),
            _ => Err("a comparison has one of create_revision, mod_revision, value and range".to_owned()),
        }
        .map(Checked)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "KeyFields")]
struct Key(Vec<u8>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key")]
struct KeyFields {
    key: Option<String>,
    key_base64: Option<String>,
}

impl TryFrom<KeyFields> for Key {
    type Error = String;

    fn try_from(fields: KeyFields) -> Result<Key, String> {
        wanted("key", fields.key, fields.key_base64).map(Key)
    }
}

/// The keys of a range, without how to read them.
#[derive(Deserialize)]
#[serde(try_from = "BoundsFields")]
struct Bounds(Keys);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a range, an object")]
struct BoundsFields {
    prefix: Option<String>,
    prefix_base64: Option<String>,
    start: Option<String>,
    start_base64: Option<String>,
    end: Option<String>,
    end_base64: Option<String>,
}

impl TryFrom<BoundsFields> for Bounds {
    type Error = String;

    fn try_from(fields: BoundsFields) -> Result<Bounds, String> {
        Ok(Bounds(Keys {
            prefix: bytes("prefix", fields.prefix, fields.prefix_base64)?.unwrap_or_default(),
            start: bytes("start", fields.start, fields.start_base64)?.unwrap_or_default(),
            end: bytes("end", fields.end, fields.end_base64)?.unwrap_or_default(),
            ..Keys::default()
        }))
    }
}

/// What a comparison of a range asks for.
#[derive(Deserialize)]
#[serde(try_from = "RangeStateFields")]
struct RangeState {
    keys: Keys,
    count: u64,
    revision: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a range with count and revision, an object")]
struct RangeStateFields {
    prefix: Option<String>,
    prefix_base64: Option<String>,
    start: Option<String>,
    start_base64: Option<String>,
    end: Option<String>,
    end_base64: Option<String>,
    count: u64,
    revision: Option<u64>,
}

impl TryFrom<RangeStateFields> for RangeState {
    type Error = String;

    fn try_from(fields: RangeStateFields) -> Result<RangeState, String> {
        let RangeStateFields { prefix, prefix_base64, start, start_base64, end, end_base64, .. } = fields;
        let bounds = BoundsFields { prefix, prefix_base64, start, start_base64, end, end_base64 };
        let Bounds(keys) = bounds.try_into()?;
        match fields.revision {
            None if fields.count > 0 => Err("missing field `revision`".to_owned()),
            revision => Ok(RangeState { keys, count: fields.count, revision: revision.unwrap_or(0) }),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "SpanFields")]
struct Span(Keys);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a range, an object")]
struct SpanFields {
    prefix: Option<String>,
    prefix_base64: Option<String>,
    start: Option<String>,
    start_base64: Option<String>,
    end: Option<String>,
    end_base64: Option<String>,
    delimiter: Option<String>,
    delimiter_base64: Option<String>,
    #[serde(default)]
    limit: u64,
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    keys_only: bool,
}

impl TryFrom<SpanFields> for Span {
    type Error = String;

    fn try_from(fields: SpanFields) -> Result<Span, String> {
        Ok(Span(Keys {
            prefix: bytes("prefix", fields.prefix, fields.prefix_base64)?.unwrap_or_default(),
            start: bytes("start", fields.start, fields.start_base64)?.unwrap_or_default(),
            end: bytes("end", fields.end, fields.end_base64)?.unwrap_or_default(),
            delimiter: bytes("delimiter", fields.delimiter, fields.delimiter_base64)?.unwrap_or_default(),
            limit: fields.limit,
            reverse: fields.reverse,
            keys_only: fields.keys_only,
        }))
    }
}

#[cfg(test)]
mod tests {
    use gometa_client::{Op, Range};

    use super::*;

    #[test]
    fn every_field_is_read() {
        let text = r#"{
            "when": [
                {"key": "a", "mod_revision": 12},
                {"key_base64": "/w==", "relation": "!=", "create_revision": 0},
                {"key": "b", "relation": "<", "value": "é"},
                {"key": "b", "relation": ">", "value_base64": ""},
                {"range": {"prefix": "c/", "end_base64": "/w==", "count": 2, "revision": 12}},
                {"range": {"count": 0}}
            ],
            "then": [
                {"set": {"key": "a", "value_base64": "AP8="}},
                {"delete": {"key": "b"}},
                {"get": {"key_base64": "/w=="}},
                {"range": {}},
                {"range": {"prefix": "p/", "start": "p/a", "end_base64": "/w==", "delimiter": "/",
                           "limit": 5, "reverse": true, "keys_only": true}},
                {"delete_range": {"prefix": "old/"}}
            ],
            "otherwise": [{"get": {"key": "a"}}]
        }"#;
        let Transaction { when, then, otherwise } = parse(text.as_bytes()).unwrap();
        assert_eq!(
            when,
            [
                Compare::mod_revision("a", Relation::Equal, 12),
                Compare::create_revision(b"\xff", Relation::NotEqual, 0),
                Compare::value("b", Relation::Less, "é"),
                Compare::value("b", Relation::Greater, ""),
                Compare::range(Range::prefix("c/").end(b"\xff"), 2, 12),
                Compare::empty(Range::all()),
            ]
        );
        let ops = |operations: Vec<Operation>| operations.into_iter().map(|one| one.op).collect::<Vec<_>>();
        let range = Range::prefix("p/").start("p/a").end(b"\xff").delimiter("/").limit(5);
        assert_eq!(
            ops(then),
            [
                Op::set("a", b"\0\xff"),
                Op::delete("b"),
                Op::get(b"\xff"),
                Op::range(Range::all()),
                Op::range(range.reverse().keys_only()),
                Op::delete_range(Range::prefix("old/")),
            ]
        );
        assert_eq!(ops(otherwise), [Op::get("a")]);
    }

    #[test]
    fn errors_name_the_place_and_what_was_expected() {
        for (text, expected) in [
            ("{", "line 1, column 1: EOF while parsing an object"),
            ("{} {}", "line 1, column 4: trailing characters"),
            (
                "{\n \"whem\": []}",
                "line 2, column 7: unknown field `whem`, expected one of `when`, `then`, `otherwise`",
            ),
            ("{\"then\": {}}", "line 1, column 9: invalid type: map, expected a sequence"),
            (
                "{\"then\": [\n{\"sett\": {}}]}",
                "line 2, column 7: unknown variant `sett`, expected one of `set`, `delete`, `get`, `range`, \
                 `delete_range`",
            ),
            ("{\"then\": [{\"set\": {\"key\": \"k\"}}]}", "line 1, column 30: missing field `value`"),
            (
                "{\"then\": [{\"get\": {\"value\": \"k\"}}]}",
                "line 1, column 26: unknown field `value`, expected `key` or `key_base64`",
            ),
            (
                "{\"then\": [{\"get\": {\"key\": \"k\", \"key_base64\": \"aw==\"}}]}",
                "line 1, column 52: both `key` and `key_base64`: one of them is enough",
            ),
            (
                "{\"then\": [{\"get\": {\"key\": \"k\", \"key\": \"l\"}}]}",
                "line 1, column 36: duplicate field `key`",
            ),
            (
                "{\"then\": [{\"get\": {\"key_base64\": \"aw\"}}]}",
                "line 1, column 38: `key_base64` is no base64 with padding (RFC 4648)",
            ),
            (
                "{\"then\": [{\"range\": {\"at_revision\": 3}}]}",
                "line 1, column 34: unknown field `at_revision`, expected one of `prefix`, `prefix_base64`, `start`, \
                 `start_base64`, `end`, `end_base64`, `delimiter`, `delimiter_base64`, `limit`, `reverse`, `keys_only`",
            ),
            (
                "{\"when\": [{\"key\": \"k\"}]}",
                "line 1, column 23: a comparison has one of create_revision, mod_revision, value and range",
            ),
            (
                "{\"when\": [{\"key\": \"k\", \"mod_revision\": 1, \"value\": \"v\"}]}",
                "line 1, column 56: a comparison has one of create_revision, mod_revision, value and range",
            ),
            (
                "{\"when\": [{\"range\": {\"count\": 1, \"revision\": 7}, \"key\": \"k\"}]}",
                "line 1, column 61: a comparison of a range has nothing else",
            ),
            ("{\"when\": [{\"range\": {}}]}", "line 1, column 22: missing field `count`"),
            ("{\"when\": [{\"range\": {\"count\": 1}}]}", "line 1, column 33: missing field `revision`"),
            (
                "{\"when\": [{\"key\": \"k\", \"relation\": \"==\", \"value\": \"v\"}]}",
                "line 1, column 39: unknown variant `==`, expected one of `=`, `!=`, `<`, `>`",
            ),
            (
                "{\"when\": [{\"key\": \"k\", \"mod_revision\": \"7\"}]}",
                "line 1, column 42: invalid type: string \"7\", expected u64",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected.to_owned()), "{text}");
        }
    }
}
