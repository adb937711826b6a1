//! The script of a transaction: a statement a line, in the sections `when`, `then` and `otherwise`.

use gometa_client::{Compare, Relation};

use super::transaction::{Keys, Operation, Transaction};
use crate::words::{Comments, Word, number, quoted, words};

/// The statements of each section.
const COMPARISONS: &str = "value, mod-revision, create-revision, exists, absent, range or empty";
const OPERATIONS: &str = "set, delete, get, range or delete-range";

/// The syntax of the statements that have more than a key, for messages.
const VALUE: &str = "value KEY RELATION VALUE";
const MOD_REVISION: &str = "mod-revision KEY RELATION REVISION";
const CREATE_REVISION: &str = "create-revision KEY RELATION REVISION";
const SET: &str = "set KEY VALUE";
const RANGE: &str =
    "range [PREFIX] [--start KEY] [--end KEY] [--limit N] [--reverse] [--keys-only] [--delimiter TEXT]";

const RANGE_STATE: &str = "range [PREFIX] [--start KEY] [--end KEY] --count N --revision REVISION";
const EMPTY: &str = "empty [PREFIX] [--start KEY] [--end KEY]";
const DELETE_RANGE: &str = "delete-range [PREFIX] [--start KEY] [--end KEY]";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    When,
    Then,
    Otherwise,
}

impl Section {
    const ALL: [(&str, Section); 3] =
        [("when", Section::When), ("then", Section::Then), ("otherwise", Section::Otherwise)];

    fn of(word: &[u8]) -> Option<(&'static str, Section)> {
        Section::ALL.into_iter().find(|(name, _)| name.as_bytes() == word)
    }
}

/// Reads a script.
///
/// # Errors
/// A message with line and column.
pub(super) fn parse(text: &[u8]) -> Result<Transaction, String> {
    let mut transaction = Transaction::default();
    let mut section = None;
    let mut begun: Vec<(Section, usize)> = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let mut line = Line::new(number, line)?;
        let Some(first) = line.next() else { continue };
        if let Some((name, named)) = Section::of(&first.bytes) {
            if let Some((_, before)) = begun.iter().find(|(other, _)| *other == named) {
                let message = format!("a second section `{name}`; the first begins in line {before}");
                return Err(line.error(first.column, &message));
            }
            line.end("a section is a line of its own")?;
            begun.push((named, number));
            section = Some(named);
            continue;
        }
        match section {
            Some(Section::When) => transaction.when.push(comparison(&mut line, &first)?),
            Some(Section::Then) => transaction.then.push(operation(&mut line, &first)?),
            Some(Section::Otherwise) => transaction.otherwise.push(operation(&mut line, &first)?),
            None => {
                let word = quoted(&first.bytes);
                let message = format!("expected the section `when`, `then` or `otherwise`, not {word}");
                return Err(line.error(first.column, &message));
            }
        }
    }
    Ok(transaction)
}

fn comparison(line: &mut Line, first: &Word) -> Result<Compare, String> {
    match &*first.bytes {
        b"value" => {
            let (key, relation) = (line.key(VALUE)?, line.relation(VALUE)?);
            let value = line.word("a value", VALUE)?.bytes;
            line.end(VALUE)?;
            Ok(Compare::value(key, relation, value))
        }
        b"mod-revision" => {
            let (key, relation) = (line.key(MOD_REVISION)?, line.relation(MOD_REVISION)?);
            let revision = line.number("a revision", MOD_REVISION)?;
            line.end(MOD_REVISION)?;
            Ok(Compare::mod_revision(key, relation, revision))
        }
        b"create-revision" => {
            let (key, relation) = (line.key(CREATE_REVISION)?, line.relation(CREATE_REVISION)?);
            let revision = line.number("a revision", CREATE_REVISION)?;
            line.end(CREATE_REVISION)?;
            Ok(Compare::create_revision(key, relation, revision))
        }
        b"exists" => Ok(Compare::exists(line.only_key("exists KEY")?)),
        b"absent" => Ok(Compare::absent(line.only_key("absent KEY")?)),
        b"range" => {
            let RangeWords { keys, count, revision } = range(line, RANGE_STATE)?;
            let number = |number: Option<u64>, option: &str| {
                number.ok_or_else(|| line.error(line.end, &format!("expected {option}: {RANGE_STATE}")))
            };
            Ok(Compare::range(keys.range(), number(count, "--count")?, number(revision, "--revision")?))
        }
        b"empty" => Ok(Compare::empty(range(line, EMPTY)?.keys.range())),
        _ => Err(line.unknown(first, "comparison", COMPARISONS)),
    }
}

