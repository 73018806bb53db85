//! Exit codes of verdicts, and what is said of targets that match nothing.

use super::*;
use crate::diagnosis::{Code, Phase, Server};
use crate::snapshot::Gap;
use crate::testing::{diagnosis, finding, gap, listener, member, outsider, process, scene, server};

fn failing(severity: Severity) -> Server {
    let mut failing = server(20, 8001);
    failing.findings = vec![
        finding(Code::LoopBlocked, Severity::Info),
        finding(Code::AcceptQueueFull, severity),
    ];
    failing
}

/// A server with a helper (a resource tracker, say) beside its one worker.
fn with_helper() -> Server {
    let mut family = server(10, 8000);
    let helper = process(11, "python -c tracker");
    family
        .members
        .push(member(helper, Role::Helper, Phase::NotAServer));
    family
}

#[test]
fn verdicts_have_exit_codes() {
    use ExitStatus::{Critical, Healthy, Unseen};
    let of = |source: &str, pid: u32| gap(source, Some(pid), "permission denied", Some("sudo"));
    let healthy = || vec![server(10, 8000)];
    let cases: Vec<(&str, Vec<Server>, Vec<Gap>, ExitStatus)> = vec![
        ("nothing is there", vec![], vec![], Healthy),
        ("a healthy server", healthy(), vec![], Healthy),
        (
            "a warning",
            vec![failing(Severity::Warning)],
            vec![],
            Healthy,
        ),
        (
            "a critical second finding",
            vec![failing(Severity::Critical)],
            vec![],
            Critical,
        ),
        (
            "a healthy one beside a broken one",
            vec![server(10, 8000), failing(Severity::Critical)],
            vec![],
            Critical,
        ),
        (
            "what is broken goes before what is not seen",
            vec![server(10, 8000), failing(Severity::Critical)],
            vec![of("fd", 10)],
            Critical,
        ),
        ("hidden files", healthy(), vec![of("fd", 10)], Unseen),
        (
            "hidden stacks",
            healthy(),
            vec![of("python-stack", 10)],
            Unseen,
        ),
        (
            "a hidden namespace",
            healthy(),
            vec![of("ns/net", 10)],
            Unseen,
        ),
        (
            "a namespace that cannot be opened",
            healthy(),
            vec![of("sock_diag", 10)],
            Unseen,
        ),
        (
            "stacks that no right would show",
            healthy(),
            vec![gap(
                "python-stack",
                Some(10),
                "Python 2.3 is not supported",
                None,
            )],
            Healthy,
        ),
        (
            "a hidden folder decides nothing",
            healthy(),
            vec![of("cwd", 10)],
            Healthy,
        ),
        (
            "hidden files of another",
            healthy(),
            vec![of("fd", 77)],
            Healthy,
        ),
        (
            "hidden files of a helper",
            vec![with_helper()],
            vec![of("fd", 11)],
            Healthy,
        ),
        (
            "hidden files beside a helper",
            vec![with_helper()],
            vec![of("fd", 10)],
            Unseen,
        ),
        (
            "no process events",
            healthy(),
            vec![gap("events", None, "no right", Some("sudo"))],
            Healthy,
        ),
        (
            "others are hidden, and nobody is left",
            vec![],
            vec![gap("/proc", None, "hidepid=2", Some("sudo"))],
            Unseen,
        ),
        (
            "others are hidden, and ours is fine",
            healthy(),
            vec![gap("/proc", None, "hidepid=2", Some("sudo"))],
            Healthy,
        ),
    ];
    for (name, servers, gaps, want) in cases {
        let scene = scene(diagnosis(servers, vec![]), gaps);
        assert_eq!(judge(&scene, &[]), want, "{name}");
    }
}

#[test]
fn nothing_can_be_judged_before_the_first_look() {
    let scene = Scene::before_the_first_look(1.0);
    assert_eq!(judge(&scene, &[]), ExitStatus::Unseen);
}

#[test]
fn targets_that_match_nothing_are_usage_unless_it_is_hidden_whose_they_are() {
    let whole = diagnosis(
        vec![server(10, 8000)],
        vec![outsider(30, "python batch.py")],
    );
    let hidden = || vec![gap("fd", Some(10), "permission denied", Some("sudo"))];
    type Case<'a> = (&'a [Target], Vec<Gap>, Option<u16>, Option<ExitStatus>);
    let cases: Vec<Case> = vec![
        (&[], vec![], None, None),
        (&[Target::Port(8000)], vec![], None, None),
        (&[Target::Pid(30)], vec![], None, None),
        (&[Target::Port(9)], vec![], None, Some(ExitStatus::Usage)),
        (
            &[Target::Port(8000), Target::Pid(31)],
            vec![],
            None,
            Some(ExitStatus::Usage),
        ),
        // Somebody listens on it who is not Python, as everything may be seen.
        (&[Target::Port(9)], vec![], Some(9), Some(ExitStatus::Usage)),
        (
            &[Target::Port(9)],
            hidden(),
            Some(9),
            Some(ExitStatus::Unseen),
        ),
        (
            &[Target::Port(9)],
            hidden(),
            Some(10),
            Some(ExitStatus::Usage),
        ),
        (
            &[Target::Pid(9)],
            hidden(),
            Some(9),
            Some(ExitStatus::Usage),
        ),
    ];
    for (targets, gaps, listens, want) in cases {
        let scene = scene(whole.clone(), gaps);
        let mut snapshot = scene.snapshot.as_deref().unwrap().clone();
        snapshot.netns = listens.map(netns).into_iter().collect();
        let said = complain_of_unmatched(&whole, Some(&snapshot), targets);
        assert_eq!(said, want, "{targets:?} {listens:?} {:?}", snapshot.gaps);
    }
}

/// A namespace in which one socket listens.
fn netns(port: u16) -> std::sync::Arc<crate::snapshot::NetNs> {
    std::sync::Arc::new(crate::snapshot::NetNs {
        inode: 1,
        sampled_at: crate::testing::NOW,
        listeners: vec![listener(port)],
        bound_visible: true,
        counters: None,
        has_other_interface: None,
        host: None,
        own: true,
        somaxconn: None,
    })
}

#[test]
fn a_closed_pipe_is_told_from_other_errors() {
    use std::io::{Error, ErrorKind};
    for (kind, closed) in [
        (ErrorKind::BrokenPipe, true),
        (ErrorKind::StorageFull, false),
    ] {
        let error = anyhow::Error::from(Error::from(kind));
        assert_eq!(is_closed_pipe(&error), closed, "{kind:?}");
    }
    assert!(!is_closed_pipe(&anyhow::anyhow!("broken pipe")));
}

#[test]
fn another_users_script_is_in_doubt_only_if_it_was_asked_for() {
    let denied = || gap("fd", Some(30), "permission denied", Some("sudo"));
    let asked = [Target::Pid(30)];
    let cases: [(&[Target], Vec<Gap>, ExitStatus); 4] = [
        (&[], vec![denied()], ExitStatus::Healthy),
        (&asked, vec![denied()], ExitStatus::Unseen),
        (&asked, vec![], ExitStatus::Healthy),
        (
            &asked,
            vec![gap("fd", Some(31), "denied", None)],
            ExitStatus::Healthy,
        ),
    ];
    for (targets, gaps, want) in cases {
        let selected = diagnosis(vec![], vec![outsider(30, "python service.py")]);
        let scene = scene(selected, gaps);
        assert_eq!(judge(&scene, targets), want, "{targets:?}");
    }
}
