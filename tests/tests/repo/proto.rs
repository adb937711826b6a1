//! Numbers in `.proto` files: once per message and enum, none of those that protobuf keeps for itself.

use std::collections::BTreeMap;

/// Field and value numbers, or names, that stand twice in one message or enum, or are not allowed at all.
///
/// A `oneof` is part of the message around it. Reserved numbers count as used.
pub(crate) fn faults(path: &str, schema: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut statement: Vec<(usize, String)> = Vec::new();
    for (line, token) in tokens(schema) {
        match token.as_str() {
            "{" => {
                let words: Vec<&str> = statement.iter().map(|(_, word)| word.as_str()).collect();
                scopes.push(match words[..] {
                    ["message" | "enum", name] => Scope::Numbers(name.to_string(), BTreeMap::new()),
                    _ => Scope::Inner,
                });
                statement.clear();
            }
            "}" => {
                statement.clear();
                scopes.pop();
            }
            ";" => {
                let around = scopes.iter_mut().rev().find_map(|scope| match scope {
                    Scope::Numbers(name, used) => Some((name, used)),
                    Scope::Inner => None,
                });
                if let Some((name, used)) = around {
                    for (what, number) in numbers(&statement) {
                        let place = format!("{path}:{line}: {name}.{what}");
                        if (19_000..=19_999).contains(&number) || number > 536_870_911 {
                            faults.push(format!("{place}: {number} is not a number for fields"));
                        }
                        if let Some(other) = used.insert(number, what.clone()) {
                            faults.push(format!("{place}: {number} is {name}.{other} already"));
                        }
                    }
                }
                statement.clear();
            }
            _ => statement.push((line, token)),
        }
    }
    if !scopes.is_empty() {
        faults.push(format!("{path}: braces do not match"));
    }
    faults
}

enum Scope {
    /// A message or enum: its name, and what has each number.
    Numbers(String, BTreeMap<u64, String>),
    /// A oneof or option block inside one.
    Inner,
}

/// The numbers that a statement of a message or enum takes, with the name of what takes them.
fn numbers(statement: &[(usize, String)]) -> Vec<(String, u64)> {
    let words: Vec<&str> = statement.iter().map(|(_, word)| word.as_str()).collect();
    if let ["reserved", ranges @ ..] = &words[..] {
        return ranges.split(|word| *word == ",").flat_map(reserved).collect();
    }
    if words.first() == Some(&"option") {
        return Vec::new();
    }
    let found = words.windows(3).find(|three| three[1] == "=" && three[2].parse::<u64>().is_ok());
    found.map(|three| (three[0].to_string(), three[2].parse().unwrap_or_default())).into_iter().collect()
}

/// `7` or `7 to 9`, at most a thousand numbers of it; names are passed over.
fn reserved(range: &[&str]) -> Vec<(String, u64)> {
    let (first, last) = match range {
        [one] => (one.parse(), one.parse()),
        [first, "to", "max"] => (first.parse(), first.parse()),
        [first, "to", last] => (first.parse(), last.parse::<u64>()),
        _ => return Vec::new(),
    };
    let (Ok(first), Ok(last)) = (first, last) else { return Vec::new() };
    (first..=last).take(1_000).map(|number| ("reserved".to_string(), number)).collect()
}

/// Words and signs with their lines; comments and the contents of strings are dropped.
fn tokens(schema: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_comment = false;
    for (index, text) in schema.lines().enumerate() {
        let mut word = String::new();
        let mut characters = text.chars().peekable();
        let mut push = |word: &mut String| {
            if !word.is_empty() {
                found.push((index + 1, std::mem::take(word)));
            }
        };
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            match character {
                '*' if in_comment && next == Some('/') => {
                    in_comment = false;
                    characters.next();
                }
                _ if in_comment => {}
                '/' if next == Some('/') => break,
                '/' if next == Some('*') => in_comment = true,
                '"' => {
                    push(&mut word);
                    while characters.next().is_some_and(|inside| inside != '"') {}
                }
                _ if character.is_alphanumeric() || "_.-".contains(character) => word.push(character),
                _ => {
                    push(&mut word);
                    if !character.is_whitespace() {
                        push(&mut character.to_string());
                    }
                }
            }
        }
        push(&mut word);
    }
    found
}

