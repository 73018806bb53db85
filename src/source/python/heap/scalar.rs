//! Strings, numbers and bytes.

use super::Heap;
use crate::source::text::clean;

/// Bytes of a string that are read at most.
const LONGEST: u64 = 1 << 16;

/// Where the characters of a string are, and how wide.
struct Text {
    at: u64,
    length: u64,
    /// 1, 2 or 4.
    width: u64,
    is_ascii: bool,
}

impl Heap {
    /// A `str` as harmless text, cut after `limit` characters.
    pub fn text(&mut self, object: u64, limit: usize) -> Option<String> {
        let text = self.layout_of_text(object)?;
        let count = text.length.min(limit as u64 + 1);
        let bytes = self
            .pages
            .bytes(text.at, usize::try_from(count * text.width).ok()?)?;
        let decoded: String = match text.width {
            1 if text.is_ascii => {
                let decoded = String::from_utf8(bytes).ok()?;
                // Mostly there is nothing to clean.
                let is_plain = decoded.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                if is_plain && decoded.len() <= limit {
                    return Some(decoded);
                }
                decoded
            }
            1 => bytes.iter().map(|&byte| char::from(byte)).collect(),
            2 => char_by_char(
                bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|pair| u32::from(u16::from_ne_bytes(*pair))),
            ),
            _ => char_by_char(
                bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|four| u32::from_ne_bytes(*four)),
            ),
        };
        Some(clean(&decoded, limit))
    }

    /// True if this is a `str` that reads so.
    pub fn text_is(&mut self, object: u64, wanted: &str) -> bool {
        let Some(text) = self.layout_of_text(object) else {
            return false;
        };
        text.is_ascii
            && text.length == wanted.len() as u64
            && self
                .pages
                .bytes(text.at, wanted.len())
                .is_some_and(|bytes| bytes == wanted.as_bytes())
    }

    /// The bytes of a `bytes` object, which are at most `limit`.
    pub fn bytes_of(&mut self, object: u64, limit: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(self.pages.u64(object.checked_add(16)?)?).ok()?;
        // Behind the size comes the hash (Include/cpython/bytesobject.h).
        (length <= limit).then(|| self.pages.bytes(object.checked_add(32)?, length))?
    }

    /// An `int` (or `bool`) that fits.
    pub fn int(&mut self, object: u64) -> Option<i64> {
        let tag = self.pages.u64(object.checked_add(16)?)?;
        // Up to 3.11 ob_size, whose sign is the number's; then lv_tag (Include/cpython/longintrepr.h).
        let (digits, is_negative) = if self.layout.minor < 12 {
            (tag.cast_signed().unsigned_abs(), tag.cast_signed() < 0)
        } else {
            (tag >> 3, tag & 3 == 2)
        };
        if digits > 3 {
            return None;
        }
        let mut value = 0_i128;
        for at in (0..digits).rev() {
            let digit = self.pages.u32(object.checked_add(24 + 4 * at)?)?;
            value = (value << 30) | i128::from(digit & 0x3fff_ffff);
        }
        i64::try_from(if is_negative { -value } else { value }).ok()
    }

    /// A `float`, or an `int` that was put where one is expected.
    pub fn number(&mut self, object: u64) -> Option<f64> {
        let kind = self.type_of(object)?;
        match &*kind.name {
            "float" => self.pages.u64(object.checked_add(16)?).map(f64::from_bits),
            "int" | "bool" => self.int(object).map(|int| int as f64),
            _ => None,
        }
    }

    /// `PyASCIIObject` and `PyCompactUnicodeObject`: state has kind in bits 2 to 4, compact in bit 5, ascii in bit 6.
    fn layout_of_text(&mut self, object: u64) -> Option<Text> {
        let length = self.pages.u64(object.checked_add(16)?)?;
        let state = self.pages.u32(object.checked_add(32)?)?;
        let (width, is_compact, is_ascii) = (
            u64::from(state >> 2) & 7,
            state & 0x20 != 0,
            state & 0x40 != 0,
        );
        let is_plausible = is_compact && matches!(width, 1 | 2 | 4) && (width == 1 || !is_ascii);
        if !is_plausible || length.checked_mul(width)? > LONGEST {
            return None;
        }
        let fields = &self.layout.object;
        let data = if is_ascii {
            fields.ascii_data
        } else {
            fields.unicode_data
        };
        Some(Text {
            at: data.of(object)?,
            length,
            width,
            is_ascii,
        })
    }
}

fn char_by_char(numbers: impl Iterator<Item = u32>) -> String {
    numbers
        .map(|number| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
