//! Files that the user asks for from the screen: the looks that are kept, and the screen as text. They are made in the working
//! directory, readable by their owner only, and never in the place of another file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::recording::{Frames, Header, Limits, Tape, WriteError, Writer};
use crate::source::clock;
use crate::view::format;

/// Names to try in a second in which several files are made.
const NAMES: u32 = 100;

/// Saves the screen; says where.
pub(super) fn view(text: &str) -> Result<String> {
    let name = name("txt")?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(&name);
    let mut file = file.with_context(|| format!("cannot create {name}"))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {name}"))?;
    Ok(format!("the screen is in {name}"))
}

/// Saves looks; says where.
pub(super) fn looks(tape: &Tape, header: Header) -> Result<String> {
    let name = name("steth")?;
    let write = || {
        let mut writer = Writer::open(Path::new(&name), header, Limits::default())?;
        for at in 0..tape.count() {
            if let Ok(frame) = tape.frame(at) {
                writer.write(&frame)?;
            }
        }
        Ok::<u64, WriteError>(writer.size())
    };
    let bytes = write().with_context(|| format!("cannot write {name}"))?;
    Ok(format!(
        "{} looks, {}, are in {name}: steth replay {name}",
        tape.count(),
        format::bytes(bytes)
    ))
}

/// A name with the time in it, which is not in use: `steth-20261120-180211.txt`, in UTC.
fn name(extension: &str) -> Result<String> {
    let time: String = format::rfc3339(clock::wall_ms())
        .chars()
        .take("2026-11-20T18:02:11".len())
        .filter_map(|c| match c {
            'T' => Some('-'),
            '0'..='9' => Some(c),
            _ => None,
        })
        .collect();
    let nth = |nth: u32| match nth {
        0 => format!("steth-{time}.{extension}"),
        nth => format!("steth-{time}-{nth}.{extension}"),
    };
    let free = (0..NAMES).map(nth).find(|name| !Path::new(name).exists());
    free.context("too many files of this second")
}
