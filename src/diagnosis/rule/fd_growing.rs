//! Open files of one class rise all the time: something is opened and not closed.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::history::FdTrend;
use crate::diagnosis::{Code, Finding, Member, Phase, Severity};

/// So many more, and by so large a part, before it is worth a word.
const MORE: u64 = 30;
const SHARE: f64 = 0.25;
/// The limit is reached within so long: worth a warning.
const SOON_S: f64 = 1800.0;

pub(super) fn examine(case: &Case) -> Verdict {
    let serving = case.workers().filter(|m| m.phase == Phase::Serving);
    let trends = serving.filter_map(|m| Some((m, case.track(m)?.fd_trend()?)));
    let rising = trends.filter(|(_, t)| {
        t.now - t.then >= MORE && (t.now - t.then) as f64 >= t.then as f64 * SHARE
    });
    match rising.max_by_key(|(_, t)| t.now - t.then) {
        Some((member, trend)) => Verdict::Found(Box::new(found(member, &trend))),
        None => Verdict::Clear,
    }
}

fn found(member: &Member, trend: &FdTrend) -> Finding {
    let pid = member.process.key.pid;
    let more = trend.now - trend.then;
    let per_second = more as f64 / trend.seconds.max(1.0);
    let fds = member.process.fds.as_ref();
    let left_s = fds.and_then(|fds| {
        let left = fds.limit?.saturating_sub(fds.open);
        Some(left as f64 / per_second)
    });
    // Sockets come with clients as well, and clients with the hour.
    let severity = match left_s {
        Some(left) if left < SOON_S && trend.class != "sockets" => Severity::Warning,
        _ => Severity::Info,
    };
    let until = left_s.map_or_else(String::new, |s| {
        format!("; at this rate the limit is reached in {}", duration(s))
    });
    let mut found = finding(
        Code::FdGrowing,
        severity,
        format!(
            "pid {pid} opens {} and does not close them: {} more in {}, {} now{until}",
            words(trend.class),
            more,
            duration(trend.seconds),
            trend.now,
        ),
    );
    found.evidence.push(format!(
        "{} of class {} were open {} ago, {} are now, and at no look were there fewer than before (/proc/{pid}/fd)",
        trend.then,
        trend.class,
        duration(trend.seconds),
        trend.now
    ));
    if let Some((open, limit)) = fds.and_then(|f| Some((f.open, f.limit?))) {
        found.evidence.push(format!(
            "{open} descriptors are open, the soft limit is {limit} (/proc/{pid}/fd, /proc/{pid}/limits)"
        ));
    }
    found.remedy = "close what is opened (with, finally, async with), one client or session for all requests; raising LimitNOFILE only puts it off".into();
    found.confirm = format!(
        "ls -l /proc/{pid}/fd | awk '{{print $NF}}' | sed 's/[0-9]*//g' | sort | uniq -c | sort -n | tail"
    );
    found
}

fn words(class: &str) -> &str {
    match class {
        "anon" => "event, timer or notify descriptors",
        "others" => "devices and other files",
        class => class,
    }
}
