//! `doctor`: what this user can see on this machine, row by row, and what would unlock the rest.

use std::fmt::Write as _;

use anyhow::Result;

use super::print;
use crate::cli::ExitStatus;
use crate::source::privilege::{self, Row, Visible};

pub(super) fn doctor() -> Result<ExitStatus> {
    let rights = privilege::read();
    print(&text(&privilege::rows(&rights)))?;
    Ok(ExitStatus::Healthy)
}

fn text(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let mark = match row.visible {
            Visible::Yes => "✔ yes   ",
            Visible::Partly => "◐ partly",
            Visible::No => "✖ no    ",
        };
        // Writing to a String does not fail.
        let _ = writeln!(out, "{mark} {}", row.what);
        let _ = writeln!(out, "           {} ({})", row.why, row.source);
        if let Some(unlock) = &row.unlock {
            let _ = writeln!(out, "           unlock: {unlock}");
        }
    }
    out
}
