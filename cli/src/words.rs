//! Words of a line of the shell, or of the script of a transaction.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    slice,
};

/// A word of a line, without its quotes and escapes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    pub(crate) bytes: Vec<u8>,
    /// Where it begins, in characters from 1.
    pub(crate) column: usize,
}

/// Why a line cannot be split, and where, in characters from 1.
pub(crate) type NoWord = (usize, String);

/// Where a `#` begins a comment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comments {
    /// Before the first word only.
    WholeLines,
    /// Where a word can begin.
    BetweenWords,
}

/// Splits a line of the shell into words at spaces. `gometa shell --help` lists quotes and escapes.
///
/// # Errors
/// A message: a quote is not closed, or an escape is invalid.
pub(crate) fn split(line: &[u8]) -> Result<Vec<OsString>, String> {
    let words = words(line, Comments::WholeLines).map_err(|(_, message)| message)?;
    Ok(words.into_iter().map(|word| OsString::from_vec(word.bytes)).collect())
}

/// Splits a line into words at spaces.
///
/// # Errors
/// A quote is not closed, or an escape is invalid.
pub(crate) fn words(line: &[u8], comments: Comments) -> Result<Vec<Word>, NoWord> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = line.iter();
    loop {
        let at = line.len() - rest.len();
        let Some(byte) = rest.next().copied() else { break };
        if byte.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let may_begin = word.is_none() && (words.is_empty() || comments == Comments::BetweenWords);
        if byte == b'#' && may_begin {
            break;
        }
        let bytes =
            &mut word.get_or_insert_with(|| Word { bytes: Vec::new(), column: column(line, at) }).bytes;
        match byte {
            b'\'' | b'"' => quotation(line, byte, &mut rest, bytes)?,
            b'\\' => bytes.push(escaped(&mut rest, true).map_err(|message| (column(line, at), message))?),
            byte => bytes.push(byte),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads a quotation, whose quote has just been taken, into a word.
fn quotation(
    line: &[u8],
    quote: u8,
    rest: &mut slice::Iter<'_, u8>,
    word: &mut Vec<u8>,
) -> Result<(), NoWord> {
    let begun = line.len() - rest.len() - 1;
    loop {
        let at = line.len() - rest.len();
        match rest.next() {
            Some(&byte) if byte == quote => return Ok(()),
            Some(b'\\') if quote == b'"' => {
                word.push(escaped(rest, false).map_err(|message| (column(line, at), message))?);
            }
            Some(&byte) => word.push(byte),
            None => return Err((column(line, begun), format!("unclosed quote {}", char::from(quote)))),
        }
    }
}

/// The column of a byte of a line, in characters from 1.
fn column(line: &[u8], at: usize) -> usize {
    let continues = |byte: &&u8| **byte & 0xc0 == 0x80;
    1 + at - line[..at].iter().filter(continues).count()
}

/// The byte of an escape sequence. `any`: other characters may be escaped and stand for themselves.
fn escaped(rest: &mut slice::Iter<'_, u8>, any: bool) -> Result<u8, String> {
    let byte = *rest.next().ok_or("a backslash at the end of the line")?;
    Ok(match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'0' => 0,
        b'\\' | b'"' => byte,
        b'x' => {
            let mut digit = || char::from(*rest.next()?).to_digit(16);
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

/// The number that a word is; a sign is no digit.
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
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
    fn words_have_columns_and_comments_may_stand_behind_them() {
        let split = |line: &str, comments| {
            let words = words(line.as_bytes(), comments)?;
            let text = |word: Word| (word.column, String::from_utf8(word.bytes).unwrap());
            Ok::<_, NoWord>(words.into_iter().map(text).collect::<Vec<_>>())
        };
        let word = |column, text: &str| (column, text.to_owned());
        let line = "  set é '#1' x#2 # y";
        let before = [word(3, "set"), word(7, "é"), word(9, "#1"), word(14, "x#2")];
        assert_eq!(split(line, Comments::BetweenWords).unwrap(), before);
        assert_eq!(split(line, Comments::WholeLines).unwrap()[4..], [word(18, "#"), word(20, "y")]);
        assert_eq!(split(" # a", Comments::BetweenWords).unwrap(), []);
        for (line, column, message) in [
            ("é \"a", 3, "unclosed quote \""),
            ("a 'b", 3, "unclosed quote '"),
            ("a \"b\\q\"", 5, "unknown escape \\q"),
            ("é\\x0g", 2, "\\x must be followed by two hexadecimal digits"),
            ("a\\", 2, "a backslash at the end of the line"),
        ] {
            assert_eq!(split(line, Comments::BetweenWords), Err((column, message.to_owned())), "{line}");
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
