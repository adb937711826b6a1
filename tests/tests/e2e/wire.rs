//! A client that sends the exact frames of a test, also those that the real one would not.

use std::time::Duration;

use bytes::BytesMut;
use gometa_proto::{
    frame, limits,
    v1::{
        self, ClientFrame, Request, Response, ServerFrame, WriteContext, client_frame, request::Operation,
        response, server_frame,
    },
};
use gometa_tests::wait::PATIENCE;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The deadline of requests in milliseconds, unless a test sets another one.
const DEADLINE_MS: u32 = 20_000;

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    last_id: u64,
    /// The deadline of the requests that follow, in milliseconds.
    pub(crate) deadline_ms: u32,
}

impl Wire {
    /// Opens a connection, and sends nothing.
    pub(crate) async fn silent(address: &str) -> Wire {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).unwrap();
        Wire { stream, buffer: BytesMut::new(), last_id: 0, deadline_ms: DEADLINE_MS }
    }

    /// Opens a connection, sends a Hello, and waits for the Welcome.
    pub(crate) async fn connect(address: &str) -> Wire {
        let mut wire = Wire::silent(address).await;
        let hello = v1::Hello {
            protocol_min: limits::PROTOCOL_VERSION,
            protocol_max: limits::PROTOCOL_VERSION,
            client: "gometa-tests".to_owned(),
            version: String::new(),
            ensemble: None,
        };
        wire.say(client_frame::Body::Hello(hello)).await;
        match wire.hear().await {
            Some(server_frame::Body::Welcome(_)) => wire,
            other => panic!("{address} answers Hello with {other:?}"),
        }
    }

    /// Sends bytes. The node may have closed the connection.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(timeout(PATIENCE, self.stream.write_all(bytes)).await);
    }

    /// Sends a frame.
    pub(crate) async fn say(&mut self, body: client_frame::Body) {
        let mut bytes = BytesMut::new();
        frame::encode(&ClientFrame { body: Some(body) }, limits::CLIENT_FRAME_MAX, &mut bytes).unwrap();
        self.send(&bytes).await;
    }

    /// Returns the next frame; `None` at the end of the stream.
    pub(crate) async fn hear(&mut self) -> Option<server_frame::Body> {
        self.hear_within(PATIENCE).await
    }

    /// The same with another timeout.
    pub(crate) async fn hear_within(&mut self, patience: Duration) -> Option<server_frame::Body> {
        let hearing = async {
            loop {
                if let Some(bytes) = frame::decode_frame(&mut self.buffer, limits::CLIENT_FRAME_MAX).unwrap()
                {
                    return ServerFrame::decode(bytes).unwrap().body;
                }
                if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                    return None;
                }
            }
        };
        let heard = timeout(patience, hearing).await;
        heard.unwrap_or_else(|_| panic!("the node says nothing within {patience:?}"))
    }

    /// Sends a request without waiting, and returns its id.
    pub(crate) async fn ask(&mut self, write: Option<WriteContext>, operation: Option<Operation>) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let deadline_ms = self.deadline_ms;
        let request = Request { id, deadline_ms, write, operation, ..Request::default() };
        self.say(client_frame::Body::Request(request)).await;
        id
    }

    /// Waits for the answer to a request; others are skipped.
    pub(crate) async fn answer(&mut self, id: u64) -> response::Result {
        loop {
            match self.hear().await {
                Some(server_frame::Body::Response(Response { id: of, result, .. })) if of == id => {
                    return result.unwrap_or_else(|| panic!("the answer to request {id} is empty"));
                }
                Some(server_frame::Body::Error(error)) => panic!("the node ends the connection: {error:?}"),
                Some(_) => {}
                None => panic!("the connection ends before the answer to request {id}"),
            }
        }
    }

    /// Opens a session.
    pub(crate) async fn open_session(&mut self, nonce: [u8; 16]) -> u64 {
        let open = v1::OpenSession { nonce: nonce.to_vec().into() };
        let id = self.ask(None, Some(Operation::OpenSession(open))).await;
        match self.answer(id).await {
            response::Result::SessionOpened(opened) => opened.session,
            other => panic!("no session: {other:?}"),
        }
    }

    /// Sends a set without waiting, and returns its id.
    pub(crate) async fn ask_to_set(&mut self, context: WriteContext, key: &str, value: &str) -> u64 {
        let set = v1::Set { key: key.to_owned().into(), value: value.to_owned().into() };
        self.ask(Some(context), Some(Operation::Set(set))).await
    }

    /// Sets a key; failures with the outcome `NotApplied` are retried.
    pub(crate) async fn set(&mut self, context: WriteContext, key: &str, value: &str) -> v1::Written {
        loop {
            let id = self.ask_to_set(context, key, value).await;
            match self.answer(id).await {
                response::Result::Written(written) => return written,
                response::Result::Error(error) if error.error_kind().retryable() => {}
                other => panic!("{key} is not set: {other:?}"),
            }
        }
    }

    /// Returns the error with which the node closes the connection, `None` if there is none.
    pub(crate) async fn last_error(&mut self) -> Option<v1::Error> {
        let mut said = None;
        while let Some(body) = self.hear().await {
            if let server_frame::Body::Error(error) = body {
                said = Some(error);
            }
        }
        said
    }
}
