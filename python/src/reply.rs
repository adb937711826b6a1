//! The results of calls as Python's objects, whose classes are in `gometa/_types.py`.

use bytes::Bytes;
use gometa_client::{
    Counters, EnsembleId, Entry, Error, KeyHistory, Member, MemberRecord, Membership, NodeStatus, OpResult,
    Page, Setting, StorageStatus, Transacted, View,
};
use pyo3::{
    IntoPyObjectExt,
    exceptions::PyNotImplementedError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyTuple},
};

use crate::error::exception;

/// The result of a call.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The end of closing.
    Nothing,
    /// The value of a read, none if there is no such key.
    Value(Option<Bytes>),
    Other(gometa_client::Reply),
}

/// The classes of results, looked up once.
struct Types {
    written: Py<PyAny>,
    deleted: Py<PyAny>,
    deleted_range: Py<PyAny>,
    entry: Py<PyAny>,
    page: Py<PyAny>,
    key_history: Py<PyAny>,
    key_version: Py<PyAny>,
    transacted: Py<PyAny>,
    counters: Py<PyAny>,
    ensemble: Py<PyAny>,
    member: Py<PyAny>,
    members: Py<PyAny>,
    member_record: Py<PyAny>,
    members_version: Py<PyAny>,
    membership: Py<PyAny>,
    members_changed: Py<PyAny>,
    stop_advice: Py<PyAny>,
    setting: Py<PyAny>,
    peer_status: Py<PyAny>,
    snapshot_status: Py<PyAny>,
    storage_status: Py<PyAny>,
    status: Py<PyAny>,
}

/// Looks them up, once.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    types(py).map(|_| ())
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    static TYPES: PyOnceLock<Types> = PyOnceLock::new();
    TYPES.get_or_try_init(py, || {
        let module = py.import("gometa._types")?;
        let get = |name: &str| module.getattr(name).map(Bound::unbind);
        Ok(Types {
            written: get("Written")?,
            deleted: get("Deleted")?,
            deleted_range: get("DeletedRange")?,
            entry: get("Entry")?,
            page: get("Page")?,
            key_history: get("KeyHistory")?,
            key_version: get("KeyVersion")?,
            transacted: py.import("gometa._txn")?.getattr("Transacted")?.unbind(),
            counters: get("Counters")?,
            ensemble: get("Ensemble")?,
            member: get("Member")?,
            members: get("Members")?,
            member_record: get("MemberRecord")?,
            members_version: get("MembersVersion")?,
            membership: get("Membership")?,
            members_changed: get("MembersChanged")?,
            stop_advice: get("StopAdvice")?,
            setting: get("Setting")?,
            peer_status: get("PeerStatus")?,
            snapshot_status: get("SnapshotStatus")?,
            storage_status: get("StorageStatus")?,
            status: get("Status")?,
        })
    })
}

fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, bytes)
}

fn ensemble(py: Python<'_>, ensemble: Option<&EnsembleId>) -> PyResult<Py<PyAny>> {
    match ensemble {
        Some(ensemble) => types(py)?.ensemble.call1(py, (bytes(py, &ensemble.id), ensemble.history)),
        None => Ok(py.None()),
    }
}

fn member(py: Python<'_>, member: &Member) -> PyResult<Py<PyAny>> {
    let arguments = (member.node, member.message_address.as_str(), member.request_address.as_deref());
    types(py)?.member.call1(py, arguments)
}

