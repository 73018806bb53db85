//! The report as Markdown, for tickets that take no HTML: the same things in the same order, without the graphs.

use std::fmt::Write as _;

use super::Report;
use super::html::{exit_rows, others, when};
use super::story::{FindingStory, Story};
use super::svg::number;

/// The document.
pub(super) fn document(report: &Report) -> String {
    let (stories, left_out) = report.ranked();
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "# {}\n\n**{}**\n\n{}\n",
        plain(&report.host),
        plain(&report.verdict()),
        plain(&report.span())
    );
    for story in &stories {
        server(report, story, &mut out);
    }
    if left_out > 0 {
        let _ = writeln!(
            out,
            "\nServers of which none is worse, and which are left out: {left_out}."
        );
    }
    out.push_str("\n## Surroundings\n\n");
    table(&report.surroundings(), &mut out);
    out.push_str("\n## What could not be seen\n\n");
    let unseen = report.unseen();
    if unseen.is_empty() {
        out.push_str("Nothing was hidden from the user who looked.\n");
    }
    list(&unseen, &mut out);
    out
}

fn server(report: &Report, story: &Story, out: &mut String) {
    let phase = story.phase();
    let _ = writeln!(out, "\n## {}: {phase}", plain(&story.title()));
    if story.findings.is_empty() {
        let _ = writeln!(out, "\n{}", plain(&story.why));
    }
    for finding in story.cause().into_iter().chain(others(story)) {
        of_finding(report, finding, out);
    }
    out.push_str("\n### Timeline\n\n| when | what |\n|---|---|\n");
    for (at, words) in story.events() {
        let _ = writeln!(out, "| {} | {} |", report.clock(at), cell(&words));
    }
    if let Some(words) = story.left_out() {
        let _ = writeln!(out, "\n{words}");
    }
    numbers(story, out);
    if !story.exits.is_empty() {
        out.push_str(
            "\n### Deaths\n\n| when | who | lived | how | last seen in |\n|---|---|---|---|---|\n",
        );
        for row in exit_rows(report, story) {
            let _ = writeln!(out, "| {} |", row.map(|c| cell(&c)).join(" | "));
        }
    }
    out.push_str("\n### What it is\n\n");
    table(&story.facts, out);
}

fn of_finding(report: &Report, story: &FindingStory, out: &mut String) {
    let finding = &story.finding;
    let _ = writeln!(
        out,
        "\n### {} `{}`: {}\n\n{}\n",
        story.severity.word(),
        finding.code.word(),
        plain(&finding.summary),
        when(report, story)
    );
    list(&finding.evidence, out);
    let _ = writeln!(
        out,
        "\nWhat to do: {}\n\nTo check it by hand:",
        plain(&finding.remedy)
    );
    block(std::slice::from_ref(&finding.confirm), out);
    let parts = [
        ("Its log by then", &story.log),
        ("Stacks when it began", &story.stacks),
        ("Tasks when it began", &story.tasks),
    ];
    for (name, lines) in parts {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n{name}:");
            block(lines, out);
        }
    }
}

/// Numbers that were seen: at first, at last and at most.
fn numbers(story: &Story, out: &mut String) {
    let seen = story.series.iter();
    let mut rows = seen
        .filter_map(|(name, s)| Some((name, s.ends()?, s.greatest()?)))
        .peekable();
    if rows.peek().is_none() {
        return;
    }
    out.push_str("\n### Over time\n\n| | at first | at last | at most |\n|---|---|---|---|\n");
    for (name, (first, last), most) in rows {
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} |",
            number(first),
            number(last),
            number(most)
        );
    }
}

/// Lines that are not to be touched, between fences longer than any that they contain.
fn block(lines: &[String], out: &mut String) {
    let longest = lines.iter().map(|l| longest_run(l)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let text = lines
        .join("\n")
        .replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    let _ = writeln!(out, "\n{fence}\n{text}\n{fence}");
}

fn longest_run(line: &str) -> usize {
    let runs = line.split(|c| c != '`');
    runs.map(str::len).max().unwrap_or(0)
}

fn table(rows: &[(&'static str, String)], out: &mut String) {
    out.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(out, "| {name} | {} |", cell(value));
    }
}

fn list(items: &[String], out: &mut String) {
    for item in items {
        let _ = writeln!(out, "- {}", plain(item));
    }
}

/// A cell of a table.
fn cell(text: &str) -> String {
    plain(text).replace('\n', " ")
}

/// Text in which nothing is taken for markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
