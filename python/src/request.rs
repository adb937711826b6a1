//! The operations: requests from Python's arguments.

use bytes::Bytes;
use gometa_client::{
    Arguments, Client, Error, ErrorKind, MemberChange, Operation, Request as Call, SharedPages,
};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyTuple};

use crate::{
    arguments::{bytes, follows, history_options, nodes, number, range, read_options, text},
    own::Own,
    reply::Reply,
    txn::{Attempts, txn},
};

/// A call and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    call: Call,
    /// A read that returns only the value, and nothing instead of [`ErrorKind::NotFound`].
    value_only: bool,
}

type Argument<'py> = Bound<'py, PyAny>;

/// The arguments of a write, in the order of its parameters.
fn write_arguments(operation: Operation, arguments: &Bound<'_, PyTuple>) -> PyResult<Arguments> {
    let mut write = Arguments::default();
    for (name, argument) in operation.parameters().iter().zip(arguments.iter()) {
        match *name {
            "key" => write.key = bytes(&argument, operation, name)?,
            "value" => write.value = bytes(&argument, operation, name)?,
            _ if operation == Operation::Delete && argument.is_none() => {}
            _ => write.revision = Some(number(&argument, operation, name)?),
        }
    }
    Ok(write)
}

/// The pages of a scan, for the operation `next_page`.
#[pyclass(frozen, module = "gometa._gometa")]
pub(crate) struct Pages(Own<SharedPages>);

#[pymethods]
impl Pages {
    /// `arguments` are those of a range.
    #[new]
    fn new(arguments: &Bound<'_, PyTuple>) -> PyResult<Pages> {
        Ok(Pages(Own::new(SharedPages::new(range(arguments)?))))
    }
}

/// The request of a change of one member.
fn change(change: MemberChange, operation: Operation, arguments: &Bound<'_, PyTuple>) -> PyResult<Call> {
    let (node, version): (Argument<'_>, Argument<'_>) = arguments.extract()?;
    let node = number(&node, operation, "node")?;
    Ok(Call::ChangeMember { change, node, follows: follows(&version, operation)? })
}

impl Request {
    /// The request of an operation, by the name and the order of arguments that `gometa/_client.py` uses.
    pub(crate) fn new(operation: &str, arguments: &Bound<'_, PyTuple>) -> PyResult<Request> {
        if let Some(write) = Operation::from_name(operation).filter(|operation| operation.is_write()) {
            let call = Call::write(write, write_arguments(write, arguments)?);
            return Ok(Request { call, value_only: false });
        }
        let call = match operation {
            "get" | "entry" => {
                let (key, consistency, min_revision): (Argument<'_>, Argument<'_>, Argument<'_>) =
                    arguments.extract()?;
                let key = bytes(&key, Operation::Get, "key")?;
                Call::Get { key, options: read_options(&consistency, &min_revision)? }
            }
            "entry_at" => {
                let (key, revision): (Argument<'_>, Argument<'_>) = arguments.extract()?;
                let key = bytes(&key, Operation::Get, "key")?;
                Call::GetAt { key, revision: number(&revision, Operation::Get, "revision")? }
            }
            "range" => Call::Range(Box::new(range(arguments)?)),
            "next_page" => {
                let (pages,): (Bound<'_, Pages>,) = arguments.extract()?;
                Call::NextPage(pages.get().0.get(arguments.py(), Operation::Range)?.clone())
            }
            "count" => Call::Count(Box::new(range(arguments)?)),
            "history" => {
                let key = bytes(&arguments.get_item(0)?, Operation::GetHistory, "key")?;
                Call::History { key, options: history_options(arguments)? }
            }
            "delete_prefix" => {
                let (prefix,): (Argument<'_>,) = arguments.extract()?;
                Call::DeletePrefix { prefix: bytes(&prefix, Operation::Delete, "prefix")? }
            }
            "commit" => Call::Commit(Box::new(txn(arguments)?)),
            "read" => {
                let (attempts, key): (Bound<'_, Attempts>, Argument<'_>) = arguments.extract()?;
                let transaction = attempts.get().transaction(arguments.py())?.clone();
                Call::Read { transaction, key: bytes(&key, Operation::Txn, "key")? }
            }
            "read_range" => {
                let (attempts, keys): (Bound<'_, Attempts>, Bound<'_, PyTuple>) = arguments.extract()?;
                let transaction = attempts.get().transaction(arguments.py())?.clone();
                Call::ReadRange { transaction, range: Box::new(range(&keys)?) }
            }
            "end_attempt" => {
                let (attempts, is_compacted): (Bound<'_, Attempts>, bool) = arguments.extract()?;
                let message = "what the transaction reads has left the history";
                let error = is_compacted.then(|| Error::new(ErrorKind::Compacted, Operation::Txn, message));
                Call::EndAttempt(attempts.get().transaction(arguments.py())?.clone(), error)
            }
            "settings" => Call::Settings,
            "set_setting" => {
                let (name, value): (Argument<'_>, Option<Argument<'_>>) = arguments.extract()?;
                let operation = Operation::SetSetting;
                let value = value.map(|value| number(&value, operation, "value")).transpose()?;
                Call::SetSetting { name: text(&name, operation, "name")?, value }
            }
            "status" => {
                let (address,): (Option<Argument<'_>>,) = arguments.extract()?;
                let address = address.map(|address| text(&address, Operation::Status, "address"));
                Call::Status { address: address.transpose()? }
            }
            "members" => Call::Members,
            "membership" => Call::Membership,
            "promote_member" => change(MemberChange::Promote, Operation::PromoteMember, arguments)?,
            "remove_member" => change(MemberChange::Remove, Operation::RemoveMember, arguments)?,
            "replace_member" => {
                let (node, replacement, version): (Argument<'_>, Argument<'_>, Argument<'_>) =
                    arguments.extract()?;
                let operation = Operation::ReplaceMember;
                let replacement = number(&replacement, operation, "replacement")?;
                Call::ChangeMember {
                    change: MemberChange::ReplaceBy(replacement),
                    node: number(&node, operation, "node")?,
                    follows: follows(&version, operation)?,
                }
            }
            "cancel_promotion" => {
                change(MemberChange::CancelPromotion, Operation::CancelPromotion, arguments)?
            }
            "transfer_leadership" => {
                let (to,): (Option<Argument<'_>>,) = arguments.extract()?;
                let to = to.map(|to| number(&to, Operation::TransferLeadership, "to")).transpose()?;
                Call::TransferLeadership { to }
            }
            "safe_to_stop" => {
                let (asked,): (Argument<'_>,) = arguments.extract()?;
                Call::SafeToStop { nodes: nodes(&asked, Operation::SafeToStop)? }
            }
            unknown => return Err(PyValueError::new_err(format!("there is no operation {unknown}"))),
        };
        Ok(Request { call, value_only: operation == "get" })
    }

    pub(crate) fn operation(&self) -> Operation {
        self.call.operation()
    }

    pub(crate) fn key(&self) -> Option<&Bytes> {
        self.call.key()
    }

    /// Makes the call.
    pub(crate) async fn perform(self, client: &Client) -> Result<Reply, Error> {
        match client.perform(self.call).await {
            Ok(gometa_client::Reply::Entry(entry)) if self.value_only => Ok(Reply::Value(Some(entry.value))),
            Err(error) if self.value_only && error.kind() == ErrorKind::NotFound => Ok(Reply::Value(None)),
            result => result.map(Reply::Other),
        }
    }
}
