//! What a server that may not be a node sends a client.

use bytes::{BufMut, BytesMut};
use gometa_proto::{
    frame,
    from_node::{FRAME_MAX, WELCOME_MAX, next_frame, one_line, other_protocol, with_defaults},
    v1::{Response, ServerFrame, server_frame::Body},
};

/// The longest text of a node's that a client repeats, in characters.
const SHOWN_MAX: usize = 300;

/// A hostile server. The first byte says how its stream is cut into reads; the rest is the stream, and also, by itself,
/// one frame.
///
/// The cuts make no difference; no limit that a node names is zero afterwards, or believed beyond the client's own;
/// no text of a node's is repeated at length or over several lines; what was decoded can be encoded again, and does not
/// come from what speaks like an HTTP server or its like.
pub fn server_frame(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let mut framed = BytesMut::new();
    framed.put_u32(u32::try_from(stream.len()).unwrap_or(u32::MAX));
    framed.put_slice(stream);
    let whole = decoded(stream, stream.len().max(1));
    assert_eq!(decoded(stream, usize::from(cut).max(1)), whole);
    assert!(other_protocol(stream).is_none() || whole.is_empty(), "a node was taken for something else");
    for body in whole.into_iter().chain(decoded(&framed, framed.len())) {
        judge(&body);
        let encoded = ServerFrame { body: Some(body.clone()) };
        let mut buffer = BytesMut::new();
        frame::encode(&encoded, FRAME_MAX, &mut buffer).expect("what came in a frame goes into one");
        assert_eq!(next_frame(&mut buffer, FRAME_MAX), Ok(Some(body)));
    }
}

/// The frames of a stream that arrives in reads of this many bytes, up to the first refused, as a client reads them:
/// the first within the limit of a welcome, later ones within what that has encoded.
fn decoded(mut stream: &[u8], read: usize) -> Vec<Body> {
    let (mut bodies, mut buffer, mut max) = (Vec::new(), BytesMut::new(), WELCOME_MAX);
    loop {
        loop {
            match next_frame(&mut buffer, max) {
                Ok(Some(body)) => {
                    if let Body::Welcome(welcome) = &body {
                        let limits = with_defaults(welcome.limits.unwrap_or_default());
                        max = (limits.frame_max as usize).clamp(WELCOME_MAX, FRAME_MAX);
                    }
                    bodies.push(body);
                }
                Ok(None) => break,
                Err(why) => {
                    assert!(!why.is_empty());
                    return bodies;
                }
            }
        }
        if stream.is_empty() {
            return bodies;
        }
        let (now, later) = stream.split_at(read.min(stream.len()));
        buffer.extend_from_slice(now);
        stream = later;
    }
}

fn judge(body: &Body) {
    match body {
        Body::Welcome(welcome) => {
            let limits = with_defaults(welcome.limits.unwrap_or_default());
            let named =
                [limits.key_max, limits.value_max, limits.frame_max, limits.requests_max, limits.window_max];
            assert!(named.iter().all(|limit| *limit > 0));
        }
        Body::Error(error) => repeat(error),
        Body::Response(Response {
            result: Some(gometa_proto::v1::response::Result::Error(error)), ..
        }) => {
            repeat(error);
        }
        Body::Response(_) | Body::Pong(_) | Body::Ping(_) | Body::View(_) => {}
    }
}

fn repeat(error: &gometa_proto::v1::Error) {
    // Every kind has its words, also those that this build does not know.
    assert!(!error.error_kind().to_string().is_empty());
    let text = one_line(&error.to_string());
    assert!(text.chars().count() <= SHOWN_MAX && !text.chars().any(char::is_control));
}
