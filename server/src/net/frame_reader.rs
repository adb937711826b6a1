//! Cuts the frames out of a connection's bytes, for both TCP ports.
//!
//! No memory is taken for a frame that is only announced: small frames are collected as they arrive, and a larger one
//! reserves its length from the [`FrameBudget`] first. An incomplete frame has a timeout.

use std::{cell::RefCell, io};

use bytes::{Bytes, BytesMut};
use gometa_proto::frame::{self, TooLarge};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout_at},
};

use crate::net::{
    frame_budget::{CHECK_INTERVAL, FrameBudget},
    transport::Stream,
};

/// The largest read into a buffer that is kept small, in bytes.
const SCRATCH_SIZE: usize = 8 << 10;

thread_local! {
    /// Holds the bytes of one read until their number is known.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_SIZE].into());
}

/// How the bytes of a read reach the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Buffering {
    /// Directly: this much is allocated before each read. For few connections with much traffic.
    Direct(usize),
    /// By a copy of their exact number. For many connections that are mostly idle.
    Compact,
}

/// Why no bytes came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("connection closed by the other end")]
    Closed,
    #[error("a frame takes too long to arrive")]
    FrameTimeout,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One connection's incoming bytes.
pub(crate) struct FrameReader<'a> {
    budget: &'a FrameBudget,
    buffering: Buffering,
    /// The longest frame that needs no reservation, in bytes.
    small_frame_max: usize,
    /// The received bytes that are not part of a returned frame.
    buffer: BytesMut,
    /// When the incomplete frame began to arrive, if there is one.
    frame_started: Option<Instant>,
    /// The reservation for the large frame that is being received, or was returned last.
    reservation: Option<SemaphorePermit<'a>>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(
        budget: &'a FrameBudget,
        buffering: Buffering,
        small_frame_max: usize,
    ) -> FrameReader<'a> {
        FrameReader {
            budget,
            buffering,
            small_frame_max,
            buffer: BytesMut::new(),
            frame_started: None,
            reservation: None,
        }
    }

    /// Changes the buffering of later reads.
    pub(crate) fn set_buffering(&mut self, buffering: Buffering) {
        self.buffering = buffering;
    }

    /// The number of bytes that are not part of a returned frame.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a frame has begun to arrive and is incomplete; known after [`FrameReader::release`].
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.frame_started.is_some()
    }

    /// The length that the next frame announces, once its prefix has arrived.
    pub(crate) fn announced_length(&self) -> Option<usize> {
        self.buffer.first_chunk::<{ frame::PREFIX }>().map(|prefix| u32::from_be_bytes(*prefix) as usize)
    }

    /// Returns the next frame if it is complete.
    ///
    /// # Errors
    /// A frame that announces more than `max` bytes.
    pub(crate) fn next(&mut self, max: usize) -> Result<Option<Bytes>, TooLarge> {
        if let Some(length) = self.announced_length()
            && length <= max
            && self.buffer.len() < frame::PREFIX + length
        {
            // decode_frame would allocate the announced length.
            return Ok(None);
        }
        let frame = frame::decode_frame(&mut self.buffer, max)?;
        if frame.is_some() {
            self.frame_started = None;
        }
        Ok(frame)
    }

    /// Releases the memory of the frames returned so far. To be called when [`FrameReader::next`] has returned `None`
    /// and what it returned before is accounted elsewhere.
    pub(crate) fn release(&mut self) {
        if self.reservation.is_some() && self.frame_started.is_some() {
            return;
        }
        self.reservation = None;
        if self.buffering == Buffering::Compact {
            // A few remaining bytes must not keep the memory of all frames before them.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        if !self.buffer.is_empty() {
            self.frame_started.get_or_insert_with(Instant::now);
        }
    }

    /// Waits for more bytes; before a large frame, for its reservation.
    pub(crate) async fn read(&mut self, stream: &Stream) -> Result<(), ReadError> {
        if let Some(length) = self.announced_length()
            && length > self.small_frame_max
            && self.reservation.is_none()
        {
            self.reservation = Some(self.budget.reserve(length).await);
            let mut buffer = BytesMut::with_capacity(frame::PREFIX + length);
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
            self.frame_started = Some(Instant::now());
        }
        loop {
            self.readable(stream).await?;
            match self.try_read(stream) {
                Ok(0) => return Err(ReadError::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for bytes: without a limit between frames, until the frame's timeout within one.
    async fn readable(&self, stream: &Stream) -> Result<(), ReadError> {
        let Some(started) = self.frame_started else { return Ok(stream.readable().await?) };
        loop {
            let deadline = started + self.budget.timeout(self.buffer.len(), self.reservation.is_some());
            let next_check = (Instant::now() + CHECK_INTERVAL).min(deadline);
            match timeout_at(next_check, stream.readable()).await {
                Ok(readable) => return Ok(readable?),
                Err(_) if Instant::now() >= deadline => return Err(ReadError::FrameTimeout),
                Err(_) => {}
            }
        }
    }

    fn try_read(&mut self, stream: &Stream) -> io::Result<usize> {
        match self.buffering {
            // The buffer has room for the rest of the frame.
            _ if self.reservation.is_some() => stream.try_read_buf(&mut self.buffer),
            Buffering::Direct(size) => {
                self.buffer.reserve(size);
                stream.try_read_buf(&mut self.buffer)
            }
            Buffering::Compact => SCRATCH.with_borrow_mut(|scratch| {
                let count = stream.try_read(scratch)?;
                self.buffer.extend_from_slice(&scratch[..count]);
                Ok(count)
            }),
        }
    }
}
