//! 25. **Transactions**: an answer follows from the log alone, however often and by whichever node it is given: the branch that
//!     was executed, what it wrote, and what its reads saw. A transaction that is a read sees one revision.

use gometa_proto::v1::{
    Consistency, ErrorKind, Response, Txn, TxnAnswer, TxnResult, response::Result as Answer,
    txn_result::Result as Outcome,
};

use super::{
    Check,
    branches::{hold, results_of},
    ensure,
    model::Model,
};

const TXN: &str = "25 transactions";

/// Judges the results in the answer to an executed transaction.
pub(super) fn judge_executed(model: &Model, node: usize, txn: &Txn, answer: &TxnAnswer) -> Check {
    let TxnAnswer { revision, succeeded, results } = answer;
    let branch = txn.branch(*succeeded);
    let expected = results_of(model, branch, *revision - 1, *revision);
    let compacted = |result: &TxnResult| match &result.result {
        Some(Outcome::Error(error)) if error.kind == ErrorKind::Compacted as u32 => {
            *revision <= error.actual_revision && error.actual_revision <= model.horizon
        }
        _ => false,
    };
    let are_compacted = results.len() == branch.len() && results.iter().all(compacted);
    ensure!(
        are_compacted || are_equal(results, &expected),
        TXN,
        "n{node} answers {txn:?} with {answer:?}, it came to {expected:?}"
    );
    Ok(())
}

/// Judges the answer to a transaction that is a read. `shown` is the highest revision that any answer had shown when it was
/// asked for.
pub(super) fn judge_read(
    model: &Model,
    node: usize,
    shown: u64,
    txn: &Txn,
    response: &Response,
    answer: &Answer,
) -> Check {
    let answer = match answer {
        Answer::Txn(answer) => answer,
        Answer::Error(_) => return Ok(()),
        other => {
            ensure!(false, TXN, "n{node} answers {txn:?} with {other:?}");
            return Ok(());
        }
    };
    let oldest = if txn.consistency == Consistency::Local as i32 { txn.min_revision } else { shown };
    let revision = answer.revision;
    ensure!(
        revision >= oldest && revision <= response.revision,
        TXN,
        "n{node} answers {txn:?} as of {revision}, {oldest} was shown or demanded: {response:?}"
    );
    let succeeded = hold(model, txn, revision);
    let expected = results_of(model, txn.branch(succeeded), revision, revision);
    ensure!(
        answer.succeeded == succeeded && are_equal(&answer.results, &expected),
        TXN,
        "n{node} answers {txn:?} with {answer:?}, at that revision it is {succeeded} {expected:?}"
    );
    Ok(())
}

/// Whether results are equal but for the messages of errors.
fn are_equal(results: &[TxnResult], expected: &[TxnResult]) -> bool {
    results.len() == expected.len()
        && results.iter().zip(expected).all(|(result, expected)| match (&result.result, &expected.result) {
            (Some(Outcome::Error(error)), Some(Outcome::Error(expected))) => error.kind == expected.kind,
            (result, expected) => result == expected,
        })
}
