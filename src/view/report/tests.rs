//! The document says the cause first, keeps what has ended, and takes nothing that a target says for markup.

use super::*;
use crate::diagnosis::{Code, Phase, Server, Severity};
use crate::snapshot::Moment;
use crate::testing::{self, death, diagnosis, finding, gap, outsider, scene, server};

/// A look so many seconds after the first one.
fn note(report: &mut Report, second: u64, server: Server, gaps: Vec<Gap>) {
    let scene = scene(
        diagnosis(vec![server], vec![outsider(77, "celery -A app")]),
        gaps,
    );
    let mut snapshot = Snapshot::clone(scene.snapshot.as_ref().unwrap());
    snapshot.at = Moment(testing::NOW.0 + second * 1_000_000_000);
    snapshot.wall_ms += i64::try_from(second).unwrap() * 1000;
    report.note(&snapshot, &scene.diagnosis);
}

/// A server whose loop is blocked from second 10 to 19 of 30, after it has lost a worker.
fn incident() -> Report {
    let mut report = Report::new(About {
        source: "this machine".into(),
        ..About::default()
    });
    for second in 0..30 {
        let mut server = server(10, 8000);
        server.name = "uvicorn <app>".into();
        server.listeners[0].socket.accept_queue = Some(u32::try_from(second).unwrap());
        server.exits.push_front(death(9, 10, Some(3), None));
        if (10..20).contains(&second) {
            server.phase = Phase::Stalled;
            let mut finding = finding(Code::LoopBlocked, Severity::Critical);
            finding.summary = format!("blocked for {second} s <script>alert(1)</script>");
            finding.evidence = vec!["a | b `c`".into()];
            finding.confirm = "py-spy dump ```` --pid 10".into();
            server.findings.push(finding);
        }
        note(
            &mut report,
            second,
            server,
            vec![gap("log", Some(10), "stdout is /dev/null", None)],
        );
    }
    report
}

#[test]
fn the_cause_comes_first_and_what_has_ended_stays() {
    for document in [incident().html(), incident().markdown()] {
        let at = |words: &str| {
            let found = document.find(words);
            found.unwrap_or_else(|| panic!("{words:?} is not in\n{document}"))
        };
        assert!(at("blocked for 19 s") < at("Timeline"), "{document}");
        assert!(at("loop-blocked began") < at("loop-blocked ended"));
        at("worker 9 ended: code 3");
        at("stdout is /dev/null");
        at("MainThread");
    }
}

#[test]
fn nothing_that_a_target_says_is_taken_for_markup() {
    let html = incident().html();
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&lt;script&gt;"));
    assert!(html.contains("uvicorn &lt;app&gt;"));
    for fetched in ["src=", "href=\"http", "url(", "@import"] {
        assert!(!html.contains(fetched), "{fetched}");
    }
    let markdown = incident().markdown();
    assert!(markdown.contains("a \\| b \\`c\\`"), "{markdown}");
    assert!(markdown.contains("`````\npy-spy dump ````"), "{markdown}");
    assert!(
        !markdown.replace("\\<", "").contains("<script"),
        "{markdown}"
    );
}