fn operation(line: &mut Line, first: &Word) -> Result<Operation, String> {
    match &*first.bytes {
        b"set" => {
            let key = line.key(SET)?;
            let value = line.word("a value", SET)?.bytes;
            line.end(SET)?;
            Ok(Operation::set(key, &value))
        }
        b"delete" => Ok(Operation::delete(line.only_key("delete KEY")?)),
        b"get" => Ok(Operation::get(line.only_key("get KEY")?)),
        b"range" => Ok(Operation::range(range(line, RANGE)?.keys)),
        b"delete-range" => Ok(Operation::delete_range(range(line, DELETE_RANGE)?.keys)),
        _ => Err(line.unknown(first, "operation", OPERATIONS)),
    }
}

/// What a statement says of a range.
struct RangeWords {
    keys: Keys,
    count: Option<u64>,
    revision: Option<u64>,
}

/// Reads a prefix and the options that the syntax has. They are those of `gometa scan`, the delimiter of `gometa ls`, and what
/// a comparison asks for.
fn range(line: &mut Line, syntax: &str) -> Result<RangeWords, String> {
    let mut keys = Keys::default();
    let (mut count, mut revision) = (None, None);
    let (mut prefix, mut options_end) = (None, false);
    while let Some(word) = line.next() {
        if options_end || !word.bytes.starts_with(b"--") {
            if prefix.is_some() {
                return Err(line.surplus(&word, syntax));
            }
            prefix = Some(word.bytes);
            continue;
        }
        let (option, inline) = match word.bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&word.bytes[..at], Some(word.bytes[at + 1..].to_vec())),
            None => (&word.bytes[..], None),
        };
        let inline = inline.map(|bytes| Word { bytes, column: word.column });
        let value = |line: &mut Line, what| inline.clone().map_or_else(|| line.word(what, syntax), Ok);
        let known = |option: &[u8]| syntax.split([' ', '[', ']']).any(|word| word.as_bytes() == option);
        match option {
            _ if option.len() > 2 && !known(option) => {
                let message = format!("unknown option {}: {syntax}", quoted(&word.bytes));
                return Err(line.error(word.column, &message));
            }
            b"--start" => keys.start = value(line, "a key")?.bytes,
            b"--end" => keys.end = value(line, "a key")?.bytes,
            b"--delimiter" => keys.delimiter = value(line, "a delimiter")?.bytes,
            b"--limit" => {
                let limit = value(line, "a number")?;
                keys.limit = line.parsed(&limit, "a number", syntax)?;
            }
            b"--count" => {
                let word = value(line, "a number")?;
                count = Some(line.parsed(&word, "a number", syntax)?);
            }
            b"--revision" => {
                let word = value(line, "a revision")?;
                revision = Some(line.parsed(&word, "a revision", syntax)?);
            }
            b"--reverse" if inline.is_none() => keys.reverse = true,
            b"--keys-only" if inline.is_none() => keys.keys_only = true,
            b"--" if inline.is_none() => options_end = true,
            _ => {
                let message = format!("unknown option {}: {syntax}", quoted(&word.bytes));
                return Err(line.error(word.column, &message));
            }
        }
    }
    keys.prefix = prefix.unwrap_or_default();
    Ok(RangeWords { keys, count, revision })
}

/// A line of a script.
struct Line {
    number: usize,
    words: std::vec::IntoIter<Word>,
    /// The column behind its last word.
    end: usize,
}

impl Line {
    fn new(number: usize, text: &[u8]) -> Result<Line, String> {
        let words = words(text, Comments::BetweenWords)
            .map_err(|(column, message)| format!("line {number}, column {column}: {message}"))?;
        let end = 1 + text.trim_ascii_end().iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Ok(Line { number, words: words.into_iter(), end })
    }

    fn next(&mut self) -> Option<Word> {
        self.words.next()
    }

    /// The next word, which is `what` in a statement with this syntax.
    fn word(&mut self, what: &str, syntax: &str) -> Result<Word, String> {
        self.next().ok_or_else(|| self.error(self.end, &format!("expected {what}: {syntax}")))
    }

    fn key(&mut self, syntax: &str) -> Result<Vec<u8>, String> {
        let word = self.word("a key", syntax)?;
        if word.bytes.is_empty() {
            return Err(self.error(word.column, "the key is empty; keys have at least 1 byte"));
        }
        Ok(word.bytes)
    }

