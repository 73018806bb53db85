//! What was typed, and what is meant by it; the exit codes.
//!
//! One definition serves parsing, `--help`, completions and the man page.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod target;
mod value;

pub use target::Target;
use value::{parse_age, parse_duration, parse_interval, parse_listen, parse_size};

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
    /// Open the screen over a recording: play, stop, step, jump to what changed
    Replay(Replay),
    /// Write what is or was wrong into one document for a ticket
    Report(Report),
    /// Store what is seen in a file, to be looked at later
    Record(Record),
    /// Print what is seen as lines of JSON, for another machine
    Stream(Stream),
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

/// Arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// The recording, as `steth record` or R on the live screen made it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `report`.
#[derive(Debug, Clone, Args)]
pub struct Report {
    /// Servers to report on: a pid (4127), a port (:8000), a unix socket path, or a part of the command line
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
    /// Report on a recording rather than on what is so now
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// How long to observe, without --from
    #[arg(long = "for", value_name = "TIME", default_value = "3s", value_parser = parse_duration, conflicts_with = "from")]
    pub observe: Duration,
    /// Where to write: a file that ends in .html or .md, or - for standard output, as Markdown
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The kernel lets clients in
    Listening,
    /// Somebody accepts and answers them
    Serving,
}

/// Arguments of `record`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "FILE is valid at every moment, and goes on where it exists. All that is seen of the machine is stored, whatever TARGET \
is: why a server does not answer may lie in another process.\n\nExit codes: 0 the time of --for is over, 2 wrong usage, no such target, \
or FILE cannot be written, 130 and 143 ended by ^C and SIGTERM."
)]
pub struct Record {
    /// Where to; made for its owner's eyes alone
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Servers that have to be there: a pid (4127), a port (:8000), a unix socket path, or a part of the command line
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
    /// How long; until ^C or SIGTERM if nothing is said
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub length: Option<Duration>,
    /// Time between two looks at quiet processes (new and troubled ones are looked at ten times a second)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// Size of FILE from which the oldest is dropped (it may grow by a quarter more)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub max_size: u64,
    /// Age from which the oldest is dropped (the same)
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    pub max_age: Option<Duration>,
    /// Leave what looks like a secret in command lines and log lines in clear
    #[arg(long)]
    pub no_mask: bool,
}

/// Arguments of `stream`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The first line tells who speaks, each other line is a snapshot or what has changed since the one before. Ends when \
standard output or a standard input that is a pipe is closed."
)]
pub struct Stream {
    /// Time between two looks at quiet processes (new and troubled ones are looked at ten times a second)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// Leave what looks like a secret in command lines and log lines in clear
    #[arg(long)]
    pub no_mask: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
