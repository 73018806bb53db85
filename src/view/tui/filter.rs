//! Which rows does what was typed after `/` leave? Words that must all be there; `field:value` looks at one field; a
//! leading `!` turns a word round.

use crate::diagnosis::{Member, Outsider, Server, sockets};
use crate::snapshot::Process;

/// A filter, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    inverted: bool,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// In the name, the command line or the address.
    Text(String),
    Port(String),
    Phase(String),
    Pid(String),
    Python(String),
    Kind(String),
}

impl Filter {
    /// From what was typed. Nothing typed is invalid: a field that is not known is plain text, and a field without a
    /// value yet (`port:`) leaves every row, so that the table does not go blank while one types.
    pub fn parse(typed: &str) -> Self {
        let terms = typed.split_whitespace().filter_map(Term::parse).collect();
        Self { terms }
    }

    /// True if it leaves every row.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// True if the server stays.
    pub fn leaves_server(&self, server: &Server) -> bool {
        self.terms
            .iter()
            .all(|t| t.inverted != t.wanted.in_server(server))
    }

    /// True if the process of a server stays.
    pub fn leaves_member(&self, member: &Member) -> bool {
        self.terms
            .iter()
            .all(|t| t.inverted != t.wanted.in_member(member))
    }

    /// True if the process that is no server stays.
    pub fn leaves_outsider(&self, outsider: &Outsider) -> bool {
        self.terms
            .iter()
            .all(|t| t.inverted != t.wanted.in_outsider(outsider))
    }
}

impl Term {
    fn parse(word: &str) -> Option<Self> {
        let (inverted, word) = match word.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let lower = word.to_lowercase();
        let wanted = match lower.split_once(':') {
            Some(("port" | "phase" | "pid" | "py" | "python" | "kind", "")) => return None,
            Some(("port", value)) => Wanted::Port(value.to_owned()),
            Some(("phase", value)) => Wanted::Phase(value.to_owned()),
            Some(("pid", value)) => Wanted::Pid(value.to_owned()),
            Some(("py" | "python", value)) => Wanted::Python(value.to_owned()),
            Some(("kind", value)) => Wanted::Kind(value.to_owned()),
            _ if lower.is_empty() => return None,
            _ => Wanted::Text(lower),
        };
        Some(Self { inverted, wanted })
    }
}

impl Wanted {
    fn in_server(&self, server: &Server) -> bool {
        let members = || server.members.iter();
        match self {
            Self::Text(text) => {
                contains(&server.name, text)
                    || server.phase.word().contains(text)
                    || server
                        .listeners
                        .iter()
                        .any(|l| contains(&sockets::address(&l.socket), text))
                    || members().any(|m| in_process(&m.process, text))
            }
            Self::Port(port) => server
                .listeners
                .iter()
                .any(|l| l.socket.path.is_none() && l.socket.port.to_string() == *port),
            Self::Phase(phase) => server.phase.word().starts_with(phase.as_str()),
            Self::Pid(pid) => members().any(|m| m.process.key.pid.to_string() == *pid),
            Self::Python(version) => members().any(|m| is_python(&m.process, version)),
            Self::Kind(kind) => server.kind.word().starts_with(kind.as_str()),
        }
    }

    fn in_member(&self, member: &Member) -> bool {
        match self {
            Self::Text(text) => {
                contains(member.role.word(), text)
                    || member.phase.word().contains(text)
                    || in_process(&member.process, text)
            }
            Self::Phase(phase) => member.phase.word().starts_with(phase.as_str()),
            other => other.in_process(&member.process),
        }
    }

    fn in_outsider(&self, outsider: &Outsider) -> bool {
        match self {
            Self::Text(text) => {
                contains(&outsider.name, text) || in_process(&outsider.process, text)
            }
            Self::Phase(phase) => outsider.phase.word().starts_with(phase.as_str()),
            other => other.in_process(&outsider.process),
        }
    }

    fn in_process(&self, process: &Process) -> bool {
        match self {
            Self::Pid(pid) => process.key.pid.to_string() == *pid,
            Self::Python(version) => is_python(process, version),
            _ => false,
        }
    }
}

fn in_process(process: &Process, text: &str) -> bool {
    process
        .cmdline
        .iter()
        .any(|argument| contains(argument, text))
        || process.key.pid.to_string() == text
}

fn is_python(process: &Process, version: &str) -> bool {
    let known = process.python.as_ref().and_then(|p| p.version.as_deref());
    known.is_some_and(|known| {
        known == version
            || known
                .strip_prefix(version)
                .is_some_and(|rest| rest.starts_with('.'))
    })
}

fn contains(text: &str, lower: &str) -> bool {
    text.to_lowercase().contains(lower)
}
