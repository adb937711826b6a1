//! Messages between nodes: one `PeerFrame` each, behind its length (u32, big endian).

use bytes::{Bytes, BytesMut};
use gometa_proto::{
    check,
    frame::{self, TooLarge},
    v1::{self, peer_frame::Body},
};
use gometa_zab::{DiskSpace, EnsembleId, Epoch, FIRST_LEVEL, Hello, Levels, LogEntry, Message, Reason, Zxid};

use crate::{
    DecodeError,
    error::invalid,
    fields, integrity,
    limits::{BOUNDARIES_MAX, ENTRIES_MAX, PAYLOAD_MAX, PEER_ELEMENTS_MAX, PEER_FRAME_MAX, PEER_VERSION},
    storage::follows,
};

/// Appends a message and, before it, its length.
///
/// # Errors
/// [`TooLarge`] for a message above every node's limit. The caller closes the connection, since messages must not be
/// skipped.
pub fn encode(message: &Message, buffer: &mut BytesMut) -> Result<(), TooLarge> {
    frame::encode(&v1::PeerFrame { body: Some(body(message)) }, PEER_FRAME_MAX, buffer)
}

/// Decodes and checks the message of a frame ([`gometa_proto::frame::decode_frame`]). Payloads of log entries and relayed
/// messages share the frame's memory.
///
/// A Hello of another version is [`DecodeError::Version`], so that the caller can answer it. A log entry of an unknown
/// kind or level is decoded: if it comes from the leader, it must stop the node.
pub fn decode(frame: Bytes) -> Result<Message, DecodeError> {
    if frame.len() > PEER_FRAME_MAX {
        return Err(TooLarge { length: frame.len(), max: PEER_FRAME_MAX }.into());
    }
    let frame: v1::PeerFrame = check::decode(frame, PEER_ELEMENTS_MAX)?;
    message(frame.body.ok_or(DecodeError::UnknownMessage)?)
}

/// Encodes the body of a message.
fn body(message: &Message) -> Body {
    match message {
        Message::Hello(hello) => Body::Hello(hello_message(hello)),
        Message::Prepare(genesis) => {
            Body::Prepare(v1::Prepare { genesis: Some(fields::genesis_message(genesis)) })
        }
        Message::Prepared(EnsembleId { id, history }) => {
            Body::Prepared(v1::Prepared { ensemble: fields::id_bytes(*id), history: *history })
        }
        Message::Seal(EnsembleId { id, history }) => {
            Body::Seal(v1::Seal { ensemble: fields::id_bytes(*id), history: *history })
        }
        Message::Formed(genesis) => {
            Body::Formed(v1::Formed { genesis: Some(fields::genesis_message(genesis)) })
        }
        Message::FollowerEpoch { accepted, configuration } => Body::Cepoch(v1::FollowerEpoch {
            accepted_epoch: accepted.0,
            configuration: Some(fields::zxid_message(*configuration)),
        }),
        Message::NewEpoch(epoch) => Body::NewEpoch(v1::EpochMessage { epoch: epoch.0 }),
        Message::AckEpoch { epoch, current, last, oldest, boundaries } => Body::AckEpoch(v1::AckEpoch {
            epoch: epoch.0,
            current_epoch: current.0,
            last: Some(fields::zxid_message(*last)),
            oldest: Some(fields::zxid_message(*oldest)),
            boundaries: boundaries.iter().map(|zxid| fields::zxid_message(*zxid)).collect(),
        }),
        Message::RefuseEpoch { accepted, leader } => Body::RefuseEpoch(v1::RefuseEpoch {
            accepted_epoch: accepted.0,
            accepted_leader: leader.map_or(0, |leader| leader.0),
        }),
        Message::Refuse(reason) => Body::Refuse(v1::Refuse { reason: reason_message(*reason).into() }),
        Message::Duplicate(addresses) => {
            Body::Duplicate(v1::Duplicate { addresses: Some(fields::addresses_message(addresses)) })
        }
        Message::Diff { epoch, base } => Body::Diff(zxid_message(*epoch, *base)),
        Message::Propose { epoch, previous, entries, commit } => Body::Propose(v1::Propose {
            epoch: epoch.0,
            previous: Some(fields::zxid_message(*previous)),
            entries: entries.iter().map(entry_message).collect(),
            commit: *commit,
        }),
        Message::Progress { epoch, last } => Body::Progress(zxid_message(*epoch, *last)),
        Message::NewLeader { epoch, last } => Body::NewLeader(zxid_message(*epoch, *last)),
        Message::AckNewLeader { epoch, last } => Body::AckNewLeader(zxid_message(*epoch, *last)),
        Message::UpToDate { epoch, commit } => {
            Body::UpToDate(v1::CommitMessage { epoch: epoch.0, commit: *commit })
        }
        Message::Ack { epoch, last } => Body::Ack(zxid_message(*epoch, *last)),
        Message::Commit { epoch, commit } => {
            Body::Commit(v1::CommitMessage { epoch: epoch.0, commit: *commit })
        }
        Message::Heartbeat { epoch, id, commit } => {
            Body::Heartbeat(v1::Heartbeat { epoch: epoch.0, id: *id, commit: *commit })
        }
        Message::HeartbeatAck { epoch, id, space, state } => Body::HeartbeatAck(v1::HeartbeatAck {
            epoch: epoch.0,
            id: *id,
            space: space_message(*space).into(),
            hashes: state.hashes.iter().map(integrity::hash_message).collect(),
            damaged: state.damaged,
        }),
        Message::Quarantine { epoch, fault } => {
            Body::Quarantine(integrity::quarantine_message(*epoch, *fault))
        }
        Message::Handoff { epoch, target, last } => Body::Handoff(v1::Handoff {
            epoch: epoch.0,
            target: target.0,
            last: Some(fields::zxid_message(*last)),
        }),
        Message::Alive { write_latency } => Body::Alive(v1::Alive { storage_us: *write_latency }),
        Message::Snapshot(part) => Body::Snapshot(part.clone()),
        Message::Relay(payload) => Body::Relay(payload.clone()),
    }
}

