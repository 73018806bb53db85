//! The last lines of the log, of a server that fails or has failed, that tell something.

use crate::diagnosis::{MemberExit, Phase, Server, frames, log};
use crate::snapshot::{Level, LogLine, Snapshot};

/// Lines that are shown.
const LINES: usize = 3;

/// The last lines that are at least warnings; where there are none, the last ones. Of a healthy server, and of one that has ended as
/// it should, none.
pub(in crate::view) fn last_lines(server: &Server, snapshot: &Snapshot) -> Vec<String> {
    if server.findings.is_empty() && !has_failed(server) {
        return Vec::new();
    }
    if let Some(traceback) = last_traceback(server, snapshot) {
        return vec![traceback];
    }
    let lines = log::lines(server, snapshot);
    let loud = |line: &&&LogLine| line.level.is_some_and(|level| level >= Level::Warning);
    let mut chosen: Vec<&&LogLine> = lines.iter().filter(loud).collect();
    if chosen.is_empty() {
        chosen = lines.iter().filter(|l| !l.text.trim().is_empty()).collect();
    }
    let skip = chosen.len().saturating_sub(LINES);
    let last = chosen.into_iter().skip(skip);
    last.map(|line| log::quoted(&line.text)).collect()
}

/// `KeyError: 'x' in read_secret (shop/main.py:8)`: what a server that has failed wrote at its end; rather than that of a supervisor
/// that gives up, the last one of the application.
fn last_traceback(server: &Server, snapshot: &Snapshot) -> Option<String> {
    let own = server.members.iter().filter_map(|m| m.exit.as_ref());
    let deaths: Vec<&MemberExit> = own.chain(&server.exits).collect();
    let last = log::last_words::of(server, snapshot, &deaths).filter(|_| has_failed(server))?;
    let born = server.own_members().map(|m| m.process.started).min();
    let tails = log::tails(server, snapshot);
    let before = tails.iter().flat_map(|tail| &tail.tracebacks);
    let of_application = before
        .filter(|t| t.culprit.is_some() && t.at <= last.at && born.is_some_and(|b| t.at >= b))
        .max_by_key(|t| t.at);
    let told = of_application.map_or(last, AsRef::as_ref);
    let place = told.culprit.as_ref().map(frames::place);
    let place = place.map_or_else(String::new, |place| format!(" in {place}"));
    Some(format!("{}{place}", log::quoted(&told.sentence())))
}

/// Ended otherwise than by code 0.
fn has_failed(server: &Server) -> bool {
    let last = server.members.iter().find_map(|m| m.exit.as_ref());
    let exit = last.or(server.exits.front()).map(|e| &e.exit);
    server.phase == Phase::Exited && exit.is_some_and(|e| e.code != Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Code, Severity};
    use crate::testing::{self, diagnosis, finding, gap, scene, server};
    use crate::view::check::text;

    const LOUD: [(Option<Level>, &str); 6] = [
        (Some(Level::Error), "one"),
        (Some(Level::Warning), "two"),
        (Some(Level::Error), "three"),
        (Some(Level::Error), "four"),
        (Some(Level::Info), "quiet"),
        (None, ""),
    ];

    fn told(fails: bool, lines: &[(Option<Level>, &str)]) -> Vec<String> {
        let mut server = server(10, 8000);
        if fails {
            server.findings = vec![finding(Code::CrashLoop, Severity::Critical)];
        }
        let log = testing::log(&[server.members[0].process.key], lines);
        let gaps = vec![gap("log", Some(10), "stdout is /dev/null", None)];
        let text = text(&testing::with_log(
            scene(diagnosis(vec![server], vec![]), gaps),
            log,
        ));
        let of_log = text.lines().filter(|l| l.contains("log"));
        of_log.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn only_a_failing_server_shows_its_last_loud_lines() {
        let gap = "not seen: log of pid 10: stdout is /dev/null";
        assert_eq!(
            told(true, &LOUD),
            ["log: two", "log: three", "log: four", gap]
        );
        assert_eq!(told(true, &LOUD[4..]), ["log: quiet", gap]);
        assert_eq!(told(false, &LOUD), Vec::<String>::new());
    }
}