    /// The key of a statement that has nothing else.
    fn only_key(&mut self, syntax: &str) -> Result<Vec<u8>, String> {
        let key = self.key(syntax)?;
        self.end(syntax)?;
        Ok(key)
    }

    fn relation(&mut self, syntax: &str) -> Result<Relation, String> {
        let expected = "a relation, =, !=, < or >";
        let word = self.word(expected, syntax)?;
        match &*word.bytes {
            b"=" => Ok(Relation::Equal),
            b"!=" => Ok(Relation::NotEqual),
            b"<" => Ok(Relation::Less),
            b">" => Ok(Relation::Greater),
            other => {
                let message = format!("expected {expected}, not {}: {syntax}", quoted(other));
                Err(self.error(word.column, &message))
            }
        }
    }

    fn number(&mut self, what: &str, syntax: &str) -> Result<u64, String> {
        let word = self.word(what, syntax)?;
        self.parsed(&word, what, syntax)
    }

    /// The number that a word is.
    fn parsed(&self, word: &Word, what: &str, syntax: &str) -> Result<u64, String> {
        number(&word.bytes).ok_or_else(|| {
            let message = format!("expected {what}, not {}: {syntax}", quoted(&word.bytes));
            self.error(word.column, &message)
        })
    }

    /// Checks that no word follows.
    fn end(&mut self, syntax: &str) -> Result<(), String> {
        self.next().map_or(Ok(()), |word| Err(self.surplus(&word, syntax)))
    }

    fn surplus(&self, word: &Word, syntax: &str) -> String {
        let word_shown = quoted(&word.bytes);
        let message = format!("unexpected {word_shown}: {syntax}; quote a word that contains spaces");
        self.error(word.column, &message)
    }

    fn unknown(&self, word: &Word, what: &str, known: &str) -> String {
        let message = format!("unknown {what} {}: expected {known}", quoted(&word.bytes));
        self.error(word.column, &message)
    }

