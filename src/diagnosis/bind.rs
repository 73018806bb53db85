//! Which address is a server told to bind, and who has it already? By command lines, by what bind() has said, and by the
//! kernel's listeners.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Kind;
use super::kind::{self, Intent};
use crate::snapshot::{Family, Listener};

/// An address that a server wants for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A TCP port; on every address, or not known on which, where `ip` is `None`.
    Tcp {
        /// The address.
        ip: Option<IpAddr>,
        /// The port, never 0.
        port: u16,
    },
    /// A unix socket.
    Unix(String),
}

impl Wanted {
    /// As people write it: `127.0.0.1:8000`, `port 8000`, `unix:/run/x.sock`.
    pub fn words(&self) -> String {
        match self {
            Self::Tcp { ip: Some(ip), port } => SocketAddr::new(*ip, *port).to_string(),
            Self::Tcp { ip: None, port } => format!("port {port}"),
            Self::Unix(path) => format!("unix:{path}"),
        }
    }

    /// True if who has this socket keeps others from binding the address (ip(7), ipv6(7)): the same one, or one of both is
    /// for all addresses.
    pub fn is_taken_by(&self, listener: &Listener) -> bool {
        match self {
            Self::Unix(path) => listener.path.as_ref() == Some(path),
            Self::Tcp { ip, port } => {
                let same_port = listener.path.is_none() && listener.port == *port;
                same_port && overlaps(*ip, listener)
            }
        }
    }
}

fn overlaps(wanted: Option<IpAddr>, listener: &Listener) -> bool {
    let Some(had) = listener.address else {
        return false;
    };
    let Some(wanted) = wanted else { return true };
    // `[::]` takes IPv4 as well, unless it is told not to.
    let both = |ip: IpAddr, only: bool| ip.is_ipv6() && ip.is_unspecified() && !only;
    let v6only = listener.v6only == Some(true);
    let alike = wanted.is_ipv4() == had.is_ipv4();
    if !alike {
        return listener.family == Family::Tcp6 && both(had, v6only) || both(wanted, false);
    }
    wanted == had || wanted.is_unspecified() || had.is_unspecified()
}

/// What a command line tells a server to bind; its program's default where that has one that nothing else changes. Empty
/// where it cannot be told.
pub fn wanted(cmdline: &[String]) -> Vec<Wanted> {
    let args = kind::program(cmdline);
    let options = Options::of(args);
    if options.inherits {
        return Vec::new();
    }
    if !options.addresses.is_empty() {
        return options.addresses;
    }
    let Intent::Serves(kind) = kind::intent(cmdline) else {
        return Vec::new();
    };
    let ip = options.host.unwrap_or_else(|| host_by_default(kind));
    let of_port = |port| Wanted::Tcp { ip, port };
    let operands = || {
        args.iter()
            .rev()
            .find_map(|word| positional(kind, word, ip))
    };
    let found = options
        .port
        .map(of_port)
        .or_else(operands)
        .or_else(|| port_by_default(kind).map(of_port));
    found.into_iter().collect()
}

/// What the options say.
#[derive(Debug, Default, Clone)]
struct Options {
    addresses: Vec<Wanted>,
    /// `Some(None)`: a host that names no single address.
    host: Option<Option<IpAddr>>,
    port: Option<u16>,
    /// A socket is handed over.
    inherits: bool,
}

impl Options {
    fn of(args: &[String]) -> Self {
        let mut options = Self::default();
        for (at, word) in args.iter().enumerate() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (word.as_str(), args.get(at + 1).map(String::as_str)),
            };
            let Some(value) = value else { continue };
            match name {
                // http.server has its port elsewhere.
                "--bind" | "-b" if value.parse::<IpAddr>().is_ok() => {
                    options.host = Some(host(value));
                }
                "--bind" | "-b" | "--listen" => options.addresses.extend(address(value)),
                "--port" | "-p" => options.port = port(value),
                "--host" | "-h" | "-H" => options.host = Some(host(value)),
                "--uds" | "--unix-socket" | "-u" => {
                    options.addresses.push(Wanted::Unix(value.to_owned()));
                }
                "--fd" => options.inherits = true,
                _ => {}
            }
        }
        options
    }
}

/// `127.0.0.1:8000`, `:8000`, `[::]:8000`, `unix:/run/x.sock`; `None` for what names no port.
pub fn address(text: &str) -> Option<Wanted> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(Wanted::Unix(path.trim_start_matches("//").to_owned()));
    }
    let (name, number) = text.rsplit_once(':')?;
    Some(Wanted::Tcp {
        ip: host(name),
        port: port(number)?,
    })
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A literal address; `None` for all of them, and for a name.
fn host(text: &str) -> Option<IpAddr> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    match text {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        // Django's short form.
        "0" => Some(Ipv4Addr::UNSPECIFIED.into()),
        _ => text.parse().ok(),
    }
}