/// Tags that have to be closed are, in order.
#[test]
fn the_html_is_well_formed() {
    let html = incident().html();
    let mut open: Vec<&str> = Vec::new();
    for tag in html
        .split('<')
        .skip(1)
        .map(|t| t.split('>').next().unwrap())
    {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        match (tag.starts_with('/'), tag.ends_with('/'), name) {
            (_, _, "!doctype" | "meta") | (false, true, _) => {}
            (false, false, name) => open.push(name),
            (true, _, name) => assert_eq!(open.pop(), Some(name), "{tag}"),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_number_that_moves_has_a_graph_and_one_that_does_not_has_a_word() {
    let html = incident().html();
    assert!(
        html.contains("aria-label=\"accept queue, at most 29\""),
        "{html}"
    );
    assert!(html.contains("class=\"mark\""));
    assert!(!html.contains("aria-label=\"threads"));
    assert!(html.contains("threads 1"));
}

#[test]
fn a_healthy_machine_gets_a_healthy_report() {
    let mut report = Report::default();
    note(&mut report, 0, server(10, 8000), vec![]);
    assert!(
        report
            .html()
            .contains("nothing is wrong with the one server")
    );
    assert!(
        Report::default()
            .markdown()
            .contains("no Python server was seen")
    );
}

#[test]
fn what_was_only_not_seen_yet_is_not_told() {
    let mut report = Report::default();
    for second in 0..10 {
        let gaps = if second < 2 {
            vec![gap("python-stack", Some(10), "not read yet", None)]
        } else {
            vec![]
        };
        note(&mut report, second, server(10, 8000), gaps);
    }
    assert!(!report.markdown().contains("not read yet"));
}

#[test]
fn memory_stays_bounded() {
    let mut report = Report::default();
    for second in 0..5000 {
        let mut server = server(10, 8000);
        if second % 2 == 0 {
            server.phase = Phase::Stalled;
            server
                .findings
                .push(finding(Code::LoopBlocked, Severity::Critical));
        }
        note(&mut report, second, server, vec![]);
    }
    let story = report.stories.values().next().unwrap();
    assert!(story.phases.len() <= 400 && story.findings.len() <= 60);
}

/// One server that failed at first and is well again, one that fails at last.
#[test]
fn what_fails_now_comes_before_what_is_over() {
    let mut report = Report::default();
    for second in 0..30 {
        let (mut first, mut last) = (server(10, 8000), server(11, 8001));
        let sick = if second < 10 {
            Some(&mut first)
        } else {
            (second >= 20).then_some(&mut last)
        };
        if let Some(server) = sick {
            let mut finding = finding(Code::LoopBlocked, Severity::Critical);
            finding.summary = format!("pid {} is held", server.pid);
            server.findings.push(finding);
        }
        let scene = scene(diagnosis(vec![first, last], vec![]), vec![]);
        let mut snapshot = Snapshot::clone(scene.snapshot.as_ref().unwrap());
        snapshot.wall_ms += second * 1000;
        report.note(&snapshot, &scene.diagnosis);
    }
    assert!(
        report.verdict().contains("pid 11 is held"),
        "{}",
        report.verdict()
    );
}

#[test]
fn a_server_that_cannot_be_seen_is_not_called_well() {
    let mut report = Report::default();
    let mut server = server(10, 8000);
    testing::unseen(&mut server);
    server.phase = Phase::Unseen;
    note(&mut report, 0, server, vec![]);
    assert!(
        report.verdict().contains("too little could be seen"),
        "{}",
        report.verdict()
    );
}

#[test]
fn the_newest_is_kept_where_there_is_no_room_for_all() {
    let mut report = Report::default();
    for second in 0..3000 {
        let mut server = server(10, 8000);
        server.phase = if second % 2 == 0 {
            Phase::Stalled
        } else {
            Phase::Serving
        };
        server.exits.push_front(death(
            u32::try_from(100 + second).unwrap(),
            10,
            Some(3),
            None,
        ));
        let code = if second == 2999 {
            Code::FdExhausted
        } else {
            Code::LoopBlocked
        };
        let mut finding = finding(code, Severity::Critical);
        finding.culprit = Some(crate::diagnosis::Culprit {
            file: "a.py".into(),
            line: u32::try_from(second).unwrap(),
            function: "f".into(),
        });
        server.findings.push(finding);
        note(&mut report, second, server, vec![]);
    }
    let text = report.markdown();
    assert!(text.contains("fd-exhausted"), "{text}");
    assert!(text.contains("worker 3099"));
    assert!(text.contains(": serving"));
    assert!(text.contains("that are left out"));
}

#[test]
fn times_are_of_one_zone_which_is_named() {
    let mut report = Report::new(About {
        utc_offset_s: 7200,
        ..About::default()
    });
    note(&mut report, 0, server(10, 8000), vec![]);
    note(&mut report, 60, server(10, 8000), vec![]);
    assert_eq!(report.span(), "2025-11-20, 16:02:11 to 16:03:11, UTC+02:00");
}

#[test]
fn what_a_terminal_would_obey_is_taken_out() {
    let mut report = Report::default();
    let mut server = server(10, 8000);
    let mut finding = finding(Code::LoopBlocked, Severity::Critical);
    finding.confirm = "py-spy \u{1b}]52;c;eHh4\u{7} dump".into();
    server.findings.push(finding);
    note(&mut report, 0, server, vec![]);
    assert!(!report.markdown().contains('\u{1b}'));
    assert!(!report.html().contains('\u{1b}'));
}

/// Two processes, of one of which the open files may not be read.
#[test]
fn a_part_of_a_sum_is_no_sum() {
    let mut report = Report::default();
    let mut server = server(10, 8000);
    let mut hidden = testing::process(11, "python3 -m shop");
    hidden.fds = None;
    let member = testing::member(hidden, crate::diagnosis::Role::Worker, Phase::Serving);
    server.members.push(member);
    note(&mut report, 0, server, vec![]);
    let text = report.markdown();
    assert!(!text.contains("| open files |"), "{text}");
    assert!(text.contains("| threads | 2 |"), "{text}");
}