fn status(py: Python<'_>, status: &NodeStatus) -> PyResult<Py<PyAny>> {
    let peers = status.peers.iter().map(|peer| {
        let arguments = (
            member(py, &peer.member)?,
            peer.votes,
            peer.connected,
            peer.acked_revision,
            peer.detail.as_str(),
        );
        types(py)?.peer_status.call1(py, arguments)
    });
    let peers = PyTuple::new(py, peers.collect::<PyResult<Vec<_>>>()?)?;
    let fields = [
        status.node.into_py_any(py)?,
        status.role.name().into_py_any(py)?,
        status.leader.into_py_any(py)?,
        status.epoch.into_py_any(py)?,
        status.last_revision.into_py_any(py)?,
        status.commit_revision.into_py_any(py)?,
        status.applied_revision.into_py_any(py)?,
        bytes(py, &status.state_hash).into_py_any(py)?,
        status.sessions.into_py_any(py)?,
        status.keys.into_py_any(py)?,
        status.votes.into_py_any(py)?,
        status.detail.as_str().into_py_any(py)?,
        status.version.as_str().into_py_any(py)?,
        ensemble(py, status.ensemble.as_ref())?,
        peers.into_py_any(py)?,
        storage(py, &status.storage)?,
        status.pending_change.as_str().into_py_any(py)?,
        status.oldest_revision.into_py_any(py)?,
    ];
    types(py)?.status.call1(py, PyTuple::new(py, fields)?)
}

fn storage(py: Python<'_>, storage: &StorageStatus) -> PyResult<Py<PyAny>> {
    let snapshot = storage.snapshot.map(|snapshot| {
        let arguments = (
            snapshot.sending,
            snapshot.revision,
            snapshot.total_bytes,
            snapshot.transferred_bytes,
            snapshot.bytes_per_second,
            snapshot.receivers,
        );
        types(py)?.snapshot_status.call1(py, arguments)
    });
    let arguments = (
        storage.log_base,
        storage.log_end,
        storage.log_bytes,
        storage.state_bytes,
        storage.free_bytes,
        storage.reserve_bytes,
        storage.flushed_revision,
        storage.flush_age_ms,
        snapshot.transpose()?,
        storage.history_bytes,
    );
    types(py)?.storage_status.call1(py, arguments)
}

fn entry(py: Python<'_>, entry: &Entry) -> PyResult<Py<PyAny>> {
    let arguments = (
        bytes(py, &entry.key),
        bytes(py, &entry.value),
        entry.version,
        entry.create_revision,
        entry.mod_revision,
        entry.is_group,
    );
    types(py)?.entry.call1(py, arguments)
}

fn page(py: Python<'_>, page: &Page) -> PyResult<Py<PyAny>> {
    let entries = page.entries.iter().map(|known| entry(py, known)).collect::<PyResult<Vec<_>>>()?;
    let next = page.next.as_ref().map(|next| bytes(py, next));
    types(py)?.page.call1(py, (PyTuple::new(py, entries)?, next, page.revision))
}

fn history(py: Python<'_>, history: &KeyHistory) -> PyResult<Py<PyAny>> {
    let versions = history.versions.iter().map(|version| {
        let arguments = (
            version.revision,
            version.deleted,
            version.version,
            version.create_revision,
            bytes(py, &version.value),
            version.value_size,
        );
        types(py)?.key_version.call1(py, arguments)
    });
    let versions = PyTuple::new(py, versions.collect::<PyResult<Vec<_>>>()?)?;
    let arguments = (versions, history.next_before, history.revision, history.oldest_revision);
    types(py)?.key_history.call1(py, arguments)
}

fn transacted(py: Python<'_>, made: &Transacted) -> PyResult<Py<PyAny>> {
    let result = |result: &OpResult| match result {
        OpResult::Written(made) => types(py)?.written.call1(py, (made.revision, made.version)),
        OpResult::Deleted(made) => types(py)?.deleted.call1(py, (made.existed, made.revision)),
        OpResult::Entry(Some(known)) => entry(py, known),
        OpResult::Entry(None) => Ok(py.None()),
        OpResult::Page(made) => page(py, made),
        OpResult::DeletedRange(made) => types(py)?.deleted_range.call1(py, (made.count, made.revision)),
        OpResult::Left(error) => Ok(exception(py, error).into_value(py).into_any()),
        other => Err(PyNotImplementedError::new_err(format!("a result of an unknown kind: {other:?}"))),
    };
    let results = made.results.iter().map(result).collect::<PyResult<Vec<_>>>()?;
    types(py)?.transacted.call1(py, (made.succeeded, made.revision, PyTuple::new(py, results)?))
}

