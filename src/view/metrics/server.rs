//! Families about whole servers: phase, starts and ends, findings.

use super::page::{Family, Page, Type};
use super::told::Told;
use crate::diagnosis::{Phase, Server, Severity};

const PHASE: Family = Family::of(
    Type::StateSet,
    "steth_server_phase",
    "In which phase the server is, from evidence; absent where that could not be seen.",
);
const PHASE_AGE: Family = Family::gauge(
    "steth_server_phase_age_seconds",
    "Since when it is in its phase; a lower bound where the phase began before this program looked.",
)
.in_unit("seconds");
const PHASE_TIME: Family = Family::counter(
    "steth_server_phase_seconds",
    "Time that it was seen in each phase, also between two scrapes.",
)
.in_unit("seconds");
const START_TIME: Family = Family::gauge(
    "steth_server_start_time_seconds",
    "When its root process was started, since the Unix epoch.",
)
.in_unit("seconds");
const STARTUP: Family = Family::gauge(
    "steth_server_startup_duration_seconds",
    "From the start of its root process to serving; absent where that was not seen.",
)
.in_unit("seconds");
const RESTARTS: Family = Family::counter(
    "steth_server_restarts",
    "Times that another root process took the place of one which had ended, by how that one ended.",
);
const EXITS: Family = Family::counter(
    "steth_server_process_exits",
    "Ends of its processes, by role and by exit code or signal.",
);
const STALLS: Family = Family::counter(
    "steth_server_loop_stalls",
    "Times that an event loop of it was held (loop-blocked, gil-held).",
);
const STALLED: Family = Family::counter(
    "steth_server_loop_stalled_seconds",
    "Time for which an event loop of it was told to be held.",
)
.in_unit("seconds");
const FINDINGS: Family = Family::gauge(
    "steth_server_findings",
    "Findings that it has now, by severity.",
);
const FINDING: Family = Family::gauge(
    "steth_server_finding",
    "1 for each finding that it has now; what it does not have is absent.",
);
const BEGUN: Family = Family::counter(
    "steth_server_findings_begun",
    "Findings that have begun, or have become so severe.",
);

/// Phases that a server can be in.
const PHASES: [Phase; 10] = [
    Phase::Importing,
    Phase::Starting,
    Phase::Bound,
    Phase::Listening,
    Phase::Serving,
    Phase::Stalled,
    Phase::Draining,
    Phase::CrashLooping,
    Phase::Stopped,
    Phase::Exited,
];

/// Writes them.
pub fn write(page: &mut Page, servers: &[Told]) {
    phases(page, servers);
    starts(page, servers);
    stalls(page, servers);
    findings(page, servers);
}

fn phases(page: &mut Page, servers: &[Told]) {
    page.family(&PHASE, |samples| {
        for told in servers.iter().filter(|t| t.phase != Phase::Unseen) {
            for phase in PHASES {
                let holds = f64::from(u8::from(phase == told.phase));
                samples.add(&told.labels, &[(PHASE.name, phase.word())], holds);
            }
        }
    });
    page.family(&PHASE_AGE, |samples| {
        for told in servers.iter().filter(|t| t.phase != Phase::Unseen) {
            samples.add(&told.labels, &[], told.phase_age_s);
        }
    });
    page.family(&PHASE_TIME, |samples| {
        for told in servers {
            for (phase, seconds) in &told.slot.counts.phase_s {
                samples.add(&told.labels, &[("phase", phase.word())], *seconds);
            }
        }
    });
}

fn starts(page: &mut Page, servers: &[Told]) {
    page.family(&START_TIME, |samples| {
        for told in servers {
            samples.add(&told.labels, &[], told.slot.started_s);
        }
    });
    page.family(&STARTUP, |samples| {
        for told in servers {
            samples.add_seen(&told.labels, told.slot.startup_s);
        }
    });
    page.family(&RESTARTS, |samples| {
        for told in servers {
            for (code, times) in &told.slot.counts.restarts {
                samples.add(&told.labels, &[("code", code)], *times as f64);
            }
        }
    });
    page.family(&EXITS, |samples| {
        for told in servers {
            for ((role, code), times) in &told.slot.counts.exits {
                let more = [("role", role.word()), ("code", code)];
                samples.add(&told.labels, &more, *times as f64);
            }
        }
    });
}

fn stalls(page: &mut Page, servers: &[Told]) {
    page.family(&STALLS, |samples| {
        for told in servers.iter().filter(|t| t.phase != Phase::Unseen) {
            samples.add(&told.labels, &[], told.slot.counts.stalls as f64);
        }
    });
    page.family(&STALLED, |samples| {
        for told in servers.iter().filter(|t| t.phase != Phase::Unseen) {
            samples.add(&told.labels, &[], told.slot.counts.stalled_s);
        }
    });
}

fn findings(page: &mut Page, servers: &[Told]) {
    page.family(&FINDINGS, |samples| {
        for (told, server) in judged(servers) {
            for severity in [Severity::Critical, Severity::Warning, Severity::Info] {
                let of = server.findings.iter().filter(|f| f.severity == severity);
                let more = [("severity", severity.word())];
                samples.add(&told.labels, &more, of.count() as f64);
            }
        }
    });
    page.family(&FINDING, |samples| {
        for (told, server) in judged(servers) {
            let mut codes: Vec<_> = server
                .findings
                .iter()
                .map(|f| (f.code, f.severity))
                .collect();
            codes.sort_unstable();
            codes.dedup();
            for (code, severity) in codes {
                let more = [("code", code.word()), ("severity", severity.word())];
                samples.add(&told.labels, &more, 1.0);
            }
        }
    });
    page.family(&BEGUN, |samples| {
        for told in servers {
            for ((code, severity), times) in &told.slot.counts.findings {
                let more = [("code", code.word()), ("severity", severity.word())];
                samples.add(&told.labels, &more, *times as f64);
            }
        }
    });
}

/// Servers of which it can be said that they have no finding.
fn judged<'a>(servers: &'a [Told]) -> impl Iterator<Item = (&'a Told<'a>, &'a Server)> {
    servers
        .iter()
        .filter(|told| told.phase != Phase::Unseen)
        .filter_map(|told| Some((told, told.server?)))
}
