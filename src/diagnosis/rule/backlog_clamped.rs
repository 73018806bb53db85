//! The kernel has cut the backlog that was asked for.

use super::{Case, Verdict, finding};
use crate::diagnosis::kind::{self, Intent};
use crate::diagnosis::{Code, Kind, ServerListener, Severity, sockets};

/// `net.core.somaxconn` as kernels have it where nobody sets it: since 5.4, and before.
const DEFAULTS: [u32; 2] = [4096, 128];

pub(super) fn examine(case: &Case) -> Verdict {
    let asked = case.server.members.first().and_then(|root| {
        let cmdline = &root.process.cmdline;
        let kind = kind::intent(cmdline);
        let known = [
            Kind::Uvicorn,
            Kind::Gunicorn,
            Kind::Hypercorn,
            Kind::Granian,
        ];
        known
            .map(Intent::Serves)
            .contains(&kind)
            .then(|| wanted(cmdline))?
    });
    let Some(asked) = asked else {
        return Verdict::Clear;
    };
    let clamped = case.listening().find_map(|l| {
        let most = somaxconn(case, l);
        let backlog = l.socket.backlog?;
        let is_most = most.map_or(DEFAULTS.contains(&backlog), |most| most == backlog);
        (backlog < asked && is_most).then_some((l, backlog, most))
    });
    let Some((listener, backlog, most)) = clamped else {
        return Verdict::Clear;
    };
    let address = sockets::address(&listener.socket);
    let mut found = finding(
        Code::BacklogClamped,
        Severity::Info,
        format!(
            "{address} has a backlog of {backlog}, not the {asked} that were asked for: net.core.somaxconn limits it"
        ),
    );
    found.evidence.push(format!(
        "the command line asks for --backlog {asked} (/proc/{}/cmdline)",
        case.server.pid
    ));
    found
        .evidence
        .push(format!("{address} has a backlog of {backlog} (sock_diag)"));
    if let Some(most) = most {
        found.evidence.push(format!(
            "net.core.somaxconn is {most} (/proc/sys/net/core/somaxconn)"
        ));
    }
    found.remedy = format!(
        "sysctl -w net.core.somaxconn={asked} in the server's network namespace, then start it again: listen() reads it once"
    );
    found.confirm = "sysctl net.core.somaxconn; ss -ltn".into();
    Verdict::Found(Box::new(found))
}

fn somaxconn(case: &Case, listener: &ServerListener) -> Option<u32> {
    let mut all = case.snapshot.netns.iter();
    all.find(|n| n.inode == listener.netns)?.somaxconn
}

/// `--backlog 8192`, `--backlog=8192`.
fn wanted(cmdline: &[String]) -> Option<u32> {
    let args = kind::program(cmdline);
    args.iter().enumerate().find_map(|(at, arg)| {
        let value = match arg.strip_prefix("--backlog") {
            Some("") => args.get(at + 1)?.as_str(),
            Some(rest) => rest.strip_prefix('=')?,
            None => return None,
        };
        value.parse().ok()
    })
}