fn members(py: Python<'_>, view: &View) -> PyResult<Py<PyAny>> {
    let listed = view.members.iter().map(|known| member(py, known)).collect::<PyResult<Vec<_>>>()?;
    let arguments = (view.role.name(), view.leader.as_deref(), PyTuple::new(py, listed)?);
    types(py)?.members.call1(py, arguments)
}

fn member_record(py: Python<'_>, member: &MemberRecord) -> PyResult<Py<PyAny>> {
    let arguments = (
        member.node,
        bytes(py, &member.incarnation),
        member.election_address.as_str(),
        member.message_address.as_str(),
        member.request_address.as_str(),
        member.votes,
        member.promised,
        member.replaces,
    );
    types(py)?.member_record.call1(py, arguments)
}

fn membership(py: Python<'_>, membership: &Membership) -> PyResult<Py<PyAny>> {
    let listed = membership.members.iter().map(|known| member_record(py, known));
    let listed = PyTuple::new(py, listed.collect::<PyResult<Vec<_>>>()?)?;
    let version = (membership.version.epoch, membership.version.revision);
    let version = types(py)?.members_version.call1(py, version)?;
    types(py)?.membership.call1(py, (version, listed, membership.committed))
}

/// The result of a call as an object, or an exception.
pub(crate) fn object(py: Python<'_>, result: Result<Reply, Error>) -> PyResult<Py<PyAny>> {
    use gometa_client::Reply as Made;
    let made = match result.map_err(|error| exception(py, &error))? {
        Reply::Value(Some(value)) => return bytes(py, &value).into_py_any(py),
        Reply::Value(None) | Reply::Nothing => return Ok(py.None()),
        Reply::Other(made) => made,
    };
    match made {
        Made::Written(made) => types(py)?.written.call1(py, (made.revision, made.version)),
        Made::Deleted(made) => types(py)?.deleted.call1(py, (made.existed, made.revision)),
        Made::Entry(made) => entry(py, &made),
        Made::Page(made) | Made::NextPage(Some(made)) => page(py, &made),
        Made::NextPage(None) => Ok(py.None()),
        Made::History(read) => history(py, &read),
        Made::Count(count) => count.into_py_any(py),
        Made::Transacted(made) => transacted(py, &made),
        Made::Value(value) => value.map(|value| bytes(py, &value)).into_py_any(py),
        Made::Over(is_over) => is_over.into_py_any(py),
        Made::Status(known) => status(py, &known),
        Made::Members(view) => members(py, &view),
        Made::Membership(known) => membership(py, &known),
        Made::MembersChanged(made) => {
            types(py)?.members_changed.call1(py, (membership(py, &made.membership)?, made.changed))
        }
        Made::Settings(settings) => {
            let settings = settings.iter().map(|setting| {
                let Setting { name, value, is_set, default, min, max, .. } = setting;
                types(py)?.setting.call1(py, (name, value, is_set, default, min, max))
            });
            PyTuple::new(py, settings.collect::<PyResult<Vec<_>>>()?)?.into_py_any(py)
        }
        Made::Revision(revision) => revision.into_py_any(py),
        Made::Leader(node) => node.into_py_any(py),
        Made::StopAdvice(advice) => types(py)?.stop_advice.call1(py, (advice.safe, advice.reason.as_str())),
    }
}

/// Counters as an object.
pub(crate) fn counters(py: Python<'_>, counters: Counters, seen_revision: u64) -> PyResult<Py<PyAny>> {
    let Counters { requests, retries, reconnects, in_flight, .. } = counters;
    types(py)?.counters.call1(py, (requests, retries, reconnects, in_flight, seen_revision))
}
