//! Bodies: each snapshot as one line of JSON, whole or as what has changed since the one before.
//!
//! ```text
//!  {"key": Snapshot}                              all of it
//!  {"after": 160000000000, "delta": {…}}          what has changed since the snapshot of that moment
//! ```
//!
//! They are what `steth stream` prints, and what a recording holds compressed.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::change::{Between, Onto};
use super::{DecodeError, EncodeError, FrameKind, FrameMeta};
use crate::snapshot::{Moment, Snapshot};

/// Bytes that one body may have. A key frame of a thousand processes with full logs has a few dozen megabytes.
pub const MOST_BODY: usize = 64 << 20;
/// Bytes that all bodies of a segment may have: more than what a reader has to hold of it.
pub const MOST_SEGMENT: usize = 256 << 20;

/// A key frame comes after so many deltas, or so much time: whoever jumps into a recording has to read that much.
const KEY_EVERY: u32 = 600;
const KEY_EVERY_S: f64 = 120.0;

/// Makes bodies of snapshots.
#[derive(Debug, Default)]
pub struct LineEncoder {
    before: Option<Before>,
}

/// The snapshot that the next one is compared with.
#[derive(Debug)]
struct Before {
    snapshot: Arc<Snapshot>,
    ordinal: u32,
    key_at: Moment,
    /// Bytes of the segment so far.
    bytes: usize,
}

impl LineEncoder {
    /// The body of the next snapshot, one line with its line feed, and what it is.
    ///
    /// # Errors
    /// A snapshot that is too large; the next body is a key frame then.
    pub fn encode(
        &mut self,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(FrameMeta, Vec<u8>), EncodeError> {
        let before = self
            .before
            .take()
            .filter(|before| !before.is_over(snapshot.at));
        let body = match &before {
            Some(before) => line(&Delta {
                old: &before.snapshot,
                new: snapshot,
            }),
            None => line(&Key { key: snapshot }),
        }?;
        let meta = FrameMeta {
            kind: before.as_ref().map_or(FrameKind::Key, |_| FrameKind::Delta),
            ordinal: before.as_ref().map_or(0, |before| before.ordinal + 1),
            at: snapshot.at,
            wall_ms: snapshot.wall_ms,
        };
        self.before = Some(Before {
            snapshot: snapshot.clone(),
            ordinal: meta.ordinal,
            key_at: before.as_ref().map_or(snapshot.at, |before| before.key_at),
            bytes: body.len() + before.map_or(0, |before| before.bytes),
        });
        Ok((meta, body))
    }

    /// Makes the next body a key frame: whoever reads has lost the last one.
    pub fn restart(&mut self) {
        self.before = None;
    }
}

impl Before {
    /// True if a key frame is due.
    fn is_over(&self, at: Moment) -> bool {
        self.ordinal >= KEY_EVERY
            || at < self.snapshot.at
            || at.seconds_since(self.key_at) >= KEY_EVERY_S
            || self.bytes >= MOST_SEGMENT / 2
    }
}

fn line(body: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut line = serde_json::to_vec(body)?;
    line.push(b'\n');
    if line.len() > MOST_BODY {
        return Err(EncodeError::TooLarge { bytes: line.len() });
    }
    Ok(line)
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a Snapshot,
}

struct Delta<'a> {
    old: &'a Snapshot,
    new: &'a Snapshot,
}

impl Serialize for Delta<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("after", &self.old.at)?;
        map.serialize_entry("delta", &Between(self.old, self.new))?;
        map.end()
    }
}

/// Makes snapshots of bodies.
#[derive(Debug, Default)]
pub struct LineDecoder {
    before: Option<Arc<Snapshot>>,
    /// Bytes of the segment so far.
    bytes: usize,
}

impl LineDecoder {
    /// The snapshot of the next body. What has not changed is shared with the one before.
    ///
    /// # Errors
    /// A body that is none, is too large, or says what has changed since another snapshot than the last one. After an error
    /// only a key frame can be decoded.
    pub fn decode(&mut self, body: &[u8]) -> Result<Arc<Snapshot>, DecodeError> {
        let before = self.before.take();
        let bytes = self.bytes.saturating_add(body.len());
        if body.len() > MOST_BODY || before.is_some() && bytes > MOST_SEGMENT {
            return Err(DecodeError::TooLarge);
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let (is_key, snapshot) = Body {
            before: before.as_deref(),
        }
        .deserialize(&mut json)?;
        json.end()?;
        self.bytes = if is_key { body.len() } else { bytes };
        let snapshot = Arc::new(snapshot);
        self.before = Some(snapshot.clone());
        Ok(snapshot)
    }
}

/// Reads a body; also tells whether it stood alone.
struct Body<'a> {
    before: Option<&'a Snapshot>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = (bool, Snapshot);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = (bool, Snapshot);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot, or what has changed")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut made = None;
        let mut after = None;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "key" => made = Some((true, map.next_value()?)),
                "after" => after = Some(map.next_value::<Moment>()?),
                "delta" => {
                    let before = self.before.filter(|before| Some(before.at) == after);
                    let before =
                        before.ok_or_else(|| A::Error::custom("the frame before it is missing"))?;
                    made = Some((false, map.next_value_seed(Onto(before))?));
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        made.ok_or_else(|| A::Error::custom("neither key nor delta"))
    }
}
