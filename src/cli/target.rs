//! What selects servers, as it is typed and as it is told back.

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
}
