//! Frames: bodies, compressed as one stream from key frame to key frame.
//!
//! Each segment is one zstd frame that is flushed after each body: what was written before it is what makes the next body small.
//! On a busy machine that halves what deltas compressed by themselves would be; on a quiet one it makes no difference.
//! The payloads of a segment, one after the other, are what `zstd -dc` reads (it complains that the end is missing).

use std::fmt;
use std::io;
use std::sync::Arc;

use zstd::stream::raw::{self, CParameter, DParameter, InBuffer, Operation, OutBuffer};

use super::line::{LineDecoder, LineEncoder, MOST_BODY};
use super::{DecodeError, EncodeError, Frame, FrameKind};
use crate::snapshot::Snapshot;

/// Level of compression: more costs the live screen more than it saves.
const LEVEL: i32 = 1;
/// Bytes to look back for what is alike, as a power of two: more than one key frame of fifty processes. Both sides hold as much.
const WINDOW: u32 = 20;

/// Makes frames of snapshots, a key frame first.
pub struct Encoder {
    lines: LineEncoder,
    zstd: raw::Encoder<'static>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder that has seen nothing yet.
    ///
    /// # Errors
    /// No memory for the compressor.
    pub fn new() -> Result<Self, EncodeError> {
        let mut zstd = raw::Encoder::new(LEVEL).map_err(EncodeError::Compress)?;
        for parameter in [
            CParameter::WindowLog(WINDOW),
            CParameter::ContentSizeFlag(false),
        ] {
            zstd.set_parameter(parameter)
                .map_err(EncodeError::Compress)?;
        }
        let lines = LineEncoder::default();
        Ok(Self { lines, zstd })
    }

    /// The frame of the next snapshot. Parts that are shared with the snapshot before (the same `Arc`) cost nothing.
    ///
    /// # Errors
    /// A snapshot that is too large. The next frame is a key frame then.
    pub fn encode(&mut self, snapshot: &Arc<Snapshot>) -> Result<Frame, EncodeError> {
        let (meta, body) = self.lines.encode(snapshot)?;
        if meta.kind == FrameKind::Key {
            self.zstd.reinit().map_err(EncodeError::Compress)?;
        }
        match self.compress(&body) {
            Ok(payload) => Ok(Frame {
                meta,
                payload: payload.into(),
            }),
            Err(error) => {
                self.restart();
                Err(EncodeError::Compress(error))
            }
        }
    }

    /// Makes the next frame a key frame: the last one was lost.
    pub fn restart(&mut self) {
        self.lines.restart();
    }

    fn compress(&mut self, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(body.len() / 8 + 256);
        let mut input = InBuffer::around(body);
        loop {
            let read = input.pos() == body.len();
            let start = out.len();
            out.reserve(4096);
            let mut output = OutBuffer::around_pos(&mut out, start);
            let left = match read {
                true => self.zstd.flush(&mut output)?,
                false => self.zstd.run(&mut input, &mut output)?,
            };
            if read && left == 0 {
                return Ok(out);
            }
        }
    }
}

/// Makes snapshots of frames.
pub struct Decoder {
    lines: LineDecoder,
    zstd: raw::Decoder<'static>,
    /// Of the delta that can be decoded next; `None`: only a key frame.
    next: Option<u32>,
    body: Vec<u8>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    ///
    /// # Errors
    /// No memory for the decompressor.
    pub fn new() -> Result<Self, DecodeError> {
        let mut zstd = raw::Decoder::new().map_err(DecodeError::Decompress)?;
        zstd.set_parameter(DParameter::WindowLogMax(WINDOW))
            .map_err(DecodeError::Decompress)?;
        let lines = LineDecoder::default();
        Ok(Self {
            lines,
            zstd,
            next: None,
            body: Vec::new(),
        })
    }

    /// The snapshot of a frame: of a key frame, or of the delta that follows the frame decoded last. What has not changed is
    /// shared with the snapshot before.
    ///
    /// # Errors
    /// A delta that follows another frame (the decoder stays as it was), and a frame that is damaged or too large (only a key
    /// frame can be decoded then).
    pub fn decode(&mut self, frame: &Frame) -> Result<Arc<Snapshot>, DecodeError> {
        let ordinal = frame.meta.ordinal;
        match frame.meta.kind {
            FrameKind::Key => self.zstd.reinit().map_err(DecodeError::Decompress)?,
            FrameKind::Delta if self.next != Some(ordinal) => return Err(DecodeError::Predecessor),
            FrameKind::Delta => {}
        }
        self.next = None;
        self.decompress(&frame.payload)?;
        let snapshot = self.lines.decode(&self.body)?;
        if snapshot.at != frame.meta.at {
            return Err(DecodeError::Moment);
        }
        self.next = ordinal.checked_add(1);
        Ok(snapshot)
    }

    /// Fills the body; more than a body may have is not decompressed.
    fn decompress(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        self.body.clear();
        self.body.shrink_to(1 << 20);
        let mut input = InBuffer::around(payload);
        loop {
            let start = self.body.len();
            if start > MOST_BODY {
                return Err(DecodeError::TooLarge);
            }
            self.body.reserve(start.clamp(32 << 10, 4 << 20));
            let room = self.body.capacity() - start;
            let mut output = OutBuffer::around_pos(&mut self.body, start);
            let before = input.pos();
            self.zstd
                .run(&mut input, &mut output)
                .map_err(DecodeError::Decompress)?;
            let made = self.body.len() - start;
            let all_read = input.pos() == payload.len();
            if all_read && made < room || input.pos() == before && made == 0 {
                return if all_read {
                    Ok(())
                } else {
                    Err(DecodeError::Trailing)
                };
            }
        }
    }
}
