//! What was typed, and what is meant by it; the exit codes.
//!
//! One definition serves parsing, `--help`, completions and the man page.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exit codes: promises to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Every selected server is healthy.
    Healthy,
    /// At least one server has a critical finding; of `wait`, that the time-out has passed.
    Critical,
    /// Wrong usage, or nothing matches a target.
    Usage,
    /// Too little could be seen to judge.
    Unseen,
    /// Ended by this signal.
    Signalled(i32),
}

impl ExitStatus {
    /// The number that a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Critical => 1,
            Self::Usage => 2,
            Self::Unseen => 3,
            Self::Signalled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "steth",
    version,
    about = "A stethoscope for Python servers: sees from outside why one logs but does not answer",
    long_about = "A stethoscope for Python servers. Without a command it opens the live screen: every Python server on \
this machine with its phase, its sockets and accept queues as the kernel reports them, its stacks and the sentence that says why \
it does not serve. No server is changed, restarted, instrumented or paused for it.",
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 healthy, 1 a critical finding, 2 wrong usage or no such target, 3 could not see enough to judge."
)]
pub struct Cli {
    /// What to do; the live screen if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The live screen.
    #[command(flatten)]
    pub live: Live,
}

/// The live screen.
#[derive(Debug, Clone, Args)]
pub struct Live {
    /// Servers to show: a pid (4127), a port (:8000), a unix socket path, or a part of the command line
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
    /// Time between two looks at quiet processes (new, selected and troubled ones are looked at ten times a second)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
}

/// Commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Observe for a while and print a verdict for each server
    Check(Check),
    /// Wait until a server serves, telling each phase; where it does not get there, say why
    Wait(Wait),
    /// Serve metrics of all servers for Prometheus, over HTTP at /metrics
    Metrics(Metrics),
    /// Tell what this user can see on this machine, and what would unlock the rest
    Doctor,
    /// Start a small failing server that ships inside the program, and open the screen on it
    Demo(Demo),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Servers to check: a pid (4127), a port (:8000), a unix socket path, or a part of the command line
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
    /// How long to observe; where processes come and go it looks on, up to 10 s, until it can tell
    #[arg(long = "for", value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    pub observe: Duration,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `wait`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit codes: 0 it got there, 1 it did not in time, 2 wrong usage or no such pid, 3 could not see enough to judge."
)]
pub struct Wait {
    /// The server: a pid (4127), or what may not exist yet: a port (:8000), a unix socket path, or a part of the command line
    #[arg(value_name = "TARGET")]
    pub target: Target,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// What to wait for
    #[arg(long, value_enum, value_name = "PHASE", default_value = "serving")]
    pub until: Until,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The kernel lets clients in
    Listening,
    /// Somebody accepts and answers them
    Serving,
}

/// Arguments of `metrics`.
#[derive(Debug, Clone, Args)]
pub struct Metrics {
    /// Address and port to listen on: 0.0.0.0:9464 for every address, [::1]:9464; port 0 for any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464", value_parser = parse_listen)]
    pub listen: SocketAddr,
}

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Which failure to show
    #[arg(value_name = "SCENARIO")]
    pub scenario: Option<String>,
    /// Name the scenarios
    #[arg(long)]
    pub list: bool,
}

/// What selects servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A process of the server.
    Pid(u32),
    /// A port that it listens on.
    Port(u16),
    /// The path of a unix socket that it listens on; abstract names begin with `@`.
    Path(String),
    /// A part of a command line.
    Name(String),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty target selects nothing".into());
        }
        if let Some(port) = text.strip_prefix(':') {
            return port
                .parse()
                .map(Self::Port)
                .map_err(|_| format!("'{port}' is not a port (1 to 65535)"));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text
                .parse()
                .map(Self::Pid)
                .map_err(|_| format!("'{text}' is not a pid"));
        }
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') || path.starts_with('@') || path.starts_with("./") {
            return Ok(Self::Path(path.to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Port(port) => write!(f, ":{port}"),
            Self::Path(path) => write!(f, "{path}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

/// `3s`, `500ms`, `2m`, `1.5` (seconds).
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit '{other}': ms, s, m or h")),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| format!("'{text}' is not a time: 3s, 500ms, 2m"))?;
    let seconds = value * scale;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("a time from 0 to 24 h is needed".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(60) {
        return Err("an interval from 100ms to 60s is needed".into());
    }
    Ok(interval)
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("'{text}' is not an address with a port: 127.0.0.1:9464, [::1]:9464, 0.0.0.0:9464")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart_by_their_looks() {
        for (text, want) in [
            ("4127", Ok(Target::Pid(4127))),
            (":8000", Ok(Target::Port(8000))),
            ("/run/api.sock", Ok(Target::Path("/run/api.sock".into()))),
            (
                "unix:/run/api.sock",
                Ok(Target::Path("/run/api.sock".into())),
            ),
            ("@abstract", Ok(Target::Path("@abstract".into()))),
            ("gunicorn", Ok(Target::Name("gunicorn".into()))),
            (":70000", Err(())),
            ("", Err(())),
            ("99999999999", Err(())),
        ] {
            assert_eq!(text.parse::<Target>().map_err(|_| ()), want, "{text}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        for (text, want) in [
            ("3s", Some(3.0)),
            ("500ms", Some(0.5)),
            ("2m", Some(120.0)),
            ("0", Some(0.0)),
            ("3y", None),
            ("-1", None),
            ("25h", None),
        ] {
            assert_eq!(
                parse_duration(text).ok().map(|d| d.as_secs_f64()),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
