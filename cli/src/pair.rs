//! A key and a value in JSON, as text or in base64.

use serde::Deserialize;

use crate::base64;

/// `{"key": …, "value": …}`; either may be in base64, as `key_base64` or `value_base64`.
#[derive(PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "PairFields")]
pub(crate) struct Pair {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key and value")]
struct PairFields {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

impl TryFrom<PairFields> for Pair {
    type Error = String;

    fn try_from(fields: PairFields) -> Result<Pair, String> {
        let key = wanted("key", fields.key, fields.key_base64)?;
        Ok(Pair { key, value: wanted("value", fields.value, fields.value_base64)? })
    }
}

/// The bytes of a field, as text or in base64.
pub(crate) fn bytes(
    name: &str,
    text: Option<String>,
    encoded: Option<String>,
) -> Result<Option<Vec<u8>>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => Err(format!("both `{name}` and `{name}_base64`: one of them is enough")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(encoded)) => match base64::decode(&encoded) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(format!("`{name}_base64` is no base64 with padding (RFC 4648)")),
        },
        (None, None) => Ok(None),
    }
}

/// The same of a field that must be there.
pub(crate) fn wanted(name: &str, text: Option<String>, encoded: Option<String>) -> Result<Vec<u8>, String> {
    bytes(name, text, encoded)?.ok_or_else(|| format!("missing field `{name}`"))
}
