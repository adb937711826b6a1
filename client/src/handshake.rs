//! The handshake of a connection: Hello and Welcome, and the reasons why there is no Welcome.

use std::{collections::HashSet, fmt, io, sync::Arc};

use bytes::BytesMut;
use gometa_proto::{
    ErrorKind, frame,
    from_node::{WELCOME_MAX, next_frame, one_line, other_protocol},
    limits,
    v1::{ClientFrame, EnsembleRef, Hello, Welcome, client_frame, server_frame},
};

use crate::{
    history::{self, Refusal},
    transport::{self, Receiver, Sender},
};

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    /// The node's address, empty for a failure of the client itself.
    pub(crate) address: Arc<str>,
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// Whether dialing the same address again will fail in the same way.
    pub(crate) permanent: bool,
}

impl DialError {
    /// An error of the client itself.
    pub(crate) fn of_client(kind: ErrorKind, message: &str) -> Self {
        Self { address: "".into(), kind, message: message.to_owned(), permanent: true }
    }

    /// The error for a node of another ensemble, which is permanent, or of an older history.
    pub(crate) fn unsuitable(address: &Arc<str>, (kind, message): Refusal) -> Self {
        Self { address: Arc::clone(address), kind, message, permanent: is_permanent(kind) }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.address, self.message)
    }
}

/// A stream after the handshake.
pub(crate) struct Handshake {
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    /// Bytes received behind the Welcome.
    pub(crate) buffer: BytesMut,
    pub(crate) welcome: Welcome,
}

/// Connects to `address` and waits for a Welcome of the ensemble that the client knows, of the known history or a newer one.
///
/// A node that refuses because the history has changed does not say what it is now. It is asked by a Hello that names no
/// ensemble; the answer counts only if its history is newer.
pub(crate) async fn handshake(
    address: &Arc<str>,
    name: &str,
    known: Option<EnsembleRef>,
) -> Result<Handshake, DialError> {
    let answered = greet(address, name, known.clone()).await;
    let changed = matches!(&answered, Err(error) if error.kind == ErrorKind::HistoryChanged);
    let Some(known) = known else { return answered };
    let answered = if changed { greet(address, name, None).await? } else { answered? };
    let found = answered.welcome.ensemble.as_ref();
    history::check(Some(&known), found).map_err(|refusal| DialError::unsuitable(address, refusal))?;
    if changed && found.is_none_or(|found| found.history <= known.history) {
        let message = format!(
            "refused: the history of the ensemble has changed, but that of the node is not above {}",
            known.history
        );
        return Err(DialError::unsuitable(address, (ErrorKind::Unavailable, message)));
    }
    Ok(answered)
}

/// Connects to `address`, sends a Hello with this ensemble and waits for the Welcome.
async fn greet(
    address: &Arc<str>,
    name: &str,
    ensemble: Option<EnsembleRef>,
) -> Result<Handshake, DialError> {
    let error =
        |kind, message, permanent| DialError { address: Arc::clone(address), kind, message, permanent };
    let io = |cause: io::Error| error(ErrorKind::Unavailable, transport::reason(&cause), false);
    let (mut receiver, mut sender) = transport::connect(address).await.map_err(io)?;
    let mut buffer = BytesMut::with_capacity(1024);
    let hello = Hello {
        protocol_min: limits::PROTOCOL_VERSION,
        protocol_max: limits::PROTOCOL_VERSION,
        client: name.chars().take(limits::NAME_MAX / 4).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ensemble,
    };
    let hello = ClientFrame { body: Some(client_frame::Body::Hello(hello)) };
    frame::encode(&hello, WELCOME_MAX, &mut buffer)
        .map_err(|cause| error(ErrorKind::Internal, cause.to_string(), true))?;
    sender.send(&buffer).await.map_err(io)?;
    buffer.clear();

    let unavailable = |message: String| error(ErrorKind::Unavailable, message, false);
    let malformed = |what: &str| unavailable(format!("does not speak gometa's client protocol: {what}"));
    let welcome = loop {
        let first: [u8; 4] = buffer.first_chunk().copied().unwrap_or_default();
        let frame = next_frame(&mut buffer, WELCOME_MAX);
        match frame.map_err(|cause| malformed(other_protocol(&first).unwrap_or(&cause)))? {
            Some(server_frame::Body::Welcome(welcome)) => break welcome,
            Some(server_frame::Body::Error(refusal)) => {
                let kind = refusal.error_kind();
                let message = format!("refused: {}", one_line(&refusal.to_string()));
                return Err(error(kind, message, is_permanent(kind)));
            }
            Some(_) => return Err(malformed("the first frame is not a Welcome")),
            None => {
                if receiver.receive(&mut buffer).await.map_err(io)? == 0 {
                    return Err(unavailable("closed the connection before its welcome".to_owned()));
                }
            }
        }
    };
    if welcome.protocol != limits::PROTOCOL_VERSION {
        let (found, ours) = (welcome.protocol, limits::PROTOCOL_VERSION);
        let message = format!("speaks version {found} of the protocol, not {ours}");
        return Err(error(ErrorKind::Unsupported, message, true));
    }
    Ok(Handshake { receiver, sender, buffer, welcome })
}

/// Whether the next dial will be refused for the same reason.
fn is_permanent(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unauthenticated
            | ErrorKind::PermissionDenied
            | ErrorKind::Unsupported
            | ErrorKind::InvalidArgument
    )
}

/// The failed dials of one run of the dialing task.
#[derive(Default)]
pub(crate) struct Failures {
    permanent: Option<DialError>,
    addresses: HashSet<Arc<str>>,
}

impl Failures {
    pub(crate) fn record(&mut self, error: DialError) {
        self.addresses.insert(Arc::clone(&error.address));
        if error.permanent {
            self.permanent = Some(error);
        }
    }

    /// The latest permanent error, once every one of these addresses has failed.
    pub(crate) fn take_permanent(&mut self, candidates: &[Arc<str>]) -> Option<DialError> {
        let all_failed = candidates.iter().all(|address| self.addresses.contains(address));
        let error = self.permanent.take_if(|_| all_failed)?;
        self.addresses.clear();
        Some(error)
    }
}
