//! Versions of interpreters: which there is a reader for, and what a file name tells of one.

use py_spy::PythonSpy;

/// Version of an interpreter; py-spy's own type has no name outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// 2 or 3.
    pub major: u64,
    /// Of the minor version the structures depend.
    pub minor: u64,
    /// Bug-fix release.
    pub patch: u64,
    /// `rc1` and its like; mostly empty.
    pub flags: String,
}

impl Version {
    /// From `PY_VERSION_HEX` (Include/patchlevel.h); `None` if that is no number of a version.
    pub fn from_hex(hex: u32) -> Option<Self> {
        let [major, minor, patch, release] = hex.to_be_bytes();
        let flags = match (release >> 4, release & 15) {
            (0xa, serial) => format!("a{serial}"),
            (0xb, serial) => format!("b{serial}"),
            (0xc, serial) => format!("rc{serial}"),
            (0xf, _) => String::new(),
            _ => return None,
        };
        matches!(major, 2 | 3).then(|| Self {
            major: major.into(),
            minor: minor.into(),
            patch: patch.into(),
            flags,
        })
    }

    /// Sets it as the one that a `PythonSpy` reads.
    pub fn write_to(&self, spy: &mut PythonSpy) {
        spy.version.major = self.major;
        spy.version.minor = self.minor;
        spy.version.patch = self.patch;
        spy.version.release_flags.clone_from(&self.flags);
        spy.version.build_metadata = None;
    }

    /// True if there is a reader for it.
    pub fn is_supported(&self) -> bool {
        matches!((self.major, self.minor), (2, 7) | (3, 6..=15))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}.{}.{}{}",
            self.major, self.minor, self.patch, self.flags
        )
    }
}

/// The version that a file name tells: `python3.11`, `libpython3.13t.so.1.0`, `python2.7`. The second value is true for a
/// free-threaded build.
pub fn version_in_name(name: &str) -> Option<(String, bool)> {
    let rest = name
        .strip_prefix("lib")
        .unwrap_or(name)
        .strip_prefix("python")?;
    let end = rest
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, flags) = rest.split_at(end);
    let (major, minor) = digits.trim_end_matches('.').split_once('.')?;
    let told = matches!(major, "2" | "3") && minor.parse::<u8>().is_ok();
    let free_threaded = flags.starts_with('t') && !flags.starts_with("to");
    told.then(|| (format!("{major}.{minor}"), free_threaded))
}

/// True for `libpython3.11.so.1.0` and its like, but not for `libpython3.so`, which only forwards.
pub fn is_libpython(name: &str) -> bool {
    name.starts_with("libpython") && name.contains(".so") && version_in_name(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_versions() {
        let cases: &[(&str, Option<(&str, bool)>)] = &[
            ("python3.11", Some(("3.11", false))),
            ("python2.7", Some(("2.7", false))),
            ("python3.13t", Some(("3.13", true))),
            ("libpython3.13t.so.1.0", Some(("3.13", true))),
            ("libpython3.6m.so.1.0", Some(("3.6", false))),
            ("libpython3.11.so.1.0", Some(("3.11", false))),
            ("python3", None),
            ("python", None),
            ("libpython3.so", None),
            ("libboost_python311.so", None),
            ("python3.tool", None),
        ];
        for (name, want) in cases {
            let want = want.map(|(version, free)| (version.to_owned(), free));
            assert_eq!(version_in_name(name), want, "{name}");
        }
        assert!(is_libpython("libpython3.9.so.1.0"));
        assert!(!is_libpython("libpython3.so"));
        assert!(!is_libpython("python3.9"));
    }

    #[test]
    fn numbers_tell_versions() {
        let told = |hex| Version::from_hex(hex).map(|version| version.to_string());
        assert_eq!(told(0x030b_07f0).as_deref(), Some("3.11.7"));
        assert_eq!(told(0x030e_00c2).as_deref(), Some("3.14.0rc2"));
        assert_eq!(told(0x030f_00a1).as_deref(), Some("3.15.0a1"));
        assert_eq!(
            (told(0), told(0x030b_0700), told(u32::MAX)),
            (None, None, None)
        );
    }

    #[test]
    fn readers_exist_for_some() {
        let version = |major, minor| Version {
            major,
            minor,
            patch: 1,
            flags: "rc2".to_owned(),
        };
        let supported = [(2, 7), (3, 6), (3, 15)];
        let others = [(2, 6), (3, 5), (3, 16), (0, 0)];
        assert!(
            supported
                .iter()
                .all(|&(major, minor)| version(major, minor).is_supported())
        );
        assert!(
            !others
                .iter()
                .any(|&(major, minor)| version(major, minor).is_supported())
        );
        assert_eq!(version(3, 15).to_string(), "3.15.1rc2");
    }
}
