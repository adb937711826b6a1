//! What a node says, before it is believed: frames and texts of foreign bytes.
//!
//! Pure, and with nothing else of the crate in it, so that `fuzz/` can include it.

use bytes::BytesMut;
use gometa_proto::{
    check, frame, limits,
    v1::{Limits, Pong, ServerFrame, server_frame},
};
use prost::Message;

/// Bytes of the longest frame that is believed before the node has said its limits.
pub(crate) const WELCOME_MAX: usize = 64 << 10;
/// Bytes of the longest frame that is believed whatever a node says its limit is.
pub(crate) const FRAME_MAX: usize = 64 << 20;
/// Longest text of a node's that errors repeat, in characters.
const SHOWN_MAX: usize = 300;

/// Our own limits where the node names none.
pub(crate) fn sane(mut limits: Limits) -> Limits {
    let usual = limits::advertised(limits.session_timeout_ms);
    for (limit, usual) in [
        (&mut limits.key_max, usual.key_max),
        (&mut limits.value_max, usual.value_max),
        (&mut limits.frame_max, usual.frame_max),
        (&mut limits.requests_max, usual.requests_max),
        (&mut limits.window_max, usual.window_max),
    ] {
        if *limit == 0 {
            *limit = usual;
        }
    }
    limits
}

/// One frame off the front of what has arrived, if it is all there. A frame of a kind that is not known here, as a
/// newer node may send, comes as a Pong: a sign of life and nothing else.
pub(crate) fn take_frame(
    buffer: &mut BytesMut,
    frame_max: usize,
) -> Result<Option<server_frame::Body>, String> {
    let Some(bytes) = frame::decode_frame(buffer, frame_max).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    check::check_elements::<ServerFrame>(&bytes, limits::CLIENT_ELEMENTS_MAX)
        .map_err(|error| error.to_string())?;
    // From a slice, so that a small value does not keep the whole read buffer alive.
    let frame = ServerFrame::decode(&*bytes).map_err(|error| format!("malformed message: {error}"))?;
    Ok(Some(frame.body.unwrap_or(server_frame::Body::Pong(Pong::default()))))
}

/// What else may speak like this, where it is no node: the first bytes of its answer to a Hello tell.
pub(crate) fn stranger(first: &[u8]) -> Option<&'static str> {
    let speaks: [(&[u8], &str); 4] = [
        (b"HTTP", "an HTTP server answers there"),
        (b"<", "an HTTP server answers there"),
        (b"SSH-", "an SSH server answers there"),
        (&[0x15, 3], "a TLS server answers there"),
    ];
    speaks.into_iter().find(|(start, _)| first.starts_with(start)).map(|(_, who)| who)
}

/// A node's text, short and in one line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
