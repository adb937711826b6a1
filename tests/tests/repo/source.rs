//! Rules about Rust code, checked on its tokens, without comments and strings.

use crate::text::resolve;

/// Returns the tokens of a Rust source, each with its line (from 1). Comments are dropped; a string, byte string
/// or character literal becomes one empty token. Lifetimes are kept with their quote (`'a`).
pub(crate) fn tokens(source: &str) -> Vec<(usize, &str)> {
    let bytes = source.as_bytes();
    let is_word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80;
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        let rest = &source[at..];
        if bytes[at].is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += block_comment(rest);
        } else if let Some(length) = literal(rest) {
            found.push((line, &source[at..at]));
            at += length;
        } else if is_word(bytes[at]) || bytes[at] == b'\'' {
            at += 1;
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            found.push((line, &source[start..at]));
        } else {
            at += if rest.starts_with("::") { 2 } else { 1 };
            found.push((line, &source[start..at]));
        }
        line += bytes[start..at].iter().filter(|byte| **byte == b'\n').count();
    }
    found
}

/// Returns the length of the block comment at the start of `rest`; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") || here.starts_with(b"*/") {
            depth = if here[0] == b'/' { depth + 1 } else { depth - 1 };
            at += 2;
        } else {
            at += 1;
        }
    }
    at
}

/// Returns the length of the string or character literal at the start of `rest`, if there is one.
fn literal(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let prefix = bytes.iter().take(2).take_while(|byte| b"bcr".contains(byte)).count();
    let raw = bytes[..prefix].contains(&b'r');
    if raw {
        let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
        let open = prefix + hashes;
        if bytes.get(open) != Some(&b'"') {
            return None;
        }
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(rest[open + 1..].find(&close).map_or(rest.len(), |at| open + 1 + at + close.len()));
    }
    match bytes.get(prefix)? {
        b'"' => Some(quoted(bytes, prefix, b'"')),
        b'\'' => {
            // A character literal is escaped or closed after one character; otherwise this is a lifetime.
            let mut characters = rest[prefix + 1..].chars();
            let escaped = characters.next()? == '\\';
            (escaped || characters.next() == Some('\'')).then(|| quoted(bytes, prefix, b'\''))
        }
        _ => None,
    }
}

/// Returns the end of the literal whose opening quote is at `open`.
fn quoted(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Whether the tokens at `at` are these.
pub(crate) fn follows(tokens: &[(usize, &str)], at: usize, expected: &[&str]) -> bool {
    tokens.len() >= at + expected.len() && tokens[at..].iter().zip(expected).all(|((_, is), want)| is == want)
}

/// The only file that may include a source file of another crate.
const INCLUDED: [(&str, &str); 1] = [
    // The fuzzers would compile RocksDB if they depended on the server.
    ("fuzz/src/configuration.rs", "server/src/config/mod.rs"),
];

/// Returns source files of other crates that `#[path]` includes.
pub(crate) fn path_faults(path: &str, source: &str) -> Vec<String> {
    let (directory, _) = path.rsplit_once('/').unwrap_or_default();
    let (own, _) = path.split_once('/').unwrap_or_default();
    let included = source.split("#[path = \"").skip(1).filter_map(|rest| rest.split('"').next());
    included
        .filter_map(|target| resolve(directory, target))
        .filter(|target| !target.starts_with(&format!("{own}/")))
        .filter(|target| !INCLUDED.contains(&(path, target)))
        .map(|target| format!("{path}: includes {target}, a file of another crate"))
        .collect()
}

/// Returns a fault if a crate root does not forbid unsafe code.
pub(crate) fn root_faults(path: &str, source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let wanted = ["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"];
    if (0..tokens.len()).any(|at| follows(&tokens, at, &wanted)) {
        return Vec::new();
    }
    vec![format!("{path}: does not say #![forbid(unsafe_code)]")]
}

/// Returns uses of std in zab outside tests, and a missing `no_std` in its root.
pub(crate) fn std_faults(path: &str, source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut faults = Vec::new();
    if path.ends_with("src/lib.rs")
        && !(0..tokens.len()).any(|at| follows(&tokens, at, &["[", "no_std", "]"]))
    {
        faults.push(format!("{path}: does not say #![no_std]"));
    }
    let test_only = ["#", "[", "cfg", "(", "test", ")", "]"];
    for at in (0..tokens.len()).filter(|at| follows(&tokens, *at, &["extern", "crate", "std"])) {
        if at < test_only.len() || !follows(&tokens, at - test_only.len(), &test_only) {
            faults.push(format!("{path}:{}: `extern crate std` outside tests", tokens[at].0));
        }
    }
    faults
}

#[test]
fn tokens_leave_out_comments_and_literals() {
    let source =
        "fn a<'a>() { // unsafe\n let s = \"unsafe \\\" \"; /* unsafe /* x */ */ b'\\'' ; r#\"a\"b\"# 'x' }";
    let words: Vec<_> = tokens(source).into_iter().map(|(_, token)| token).collect();
    assert_eq!(
        words,
        ["fn", "a", "<", "'a", ">", "(", ")", "{", "let", "s", "=", "", ";", "", ";", "", "", "}"]
    );
    let lines: Vec<_> = tokens("a\n\"x\ny\"\nb").into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 2, 4]);
    let open_ends = ["\"", "'", "r#\"a", "/* a", "b'\\", "'é", "r", "b", "br"];
    for source in open_ends {
        tokens(source);
    }
}

#[test]
fn files_of_other_crates_are_not_included() {
    let attribute = |target: &str| format!("#[path = \"{target}\"]\nmod other;");
    for good in ["link_tests.rs", "../harness/disk.rs"] {
        assert_eq!(path_faults("zab/tests/single_node/main.rs", &attribute(good)), Vec::<String>::new());
    }
    for bad in ["../../../zab/src/probe.rs", "../../../server/src/config/mod.rs"] {
        assert_eq!(path_faults("store/src/a/b.rs", &attribute(bad)).len(), 1, "{bad}");
    }
    let (from, to) = INCLUDED[0];
    assert_eq!(path_faults(from, &attribute(&format!("../../{to}"))), Vec::<String>::new());
}

#[test]
fn roots_must_forbid() {
    assert_eq!(root_faults("a", "//! Doc.\n#![no_std]\n#![forbid(unsafe_code)]"), Vec::<String>::new());
    for bad in ["", "#![deny(unsafe_code)]", "// #![forbid(unsafe_code)]", "#[forbid(unsafe_code)] mod a;"] {
        assert_eq!(root_faults("a", bad).len(), 1, "{bad}");
    }
}

#[test]
fn std_in_the_protocol_is_found() {
    let root = "zab/src/lib.rs";
    assert_eq!(std_faults(root, "#![no_std]\n#[cfg(test)]\nextern crate std;"), Vec::<String>::new());
    assert_eq!(std_faults(root, "#![no_std]\nextern crate alloc;"), Vec::<String>::new());
    assert_eq!(std_faults(root, "extern crate alloc;").len(), 1);
    assert_eq!(std_faults(root, "#![no_std]\nextern crate std;").len(), 1);
    assert_eq!(std_faults("zab/src/leader.rs", "fn f() {}"), Vec::<String>::new());
}