/// The message that the wire's form says.
fn message(body: Body) -> Result<Message, DecodeError> {
    Ok(match body {
        Body::Hello(body) => Message::Hello(hello(body)?),
        Body::Prepare(body) => Message::Prepare(fields::genesis(body.genesis)?),
        Body::Prepared(body) => Message::Prepared(fields::ensemble(&body.ensemble, body.history)?),
        Body::Seal(body) => Message::Seal(fields::ensemble(&body.ensemble, body.history)?),
        Body::Formed(body) => Message::Formed(fields::genesis(body.genesis)?),
        Body::Cepoch(body) => Message::FollowerEpoch {
            accepted: fields::epoch(body.accepted_epoch, "accepted epoch")?,
            configuration: fields::zxid(body.configuration, "configuration")?,
        },
        Body::NewEpoch(body) => Message::NewEpoch(fields::leadership(body.epoch)?),
        Body::AckEpoch(body) => ack_epoch(body)?,
        Body::RefuseEpoch(body) => Message::RefuseEpoch {
            accepted: fields::epoch(body.accepted_epoch, "accepted epoch")?,
            leader: fields::optional_node(body.accepted_leader),
        },
        Body::Refuse(body) => Message::Refuse(reason(body.reason())?),
        Body::Duplicate(body) => Message::Duplicate(fields::addresses(body.addresses)?),
        Body::Diff(body) => {
            let (epoch, base) = epoch_and_zxid(body, "base")?;
            Message::Diff { epoch, base }
        }
        Body::Propose(body) => propose(body)?,
        Body::Progress(body) => {
            let (epoch, last) = epoch_and_zxid(body, "last zxid")?;
            Message::Progress { epoch, last }
        }
        Body::NewLeader(body) => {
            let (epoch, last) = epoch_and_zxid(body, "last zxid")?;
            Message::NewLeader { epoch, last }
        }
        Body::AckNewLeader(body) => {
            let (epoch, last) = epoch_and_zxid(body, "last zxid")?;
            Message::AckNewLeader { epoch, last }
        }
        Body::UpToDate(body) => {
            let (epoch, commit) = epoch_and_commit(body)?;
            Message::UpToDate { epoch, commit }
        }
        Body::Ack(body) => {
            let (epoch, last) = epoch_and_zxid(body, "last zxid")?;
            Message::Ack { epoch, last }
        }
        Body::Commit(body) => {
            let (epoch, commit) = epoch_and_commit(body)?;
            Message::Commit { epoch, commit }
        }
        Body::Heartbeat(body) => Message::Heartbeat {
            epoch: fields::leadership(body.epoch)?,
            id: fields::number(body.id, "heartbeat's id")?,
            commit: fields::number(body.commit, "commit index")?,
        },
        Body::HeartbeatAck(body) => Message::HeartbeatAck {
            epoch: fields::leadership(body.epoch)?,
            space: space(body.space)?,
            id: fields::number(body.id, "heartbeat's id")?,
            state: integrity::report(&body.hashes, body.damaged)?,
        },
        Body::Quarantine(body) => integrity::quarantine(&body)?,
        Body::Handoff(body) => {
            let epoch = fields::leadership(body.epoch)?;
            let target = fields::node(body.target, "target")?;
            Message::Handoff { epoch, target, last: fields::zxid_within(body.last, epoch, "last zxid")? }
        }
        Body::Alive(body) => {
            Message::Alive { write_latency: fields::number(body.storage_us, "storage's time")? }
        }
        Body::Snapshot(part) => Message::Snapshot(part),
        Body::Relay(payload) => Message::Relay(payload),
    })
}

