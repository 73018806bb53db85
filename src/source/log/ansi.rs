//! Colours of terminals in text: taken out. What else is not printable is escaped later; a colour says nothing worth an escape.

/// The bytes without escape sequences: CSI (`ESC [ … letter`), OSC (`ESC ] … BEL` or `ESC \`) and two-byte ones.
///
/// A sequence that does not end takes the rest of the line with it: nothing that follows an unfinished one can be trusted to
/// be text.
pub(super) fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != 0x1b {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'[') => drop(bytes.find(|b| (0x40..=0x7e).contains(b))),
            Some(b']') => skip_command(&mut bytes),
            _ => {}
        }
    }
    out
}

fn skip_command(bytes: &mut std::iter::Peekable<impl Iterator<Item = u8>>) {
    while let Some(byte) = bytes.next() {
        if byte == 0x07 {
            return;
        }
        if byte == 0x1b {
            bytes.next_if_eq(&b'\\');
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_text_stays() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"plain", b"plain"),
            (b"\x1b[32mINFO\x1b[0m:     up", b"INFO:     up"),
            (b"\x1b[38;5;208mx\x1b[m", b"x"),
            (b"\x1b]0;title\x07text", b"text"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", b"link"),
            (b"a\x1b[31", b"a"),
            (b"a\x1b", b"a"),
            (b"a\x1bcb", b"ab"),
            (b"[31m is text", b"[31m is text"),
        ];
        for (line, want) in cases {
            assert_eq!(&without_colours(line), want, "{line:?}");
        }
    }
}
