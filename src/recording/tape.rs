//! Frames in memory: the newest, bounded by age and by bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Frame, FrameKind, FrameMeta, Frames, ReadError};

/// How much a tape keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TapeLimits {
    /// Seconds that are kept at least, as far as the bytes allow.
    pub age_s: f64,
    /// Bytes of payload that are kept at most; of the newest segment more, if it has more.
    pub bytes: usize,
}

impl Default for TapeLimits {
    /// Ten minutes, 64 MiB.
    fn default() -> Self {
        Self {
            age_s: 600.0,
            bytes: 64 << 20,
        }
    }
}

/// The newest frames. What is dropped is the oldest whole segment: a key frame and its deltas. A clone shares all frames.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    limits: TapeLimits,
    /// Each begins with a key frame, which its deltas follow without holes; none is empty.
    segments: VecDeque<Segment>,
}

#[derive(Debug, Clone)]
struct Segment {
    frames: Arc<Vec<Frame>>,
    bytes: usize,
}

impl Tape {
    /// An empty tape.
    pub fn new(limits: TapeLimits) -> Self {
        Self {
            limits,
            segments: VecDeque::new(),
        }
    }

    /// Adds the newest frame; false for a delta that does not follow the last one, which is left out.
    pub fn push(&mut self, frame: Frame) -> bool {
        let bytes = frame.payload.len();
        match frame.meta.kind {
            FrameKind::Key => self.segments.push_back(Segment {
                frames: Arc::new(vec![frame]),
                bytes,
            }),
            FrameKind::Delta => {
                let Some(last) = self.segments.back_mut() else {
                    return false;
                };
                if u32::try_from(last.frames.len()) != Ok(frame.meta.ordinal) {
                    return false;
                }
                Arc::make_mut(&mut last.frames).push(frame);
                last.bytes += bytes;
            }
        }
        self.drop_oldest();
        true
    }

    /// Bytes of all payloads.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn drop_oldest(&mut self) {
        let Some(newest) = self.count().checked_sub(1).and_then(|last| self.meta(last)) else {
            return;
        };
        // The second has to reach back far enough for the first to go.
        while let Some(second) = self.segments.get(1).and_then(|s| s.frames.first()) {
            let age_s = newest.at.seconds_since(second.meta.at);
            let is_old = age_s >= self.limits.age_s;
            if !is_old && self.bytes() <= self.limits.bytes {
                return;
            }
            self.segments.pop_front();
        }
    }

    fn get(&self, mut i: usize) -> Option<&Frame> {
        for segment in &self.segments {
            match segment.frames.get(i) {
                Some(frame) => return Some(frame),
                None => i -= segment.frames.len(),
            }
        }
        None
    }
}

impl Frames for Tape {
    fn count(&self) -> usize {
        self.segments.iter().map(|s| s.frames.len()).sum()
    }

    fn meta(&self, i: usize) -> Option<FrameMeta> {
        self.get(i).map(|frame| frame.meta)
    }

    fn frame(&self, i: usize) -> Result<Frame, ReadError> {
        self.get(i).cloned().ok_or(ReadError::NoSuchFrame)
    }
}