fn hello_message(hello: &Hello) -> v1::PeerHello {
    let (ensemble, history) = fields::ensemble_fields(hello.ensemble);
    v1::PeerHello {
        version: PEER_VERSION,
        node: hello.node.0,
        incarnation: fields::id_bytes(hello.incarnation.0),
        boot: hello.boot,
        meant: hello.expected.map_or(0, |expected| expected.0),
        ensemble,
        history,
        addresses: Some(fields::addresses_message(&hello.addresses)),
        voters: fields::voter_messages(&hello.voters),
        configuration: Some(fields::zxid_message(hello.configuration)),
        level_min: hello.levels.min,
        level_max: hello.levels.max,
        level: hello.level.unwrap_or_default(),
    }
}

fn hello(body: v1::PeerHello) -> Result<Hello, DecodeError> {
    // First, since another version may mean something else by all the rest.
    if body.version != PEER_VERSION {
        return Err(DecodeError::Version(body.version));
    }
    let ensemble = fields::optional_ensemble(&body.ensemble, body.history)?;
    let levels = Levels { min: body.level_min.max(FIRST_LEVEL), max: body.level_max.max(FIRST_LEVEL) };
    if levels.min > levels.max {
        return Err(invalid("levels", "do not ascend"));
    }
    Ok(Hello {
        node: fields::node(body.node, "sender")?,
        incarnation: fields::incarnation(&body.incarnation)?,
        boot: fields::number(body.boot, "boot")?,
        expected: fields::optional_node(body.meant),
        ensemble,
        addresses: fields::addresses(body.addresses)?,
        voters: fields::voters(body.voters)?,
        configuration: fields::zxid(body.configuration, "configuration")?,
        levels,
        level: ensemble.map(|_| body.level.max(FIRST_LEVEL)),
    })
}

/// Decodes a follower's description of its log: boundaries ascend from the log's base, in epoch and in counter, and the
/// last one is the last entry; no epoch is above the promised one (rule 10).
fn ack_epoch(body: v1::AckEpoch) -> Result<Message, DecodeError> {
    let epoch = fields::leadership(body.epoch)?;
    let current = fields::epoch(body.current_epoch, "current epoch")?;
    if current > epoch {
        return Err(invalid("current epoch", "is above the promised one"));
    }
    let last = fields::zxid_within(body.last, epoch, "last zxid")?;
    let oldest = fields::zxid(body.oldest, "base of the log")?;
    if body.boundaries.len() > BOUNDARIES_MAX {
        return Err(invalid("boundaries", "are too many"));
    }
    let mut boundaries: Vec<Zxid> = Vec::with_capacity(body.boundaries.len());
    let mut before = oldest;
    for boundary in body.boundaries {
        let boundary = fields::zxid(Some(boundary), "boundary")?;
        // The epoch of the base may have entries above it.
        let epoch_ascends =
            boundary.epoch > before.epoch || (boundaries.is_empty() && boundary.epoch == before.epoch);
        if !epoch_ascends || boundary.counter <= before.counter {
            return Err(invalid("boundaries", "do not ascend"));
        }
        before = boundary;
        boundaries.push(boundary);
    }
    if before != last {
        return Err(invalid("last zxid", "is not the last boundary"));
    }
    Ok(Message::AckEpoch { epoch, current, last, oldest, boundaries })
}

