//! The report as HTML: one file without a script, that opens offline, prints, and follows the reader's choice of light or dark.

use std::fmt::Write as _;

use crate::diagnosis::Severity;

use super::story::{FindingStory, Story};
use super::{Report, svg};

const STYLE: &str = include_str!("../../../assets/report.css");

/// The document.
pub(super) fn document(report: &Report) -> String {
    let (stories, left_out) = report.ranked();
    let mut out = String::new();
    let title = format!("steth: {}", report.host);
    let span = report.span();
    let worst = stories.iter().filter_map(|s| s.worst()).max();
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
<meta name=\"color-scheme\" content=\"light dark\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{}</h1>\n\
<p class=\"verdict {}\">{}</p>\n<p class=\"span\">{}</p>\n</header>\n<main>\n",
        escaped(&title),
        escaped(&report.host),
        class(worst),
        escaped(&report.verdict()),
        escaped(&span),
    );
    contents(&stories, &mut out);
    for (nth, story) in stories.iter().enumerate() {
        server(report, story, nth, &mut out);
    }
    if left_out > 0 {
        let _ = writeln!(
            out,
            "<p>Servers of which none is worse, and which are left out: {left_out}.</p>"
        );
    }
    out.push_str("<section>\n<h2 id=\"surroundings\">Surroundings</h2>\n");
    table(&report.surroundings(), &mut out);
    out.push_str("</section>\n<section>\n<h2 id=\"unseen\">What could not be seen</h2>\n");
    let unseen = report.unseen();
    if unseen.is_empty() {
        out.push_str("<p>Nothing was hidden from the user who looked.</p>\n");
    } else {
        list(&unseen, &mut out);
    }
    out.push_str("</section>\n</main>\n</body>\n</html>\n");
    out
}

fn contents(stories: &[&Story], out: &mut String) {
    if stories.len() < 2 {
        return;
    }
    out.push_str("<nav>\n<ul>\n");
    for (nth, story) in stories.iter().enumerate() {
        let _ = writeln!(
            out,
            "<li class=\"{}\"><a href=\"#server-{nth}\">{}</a> {}</li>",
            class(story.worst()),
            escaped(&story.title()),
            escaped(story.phase()),
        );
    }
    out.push_str("</ul>\n</nav>\n");
}

fn server(report: &Report, story: &Story, nth: usize, out: &mut String) {
    let _ = writeln!(
        out,
        "<section class=\"server\">\n<h2 id=\"server-{nth}\">{}</h2>\n<p class=\"phase\">{}</p>",
        escaped(&story.title()),
        escaped(story.phase()),
    );
    if story.findings.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", escaped(&story.why));
    }
    let cause = story.cause();
    for finding in cause.into_iter().chain(others(story)) {
        of_finding(report, finding, out);
    }
    out.push_str("<h3>Timeline</h3>\n<table class=\"timeline\">\n");
    for (at, words) in story.events() {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escaped(&report.clock(at)),
            escaped(&words)
        );
    }
    out.push_str("</table>\n");
    if let Some(words) = story.left_out() {
        let _ = writeln!(out, "<p>{}</p>", escaped(&words));
    }
    graphs(report, story, out);
    exits(report, story, out);
    out.push_str("<h3>What it is</h3>\n");
    table(&story.facts, out);
    out.push_str("</section>\n");
}

/// All but the cause, in the order in which they began.
pub(super) fn others(story: &Story) -> impl Iterator<Item = &FindingStory> {
    let cause = story.cause();
    let is_cause = move |f: &FindingStory| cause.is_some_and(|c| std::ptr::eq(c, f));
    story.findings.iter().filter(move |f| !is_cause(f))
}

