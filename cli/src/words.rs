//! Words of a shell line.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Splits a line into words at spaces. `gometa shell --help` lists quotes and escapes.
///
/// # Errors
/// A message: a quote is not closed, or an escape is invalid.
pub(crate) fn split(line: &[u8]) -> Result<Vec<OsString>, String> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut rest = line.iter().copied();
    if line.trim_ascii_start().starts_with(b"#") {
        return Ok(Vec::new());
    }
    while let Some(byte) = rest.next() {
        match byte {
            byte if byte.is_ascii_whitespace() => words.extend(word.take()),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some(b'\'') => break,
                        Some(byte) => word.push(byte),
                        None => return Err("unclosed quote '".to_owned()),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some(b'"') => break,
                        Some(b'\\') => word.push(escaped(&mut rest, false)?),
                        Some(byte) => word.push(byte),
                        None => return Err("unclosed quote \"".to_owned()),
                    }
                }
            }
            b'\\' => word.get_or_insert_default().push(escaped(&mut rest, true)?),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// The byte of an escape sequence. `any`: other characters may be escaped and stand for themselves.
fn escaped(rest: &mut impl Iterator<Item = u8>, any: bool) -> Result<u8, String> {
    let byte = rest.next().ok_or("a backslash at the end of the line")?;
    Ok(match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'0' => 0,
        b'\\' | b'"' => byte,
        b'x' => {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            match (digit(), digit()) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err("\\x must be followed by two hexadecimal digits".to_owned()),
            }
        }
        byte if any => byte,
        byte => return Err(format!("unknown escape \\{}", char::from(byte))),
    })
}

/// `word`, quoted if necessary.
pub(crate) fn quoted(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_.:,@%+=-".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return OsString::from_vec(word.to_vec()).to_string_lossy().into_owned();
    }
    format!("\"{}\"", word.escape_ascii().to_string().replace("\\'", "'"))
}

/// The words before the one at the end of `line`, and where that begins; None inside quotes.
pub(crate) fn before_cursor(line: &str) -> Option<(Vec<String>, usize)> {
    let start = line.rfind(|sign: char| sign.is_ascii_whitespace()).map_or(0, |at| at + 1);
    let words = split(&line.as_bytes()[..start]).ok()?;
    Some((words.iter().map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned()).collect(), start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_and_quotes_and_escapes_are_read() {
        for (line, expected) in [
            (&b""[..], &[][..]),
            (b"  # set k v", &[]),
            (b" get\t k ", &[&b"get"[..], b"k"]),
            (b"set 'a b' \"c\\td\"", &[b"set", b"a b", b"c\td"]),
            (b"set k ''", &[b"set", b"k", b""]),
            (b"a'b'\"c\"d", &[b"abcd"]),
            (b"'\\n\"' \"'\"", &[b"\\n\"", b"'"]),
            (b"a\\ b \\xff\\0\\\\ \"\\\"\"", &[b"a b", b"\xff\0\\", b"\""]),
            (b"\xc3\xa9\xff", &[b"\xc3\xa9\xff"]),
            (b"a#b", &[b"a#b"]),
        ] {
            let words: Vec<OsString> =
                expected.iter().map(|word| OsString::from_vec(word.to_vec())).collect();
            assert_eq!(split(line).unwrap(), words, "{:?}", line.escape_ascii().to_string());
        }
        for line in [&b"'a"[..], b"\"a", b"a\\", b"\\xf", b"\\xzz", b"\"\\q\""] {
            assert!(split(line).is_err(), "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_quoted_word_is_read_as_itself() {
        for byte in 0..=255u8 {
            for word in [&[byte][..], &[b'a', byte, b'f'], &[]] {
                let line = quoted(word);
                assert_eq!(split(line.as_bytes()).unwrap(), [OsString::from_vec(word.to_vec())], "{line}");
            }
        }
    }

    #[test]
    fn the_word_under_the_cursor_is_left_out() {
        assert_eq!(before_cursor("ge"), Some((vec![], 0)));
        assert_eq!(before_cursor("get k --lo"), Some((vec!["get".to_owned(), "k".to_owned()], 6)));
        assert_eq!(before_cursor("set k 'a b"), None);
    }
}