/// Decodes log entries: at least one, each directly after the one before, the first after `previous`, none of
/// a later epoch than the leadership.
fn propose(body: v1::Propose) -> Result<Message, DecodeError> {
    let epoch = fields::leadership(body.epoch)?;
    let previous = fields::zxid_within(body.previous, epoch, "previous zxid")?;
    let commit = fields::number(body.commit, "commit index")?;
    if body.entries.is_empty() {
        return Err(invalid("entries", "are missing"));
    }
    if body.entries.len() > ENTRIES_MAX {
        return Err(invalid("entries", "are too many"));
    }
    let mut entries = Vec::with_capacity(body.entries.len());
    let mut before = previous;
    for entry in body.entries {
        let zxid = fields::zxid(entry.zxid, "entry's zxid")?;
        if !follows(zxid, before) {
            return Err(invalid("entry's zxid", "does not follow the one before"));
        }
        if zxid.epoch > epoch {
            return Err(invalid("entry's zxid", "is of a later epoch"));
        }
        let length = entry.payload.len();
        if length > PAYLOAD_MAX {
            return Err(TooLarge { length, max: PAYLOAD_MAX }.into());
        }
        let kind = fields::kind(entry.kind, entry.level)?;
        let entry = LogEntry { zxid, kind, level: entry.level, payload: entry.payload };
        fields::check_entry(&entry)?;
        entries.push(entry);
        before = zxid;
    }
    Ok(Message::Propose { epoch, previous, entries, commit })
}

fn entry_message(entry: &LogEntry) -> v1::LogEntry {
    v1::LogEntry {
        zxid: Some(fields::zxid_message(entry.zxid)),
        kind: fields::kind_number(entry.kind),
        level: entry.level,
        payload: entry.payload.clone(),
    }
}

fn zxid_message(epoch: Epoch, zxid: Zxid) -> v1::ZxidMessage {
    v1::ZxidMessage { epoch: epoch.0, zxid: Some(fields::zxid_message(zxid)) }
}

fn epoch_and_zxid(body: v1::ZxidMessage, field: &'static str) -> Result<(Epoch, Zxid), DecodeError> {
    let epoch = fields::leadership(body.epoch)?;
    Ok((epoch, fields::zxid_within(body.zxid, epoch, field)?))
}

fn epoch_and_commit(body: v1::CommitMessage) -> Result<(Epoch, u64), DecodeError> {
    Ok((fields::leadership(body.epoch)?, fields::number(body.commit, "commit index")?))
}

fn space_message(space: DiskSpace) -> v1::heartbeat_ack::DiskSpace {
    use v1::heartbeat_ack::DiskSpace as Wire;
    match space {
        DiskSpace::Ample => Wire::Ample,
        DiskSpace::Low => Wire::Low,
        DiskSpace::Critical => Wire::Critical,
    }
}

fn space(space: i32) -> Result<DiskSpace, DecodeError> {
    use v1::heartbeat_ack::DiskSpace as Wire;
    match Wire::try_from(space) {
        Ok(Wire::Ample) => Ok(DiskSpace::Ample),
        Ok(Wire::Low) => Ok(DiskSpace::Low),
        Ok(Wire::Critical) => Ok(DiskSpace::Critical),
        Err(_) => Err(invalid("disk space", "is unknown")),
    }
}

fn reason_message(reason: Reason) -> v1::refuse::Reason {
    use v1::refuse::Reason as Wire;
    match reason {
        Reason::NotLeading => Wire::NotLeading,
        Reason::SnapshotNeeded => Wire::SnapshotNeeded,
        Reason::NoCommonPoint => Wire::NoCommonPoint,
        Reason::WrongNode => Wire::WrongNode,
        Reason::OtherEnsemble => Wire::OtherEnsemble,
        Reason::NotAMember => Wire::NotAMember,
        Reason::Configuration => Wire::Configuration,
        Reason::Version => Wire::Version,
        Reason::TooSoon => Wire::TooSoon,
        Reason::NeverFounds => Wire::NeverFounds,
        Reason::FoundsWithAll => Wire::FoundsWithAll,
        Reason::Level => Wire::Level,
    }
}

fn reason(reason: v1::refuse::Reason) -> Result<Reason, DecodeError> {
    use v1::refuse::Reason as Wire;
    Ok(match reason {
        Wire::Unspecified => return Err(invalid("reason", "is unknown")),
        Wire::NotLeading => Reason::NotLeading,
        Wire::SnapshotNeeded => Reason::SnapshotNeeded,
        Wire::NoCommonPoint => Reason::NoCommonPoint,
        Wire::WrongNode => Reason::WrongNode,
        Wire::OtherEnsemble => Reason::OtherEnsemble,
        Wire::NotAMember => Reason::NotAMember,
        Wire::Configuration => Reason::Configuration,
        Wire::Version => Reason::Version,
        Wire::TooSoon => Reason::TooSoon,
        Wire::NeverFounds => Reason::NeverFounds,
        Wire::FoundsWithAll => Reason::FoundsWithAll,
        Wire::Level => Reason::Level,
    })
}
