//! Transactions in the lines of the Rust driver.

use anyhow::Context as _;
use gometa_client::{Compare, Entry, Op, OpResult, Range, Relation, Transacted, Txn};

use super::line::{Line, hex, unhex};

/// The transaction of a line.
pub fn txn(line: &Line) -> anyhow::Result<Txn> {
    let parts = |name| line.field(name).into_iter().flat_map(|parts| parts.split(','));
    let mut txn = Txn::new();
    for part in parts("when") {
        txn = txn.when(compare(part)?);
    }
    for part in parts("then") {
        txn = txn.then(operation(part)?);
    }
    for part in parts("otherwise") {
        txn = txn.otherwise(operation(part)?);
    }
    Ok(txn)
}

fn compare(part: &str) -> anyhow::Result<Compare> {
    let words: Vec<&str> = part.split(':').collect();
    let [fact, relation, key, operand] = words[..] else { anyhow::bail!("{part} is no comparison") };
    if fact == "range" {
        let keys = Range::prefix(unhex(key)?);
        return Ok(Compare::range(keys, relation.parse()?, operand.parse()?));
    }
    let relation = match relation {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        "<" => Relation::Less,
        ">" => Relation::Greater,
        _ => anyhow::bail!("{part} has no relation"),
    };
    let key = unhex(key)?;
    Ok(match fact {
        "mod_revision" => Compare::mod_revision(key, relation, operand.parse()?),
        "create_revision" => Compare::create_revision(key, relation, operand.parse()?),
        "value" => Compare::value(key, relation, unhex(operand)?),
        _ => anyhow::bail!("{part} has no fact"),
    })
}

fn operation(part: &str) -> anyhow::Result<Op> {
    let (verb, rest) = part.split_once(':').context("an operation has a key")?;
    Ok(match (verb, rest.split_once(':')) {
        ("set", Some((key, value))) => Op::set(unhex(key)?, unhex(value)?),
        ("delete", None) => Op::delete(unhex(rest)?),
        ("get", None) => Op::get(unhex(rest)?),
        ("delete_range", None) => Op::delete_range(Range::prefix(unhex(rest)?)),
        ("range", None) => Op::range(Range::prefix(unhex(rest)?)),
        _ => anyhow::bail!("{part} is no operation"),
    })
}

/// The answer to a transaction as text.
pub fn transacted(answer: &Transacted) -> String {
    let result = |result: &OpResult| match result {
        OpResult::Written(written) => format!("written:{}", written.version),
        OpResult::Deleted(deleted) => format!("deleted:{}", deleted.existed),
        OpResult::DeletedRange(deleted) => format!("deleted_range:{}", deleted.count),
        OpResult::Entry(Some(Entry { value, .. })) => format!("entry:{}", hex(value)),
        OpResult::Entry(None) => "absent".to_owned(),
        OpResult::Page(page) => {
            let keys: Vec<String> = page.entries.iter().map(|entry| hex(&entry.key)).collect();
            format!("page:{}", keys.join("+"))
        }
        OpResult::Left(error) => format!("error:{}", error.kind().name()),
        other => format!("{other:?}"),
    };
    let results: Vec<String> = answer.results.iter().map(result).collect();
    let Transacted { succeeded, revision, .. } = answer;
    format!("ok succeeded={succeeded} revision={revision} results={}", results.join(","))
}