/// `runserver 0.0.0.0:8080`, `http.server 9000`.
fn positional(kind: Kind, word: &str, ip: Option<IpAddr>) -> Option<Wanted> {
    let alone = port(word).map(|port| Wanted::Tcp { ip, port });
    match kind {
        Kind::HttpServer => alone,
        Kind::Django => alone.or_else(|| address(word)),
        _ => None,
    }
}

fn host_by_default(kind: Kind) -> Option<IpAddr> {
    match kind {
        Kind::HttpServer => Some(Ipv4Addr::UNSPECIFIED.into()),
        Kind::Waitress => None,
        _ => Some(Ipv4Addr::LOCALHOST.into()),
    }
}

/// Only of programs for which no configuration file and no usual variable names another: gunicorn reads a file, Flask and
/// granian the environment.
fn port_by_default(kind: Kind) -> Option<u16> {
    matches!(kind, Kind::Uvicorn | Kind::Django | Kind::HttpServer).then_some(8000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn command_lines_tell_what_they_bind() {
        for (line, want) in [
            ("uvicorn a:b --port 8001", "127.0.0.1:8001"),
            ("uvicorn a:b --host 0.0.0.0 --port=8001", "0.0.0.0:8001"),
            ("uvicorn a:b --host db.example --port 81", "port 81"),
            ("python -m uvicorn a:b", "127.0.0.1:8000"),
            ("uvicorn a:b --fd 3", ""),
            ("uvicorn a:b --uds /run/x.sock", "unix:/run/x.sock"),
            ("gunicorn -b [::]:83 -b unix:/x a:b", "[::]:83 unix:/x"),
            ("gunicorn --bind=:83 a:b", "port 83"),
            ("gunicorn a:b", ""),
            ("gunicorn: master [a]", ""),
            ("python manage.py runserver 0:8080", "0.0.0.0:8080"),
            ("python manage.py runserver", "127.0.0.1:8000"),
            ("python -m http.server 9000", "0.0.0.0:9000"),
            ("python -m http.server 9000 -b 127.0.0.1", "127.0.0.1:9000"),
            ("python -m http.server --bind ::1 9000", "[::1]:9000"),
            ("waitress-serve --listen=*:8041 a:b", "port 8041"),
            ("python app.py", ""),
            ("python app.py --port 80", ""),
            ("uvicorn a:b --port 0", "127.0.0.1:8000"),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let said: Vec<String> = wanted(&words).iter().map(Wanted::words).collect();
            assert_eq!(said.join(" "), want, "{line}");
        }
    }

    #[test]
    fn an_address_is_taken_by_the_same_and_by_all() {
        let had = |text: &str, v6only: Option<bool>| {
            let mut listener = testing::listener(8000);
            let address: SocketAddr = text.parse().unwrap();
            listener.address = Some(address.ip());
            listener.port = address.port();
            listener.family = if address.is_ipv6() {
                Family::Tcp6
            } else {
                Family::Tcp4
            };
            listener.v6only = v6only;
            listener
        };
        for (want, other, v6only, taken) in [
            ("127.0.0.1:8000", "127.0.0.1:8000", None, true),
            ("127.0.0.1:8000", "0.0.0.0:8000", None, true),
            ("0.0.0.0:8000", "127.0.0.1:8000", None, true),
            (":8000", "127.0.0.2:8000", None, true),
            ("127.0.0.1:8000", "127.0.0.2:8000", None, false),
            ("127.0.0.1:8000", "127.0.0.1:8001", None, false),
            ("127.0.0.1:8000", "[::]:8000", Some(false), true),
            ("127.0.0.1:8000", "[::]:8000", Some(true), false),
            ("127.0.0.1:8000", "[::1]:8000", None, false),
            ("[::]:8000", "127.0.0.1:8000", None, true),
            ("[::1]:8000", "0.0.0.0:8000", None, false),
        ] {
            let is_taken = address(want).unwrap().is_taken_by(&had(other, v6only));
            assert_eq!(is_taken, taken, "{want} {other}");
        }
        let unix = address("unix:/run/x.sock").unwrap();
        assert!(unix.is_taken_by(&testing::unix("/run/x.sock")));
        assert!(!unix.is_taken_by(&testing::unix("/run/y.sock")));
    }
}