    fn error(&self, column: usize, message: &str) -> String {
        format!("line {}, column {column}: {message}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use gometa_client::{Op, Range};

    use super::*;

    #[test]
    fn every_statement_is_read() {
        let script = br#"
# Comments and empty lines.
when
    mod-revision config/a = 12
    value config/b != "old value"     # quoted
    create-revision 'config/c' = 0
    value d < \xff\x00
    value e > ""
    exists f
    range config/ --count 3 --revision=12
    empty --start=a --end b
    absent "g#"#
            .to_vec();
        let script = [
            &script[..],
            b"\"\nthen\n set config/a \"a\\nb\\xff\"\n\tdelete config/old\r\n get \xc3\xa9 # x\nrange\n\
            range config/ --limit 5\n range --start a --end=b --reverse --keys-only --delimiter / -- --p\ndelete-range old/ --end old/9\n\
            otherwise\nget then\n set when then",
        ]
        .concat();
        let Transaction { when, then, otherwise } = parse(&script).unwrap();
        assert_eq!(
            when,
            [
                Compare::mod_revision("config/a", Relation::Equal, 12),
                Compare::value("config/b", Relation::NotEqual, "old value"),
                Compare::create_revision("config/c", Relation::Equal, 0),
                Compare::value("d", Relation::Less, b"\xff\0"),
                Compare::value("e", Relation::Greater, ""),
                Compare::exists("f"),
                Compare::range(Range::prefix("config/"), 3, 12),
                Compare::empty(Range::all().start("a").end("b")),
                Compare::absent("g#"),
            ]
        );
        let ops = |operations: Vec<Operation>| operations.into_iter().map(|one| one.op).collect::<Vec<_>>();
        assert_eq!((then[0].verb, &*then[0].key), ("set", &b"config/a"[..]));
        assert_eq!((then[4].verb, &*then[4].key), ("range", &b"config/"[..]));
        assert!(then[5].keys.keys_only && !then[4].keys.keys_only);
        assert_eq!(
            ops(then),
            [
                Op::set("config/a", b"a\nb\xff"),
                Op::delete("config/old"),
                Op::get("é"),
                Op::range(Range::all()),
                Op::range(Range::prefix("config/").limit(5)),
                Op::range(Range::prefix("--p").start("a").end("b").reverse().keys_only().delimiter("/")),
                Op::delete_range(Range::prefix("old/").end("old/9")),
            ]
        );
        assert_eq!(ops(otherwise), [Op::get("then"), Op::set("when", "then")]);
    }

    #[test]
    fn errors_name_the_place_and_what_was_expected() {
        let range = format!("range [PREFIX] {}", RANGE.split_once(" [PREFIX] ").unwrap().1);
        for (script, expected) in [
            (
                "set k v",
                "line 1, column 1: expected the section `when`, `then` or `otherwise`, not set".to_owned(),
            ),
            (
                "\n\n Then",
                "line 3, column 2: expected the section `when`, `then` or `otherwise`, not Then".to_owned(),
            ),
            (
                "then\nget k\nthen",
                "line 3, column 1: a second section `then`; the first begins in line 1".to_owned(),
            ),
            (
                "then get k",
                "line 1, column 6: unexpected get: a section is a line of its own; quote a word that contains spaces"
                    .to_owned(),
            ),
            (
                "when\nset k v",
                format!("line 2, column 1: unknown comparison set: expected {COMPARISONS}"),
            ),
            (
                "when\nmod_revision k = 1",
                format!("line 2, column 1: unknown comparison mod_revision: expected {COMPARISONS}"),
            ),
            (
                "then\n  value k = v",
                format!("line 2, column 3: unknown operation value: expected {OPERATIONS}"),
            ),
            ("when\nvalue", format!("line 2, column 6: expected a key: {VALUE}")),
            ("when\nvalue \"\" = v", "line 2, column 7: the key is empty; keys have at least 1 byte".to_owned()),
            (
                "when\nvalue k=v # comment",
                format!("line 2, column 20: expected a relation, =, !=, < or >: {VALUE}"),
            ),
            (
                "when\nvalue é == v",
                format!("line 2, column 9: expected a relation, =, !=, < or >, not \"==\": {VALUE}")
                    .replace("\"==\"", "=="),
            ),
            ("when\nvalue k =", format!("line 2, column 10: expected a value: {VALUE}")),
            (
                "when\nvalue k = old value",
                format!("line 2, column 15: unexpected value: {VALUE}; quote a word that contains spaces"),
            ),
            (
                "when\nmod-revision k > seven",
                format!("line 2, column 18: expected a revision, not seven: {MOD_REVISION}"),
            ),
            (
                "when\ncreate-revision k = -1",
                format!("line 2, column 21: expected a revision, not -1: {CREATE_REVISION}"),
            ),
            (
                "when\nmod-revision k = 18446744073709551616",
                format!("line 2, column 18: expected a revision, not 18446744073709551616: {MOD_REVISION}"),
            ),
            ("when\nexists", "line 2, column 7: expected a key: exists KEY".to_owned()),
            ("then\nset k", format!("line 2, column 6: expected a value: {SET}")),
            (
                "then\nset k a b",
                format!("line 2, column 9: unexpected b: {SET}; quote a word that contains spaces"),
            ),
            (
                "then\ndelete k 7",
                "line 2, column 10: unexpected 7: delete KEY; quote a word that contains spaces".to_owned(),
            ),
            ("then\nget", "line 2, column 4: expected a key: get KEY".to_owned()),
            (
                "then\nrange a b",
                format!("line 2, column 9: unexpected b: {range}; quote a word that contains spaces"),
            ),
            ("then\nrange --at 3", format!("line 2, column 7: unknown option --at: {range}")),
            ("then\nrange --reverse=1", format!("line 2, column 7: unknown option --reverse=1: {range}")),
            ("then\nrange --limit", format!("line 2, column 14: expected a number: {range}")),
            ("then\nrange --limit=x", format!("line 2, column 7: expected a number, not x: {range}")),
            ("then\nrange --start", format!("line 2, column 14: expected a key: {range}")),
            ("when\nrange a/ --count 1", format!("line 2, column 19: expected --revision: {RANGE_STATE}")),
            ("when\nrange a/ --limit 1", format!("line 2, column 10: unknown option --limit: {RANGE_STATE}")),
            ("then\ndelete-range a/ --reverse", format!("line 2, column 17: unknown option --reverse: {DELETE_RANGE}")),
            ("then\nset k \"a", "line 2, column 7: unclosed quote \"".to_owned()),
            ("then\nset k \"\\q\"", "line 2, column 8: unknown escape \\q".to_owned()),
            (
                "then\nset k \\x0",
                "line 2, column 7: \\x must be followed by two hexadecimal digits".to_owned(),
            ),
        ] {
            assert_eq!(parse(script.as_bytes()), Err(expected), "{script}");
        }
    }
}
