//! The text of a transaction: a readable [`script`], or [`json`] if its first character is `{`.

mod json;
mod script;
mod transaction;

pub(crate) use self::transaction::{Operation, Transaction};
use crate::input;

/// Reads a transaction.
///
/// # Errors
/// A message that names the place and what was expected.
pub(crate) fn parse(text: &[u8]) -> Result<Transaction, String> {
    let text = input::without_byte_order_mark(text);
    let transaction = match text.trim_ascii_start().first() {
        Some(b'{') => json::parse(text)?,
        _ => script::parse(text)?,
    };
    if transaction == Transaction::default() {
        return Err("the transaction is empty: it has no comparison and no operation".to_owned());
    }
    Ok(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_tells_script_and_json_apart() {
        let expected = Transaction { then: vec![Operation::get(b"k".to_vec())], ..Transaction::default() };
        for text in [
            "then\nget k",
            "\u{feff}then\r\n  get k\r\n",
            "{\"then\": [{\"get\": {\"key\": \"k\"}}]}",
            "\u{feff}\r\n\t {\"then\": [{\"get\": {\"key\": \"k\"}}]}\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn an_empty_transaction_is_refused() {
        for text in ["", " \n# nothing\n", "when\nthen\n", "{}", "{\"when\": [], \"then\": []}"] {
            let refused = parse(text.as_bytes()).unwrap_err();
            assert_eq!(refused, "the transaction is empty: it has no comparison and no operation", "{text}");
        }
    }

    #[test]
    fn only_sets_and_deletes_write() {
        for (text, writes) in [
            ("when\nexists k\nthen\nget k\nrange k", false),
            ("then\nset k v", true),
            ("then\nget k\notherwise\ndelete k", true),
            ("then\ndelete-range k", true),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().writes(), writes, "{text}");
        }
    }
}
