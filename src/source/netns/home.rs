//! Which namespace is the machine's first one? Seen from the namespace that this program lives in.

use std::path::Path;

const CORE: &str = "/proc/sys/net/core";

/// What is known of a namespace by where this program lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// True if it is the machine's first one; `None` if that cannot be told.
    pub host: Option<bool>,
    /// True if this program lives in it.
    pub own: bool,
}

/// True if this program lives in the machine's first namespace. Most of `net.core` belongs to that one alone
/// (net/core/sysctl_net_core.c, `net_core_table`), a few names to each of them.
pub fn is_host() -> Option<bool> {
    let has = |name: &str| Path::new(CORE).join(name).exists();
    match (has("netdev_max_backlog"), has("somaxconn")) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// Of a namespace, by whether it is this program's own and whether that is the machine's first one. From within another one
/// the rest cannot be told apart.
pub fn place(own: bool, own_is_host: Option<bool>) -> Place {
    let host = match (own, own_is_host) {
        (true, is) => is,
        (false, Some(true)) => Some(false),
        (false, _) => None,
    };
    Place { host, own }
}

/// `net.core.somaxconn` of the namespace that this program lives in.
pub fn somaxconn() -> Option<u32> {
    let text = std::fs::read_to_string(Path::new(CORE).join("somaxconn")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_from_the_first_namespace_are_others_known_to_be_others() {
        let host = |own, is| place(own, is).host;
        assert_eq!(host(true, Some(true)), Some(true));
        assert_eq!(host(true, Some(false)), Some(false));
        assert_eq!(host(false, Some(true)), Some(false));
        assert_eq!(host(false, Some(false)), None);
        assert_eq!(host(false, None), None);
    }
}
