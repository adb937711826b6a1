//! Escaping of untrusted bytes, such as keys, values and messages of nodes, so that they cannot control a terminal. For
//! the programs of this repository.

/// Which characters are not escaped, besides printable ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Line feeds and tabs, as in a value of several lines.
    Lines,
    /// None: the result is one line.
    OneLine,
}

/// The text of `bytes`. Control characters, characters that change the text direction, and bytes that are not UTF-8 are
/// escaped: `\r`, `\x1b`, `\u{202e}`.
pub fn printable(bytes: &[u8], layout: Layout) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' if layout == Layout::Lines => text.push(character),
                '\n' | '\t' | '\r' => text.extend(character.escape_default()),
                _ if !controls_terminal(character) => text.push(character),
                '\0'..='\u{ff}' => text.push_str(&format!("\\x{:02x}", u32::from(character))),
                _ => text.extend(character.escape_unicode()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Whether `character` may control a terminal or change the text direction.
pub fn controls_terminal(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_text_is_unchanged() {
        for (bytes, lines, one_line) in [
            (&b"plain \\ text"[..], "plain \\ text", "plain \\ text"),
            ("é 日本 🦀".as_bytes(), "é 日本 🦀", "é 日本 🦀"),
            (b"a\n\tb", "a\n\tb", "a\\n\\tb"),
            (b"\x1b[2J\x07\x7f\0", "\\x1b[2J\\x07\\x7f\\x00", "\\x1b[2J\\x07\\x7f\\x00"),
            (b"seen\rhidden", "seen\\rhidden", "seen\\rhidden"),
            ("\u{9b}31m\u{202e}".as_bytes(), "\\x9b31m\\u{202e}", "\\x9b31m\\u{202e}"),
            (b"v\xff\xc3", "v\\xff\\xc3", "v\\xff\\xc3"),
        ] {
            assert_eq!(printable(bytes, Layout::Lines), lines);
            assert_eq!(printable(bytes, Layout::OneLine), one_line);
        }
    }
}
