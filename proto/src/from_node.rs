//! What a client receives from a node, as untrusted input: frames, limits and texts.

use bytes::BytesMut;
use prost::Message;

use crate::{
    check, frame, limits,
    v1::{Limits, Pong, ServerFrame, server_frame},
};

/// The largest frame that is accepted before the node has sent its limits, in bytes.
pub const WELCOME_MAX: usize = 64 << 10;
/// The largest frame that is accepted, whatever limit the node has sent, in bytes.
pub const FRAME_MAX: usize = 64 << 20;
/// The longest text of a node that errors repeat, in characters.
const TEXT_MAX: usize = 300;

/// Fills limits that the node has not sent with the defaults.
pub fn with_defaults(mut limits: Limits) -> Limits {
    let defaults = limits::advertised(limits.session_timeout_ms);
    for (limit, default) in [
        (&mut limits.key_max, defaults.key_max),
        (&mut limits.value_max, defaults.value_max),
        (&mut limits.frame_max, defaults.frame_max),
        (&mut limits.requests_max, defaults.requests_max),
        (&mut limits.window_max, defaults.window_max),
    ] {
        if *limit == 0 {
            *limit = default;
        }
    }
    limits
}

/// Takes the first frame out of the received bytes, if it is complete. A frame of an unknown kind, as a newer node may
/// send, is returned as a Pong, which shows that the node is alive and nothing else.
///
/// # Errors
/// A message: the frame is too large, has too many elements, or is malformed. The stream cannot be read on.
pub fn next_frame(buffer: &mut BytesMut, frame_max: usize) -> Result<Option<server_frame::Body>, String> {
    let Some(bytes) = frame::decode_frame(buffer, frame_max).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    check::check_elements::<ServerFrame>(&bytes, limits::CLIENT_ELEMENTS_MAX)
        .map_err(|error| error.to_string())?;
    // From a slice, so that a small value does not keep the whole read buffer alive.
    let frame = ServerFrame::decode(&*bytes).map_err(|error| format!("malformed message: {error}"))?;
    Ok(Some(frame.body.unwrap_or(server_frame::Body::Pong(Pong::default()))))
}

/// The kind of a server that is not a node, by the first bytes of its answer to a Hello.
pub fn other_protocol(first: &[u8]) -> Option<&'static str> {
    let protocols: [(&[u8], &str); 4] = [
        (b"HTTP", "an HTTP server answers there"),
        (b"<", "an HTTP server answers there"),
        (b"SSH-", "an SSH server answers there"),
        (&[0x15, 3], "a TLS server answers there"),
    ];
    protocols.into_iter().find(|(start, _)| first.starts_with(start)).map(|(_, name)| name)
}

/// The text of a node, shortened, in one line.
pub fn one_line(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
