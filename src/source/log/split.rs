//! Bytes as they come into lines: bounded ones, whole ones.

/// Bytes of a line that are kept; a longer one loses its end.
const LONGEST: usize = 8 * 1024;

/// Makes lines of bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The line that has not ended yet, at most [`LONGEST`].
    begun: Vec<u8>,
    /// True after a start in the middle of a line: what comes before the first line feed is half a line.
    is_torn: bool,
}

impl Splitter {
    /// For bytes that begin in the middle of a line.
    pub(super) fn torn() -> Self {
        Self {
            begun: Vec::new(),
            is_torn: true,
        }
    }

    /// Takes in the next piece; adds the lines that it ends.
    pub(super) fn feed(&mut self, bytes: &[u8], lines: &mut Vec<Vec<u8>>) {
        let mut pieces = bytes.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = LONGEST.saturating_sub(self.begun.len());
            self.begun
                .extend_from_slice(piece.get(..room).unwrap_or(piece));
            let has_ended = pieces.peek().is_some();
            if has_ended {
                let line = std::mem::take(&mut self.begun);
                if !std::mem::take(&mut self.is_torn) {
                    lines.push(line);
                }
            }
        }
    }
}

/// What a terminal would show of a line in the end: what comes after its last carriage return, as progress bars use it.
pub(super) fn shown(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.rsplit(|b| *b == b'\r').next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(mut splitter: Splitter, pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.feed(piece, &mut lines);
        }
        lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let whole = |pieces| split(Splitter::default(), pieces);
        assert_eq!(whole(&[b"a\nb", b"c\n", b"\n", b"d"]), ["a", "bc", ""]);
        assert_eq!(whole(&[b""]), Vec::<String>::new());
        assert_eq!(split(Splitter::torn(), &[b"lf a li", b"ne\nb\n"]), ["b"]);
    }

    #[test]
    fn a_line_without_end_has_a_bounded_cost() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for _ in 0..1000 {
            splitter.feed(&[b'x'; 4096], &mut lines);
        }
        assert!(splitter.begun.len() <= LONGEST);
        splitter.feed(b"\nnext\n", &mut lines);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0].len(), lines[1].as_slice()),
            (LONGEST, &b"next"[..])
        );
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(shown(b"10%\r20%\r30%"), b"30%");
        assert_eq!(shown(b"windows\r"), b"windows");
        assert_eq!(shown(b""), b"");
    }
}