fn of_finding(report: &Report, story: &FindingStory, out: &mut String) {
    let finding = &story.finding;
    let _ = writeln!(
        out,
        "<article class=\"{}\">\n<h3><code>{}</code> {}</h3>\n<p class=\"when\">{}</p>",
        class(Some(story.severity)),
        finding.code.word(),
        escaped(&finding.summary),
        escaped(&when(report, story)),
    );
    list(&finding.evidence, out);
    let _ = writeln!(
        out,
        "<p class=\"remedy\">{}</p>\n<p>To check it by hand:</p>\n<pre class=\"command\">{}</pre>",
        escaped(&finding.remedy),
        escaped(&finding.confirm)
    );
    let parts = [
        ("Its log by then", &story.log),
        ("Stacks when it began", &story.stacks),
        ("Tasks when it began", &story.tasks),
    ];
    for (name, lines) in parts {
        if !lines.is_empty() {
            let _ = writeln!(
                out,
                "<details open>\n<summary>{name}</summary>\n<pre>{}</pre>\n</details>",
                escaped(&lines.join("\n"))
            );
        }
    }
    out.push_str("</article>\n");
}

/// `from 14:02:11 to 14:03:40`, `since 14:02:11`.
pub(super) fn when(report: &Report, story: &FindingStory) -> String {
    let began = report.clock(story.began_ms);
    match story.ended_ms {
        Some(ended) => format!("seen from {began} to {}", report.clock(ended)),
        None => format!("seen since {began}"),
    }
}

fn graphs(report: &Report, story: &Story, out: &mut String) {
    let marks: Vec<i64> = story
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Info)
        .map(|f| f.began_ms)
        .collect();
    let (from, to) = (report.clock(report.first_ms), report.clock(report.last_ms));
    let seen = story.series.iter().filter(|(_, s)| s.greatest().is_some());
    let (flat, moving): (Vec<_>, Vec<_>) = seen.partition(|(_, series)| series.is_flat());
    if !moving.is_empty() {
        out.push_str("<h3>Over time</h3>\n<div class=\"graphs\">\n");
        for (name, series) in moving {
            let span = (report.first_ms, report.last_ms);
            out.push_str(&svg::graph(name, series, span, (&from, &to), &marks));
            out.push('\n');
        }
        out.push_str("</div>\n");
    }
    let still: Vec<String> = flat
        .into_iter()
        .map(|(name, series)| format!("{name} {}", svg::number(series.greatest().unwrap_or(0.0))))
        .collect();
    if !still.is_empty() {
        let _ = writeln!(
            out,
            "<p>The same at every look: {}.</p>",
            escaped(&still.join(", "))
        );
    }
}

fn exits(report: &Report, story: &Story, out: &mut String) {
    if story.exits.is_empty() {
        return;
    }
    out.push_str(
        "<h3>Deaths</h3>\n<table>\n<tr><th>when</th><th>who</th><th>lived</th><th>how</th><th>last seen in</th></tr>\n",
    );
    for row in exit_rows(report, story) {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escaped(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// When, who, how long it lived, how it ended, where it stood.
pub(super) fn exit_rows(report: &Report, story: &Story) -> Vec<[String; 5]> {
    let row = |(at, exit): &(i64, crate::diagnosis::MemberExit)| {
        let e = &exit.exit;
        let lived = e
            .lived_ns
            .map(|ns| super::super::format::duration(ns as f64 / 1e9));
        let own = e.last_stack.iter().rev().find(|f| !f.is_library());
        let frame = own.or(e.last_stack.last());
        [
            report.clock(*at),
            format!("{} {}", exit.role.word(), e.key.pid),
            lived.unwrap_or_else(|| "?".to_owned()),
            super::super::format::ending(e),
            frame.map_or_else(
                || "?".to_owned(),
                |f| format!("{} ({})", f.function, super::super::format::place(f, None)),
            ),
        ]
    };
    story.exits.iter().map(row).collect()
}

fn table(rows: &[(&'static str, String)], out: &mut String) {
    out.push_str("<table class=\"facts\">\n");
    for (name, value) in rows {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escaped(name),
            escaped(value)
        );
    }
    out.push_str("</table>\n");
}

fn list(items: &[String], out: &mut String) {
    out.push_str("<ul>\n");
    for item in items {
        let _ = writeln!(out, "<li>{}</li>", escaped(item));
    }
    out.push_str("</ul>\n");
}

/// The word that the style sheet knows a severity by.
fn class(severity: Option<Severity>) -> &'static str {
    severity.map_or("fine", Severity::word)
}

/// Text with all that has a meaning in HTML taken out of it, in contents as in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