/// Kinds of errors whose number and name a document's table does not have as the schema does, or the other way round.
pub(crate) fn error_table_faults(schema: &str, document: &str) -> Vec<String> {
    let kinds: Vec<(u64, String)> = schema
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR_KIND_")?.split_once(" = "))
        .filter_map(|(name, number)| Some((number.trim_end_matches(';').parse().ok()?, camel_case(name))))
        .filter(|(number, _)| *number > 0)
        .collect();
    let rows: Vec<(u64, String)> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            Some((cells.next()?.parse().ok()?, cells.next()?.to_string()))
        })
        // Fields of messages, which are numbered as well, stand in backticks.
        .filter(|(_, name): &(u64, String)| !name.starts_with('`'))
        .collect();
    let missing = kinds
        .iter()
        .filter(|kind| !rows.contains(kind))
        .map(|(number, name)| format!("{number} {name} is missing"));
    let foreign = rows
        .iter()
        .filter(|row| !kinds.contains(row))
        .map(|(number, name)| format!("{number} {name} is not in the schema"));
    let empty = kinds.is_empty().then(|| "the schema has no kinds of errors".to_string());
    missing.chain(foreign).chain(empty).collect()
}

/// `NOT_FOUND` → `NotFound`.
fn camel_case(name: &str) -> String {
    let word =
        |word: &str| word.chars().take(1).chain(word.to_lowercase().chars().skip(1)).collect::<String>();
    name.split('_').map(word).collect()
}

#[test]
fn error_tables_are_compared_both_ways() {
    let schema = "enum ErrorKind {\n  ERROR_KIND_UNSPECIFIED = 0;\n  ERROR_KIND_NOT_FOUND = 2;\n}";
    assert_eq!(
        error_table_faults(schema, "| # | kind |\n|---|---|\n| 2 | NotFound | x |"),
        Vec::<String>::new()
    );
    assert_eq!(error_table_faults(schema, "| 3 | NotFound |").len(), 2);
    assert_eq!(error_table_faults(schema, "| 2 | NotFound |\n| 3 | `field` |"), Vec::<String>::new());
    assert_eq!(error_table_faults(schema, ""), ["2 NotFound is missing"]);
    assert_eq!(error_table_faults("", ""), ["the schema has no kinds of errors"]);
}

#[test]
fn numbers_used_once_are_accepted() {
    let schema = r#"
        syntax = "proto3"; // a = 1;
        package gometa.v1;
        message A {
          uint64 a = 1; /* b = 1;
          */ reserved 4, 6 to 8; reserved "old";
          oneof body { B b = 2; bytes c = 3 [deprecated = true]; }
          map<string, uint32> d = 5;
          enum E { ZERO = 0; ONE = 1; }
          message C { uint32 a = 1; }
          E e = 9;
        }
        message B { uint64 a = 1; }
    "#;
    assert_eq!(faults("a.proto", schema), Vec::<String>::new());
}

#[test]
fn numbers_used_twice_are_faults() {
    for bad in [
        "message A { uint64 a = 1; uint64 b = 1; }",
        "message A { uint64 a = 1; oneof c { B b = 1; } }",
        "message A { oneof c { B b = 1; } oneof d { B e = 1; } }",
        "message A { message B { uint64 a = 1; } uint64 a = 2;\n repeated uint64 b = 2; }",
        "message A { reserved 3 to 5; uint64 a = 4; }",
        "enum E { ZERO = 0; NIL = 0; }",
        "message A { uint64 a = 19500; }",
        "message A { uint64 a = 1;",
    ] {
        assert_eq!(faults("a.proto", bad).len(), 1, "{bad}: {:?}", faults("a.proto", bad));
    }
    let schema = "message A {\n  uint64 a = 1;\n  uint64 b = 1;\n}";
    assert_eq!(faults("a.proto", schema), ["a.proto:3: A.b: 1 is A.a already"]);
}
