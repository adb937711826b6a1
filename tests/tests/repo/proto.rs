//! The table of errors in the schema and in a document. The compiler of schemas (protox) refuses reused numbers.

/// Returns differences between the kinds of errors in the schema and in a document's table.
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
        // Rows of message fields have a name in backticks.
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
