//! Which Python it is: version and kind of build, by what the interpreter itself says in its memory.
//!
//! ```text
//!  3.13+        _Py_DebugOffsets at the start of _PyRuntime: cookie, version, free-threaded, offsets
//!  3.11, 3.12   the exported number Py_Version, and then as the older ones
//!  3.8 to 3.10  sys.hexversion, read with the layout of that very version
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::StackError;
use super::files::Files;
use super::heap::{Heap, Hints, SharedHints};
use super::layout::Layout;
use super::pages::Pages;
use super::version::{Version, version_in_name};

/// A version that this program's own reader knows.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Which.
    pub version: Version,
    /// Where things lie in it.
    pub layout: &'static Layout,
    /// Where other processes of the same files had things.
    pub hints: Arc<SharedHints>,
}

/// The cookie that `_PyRuntime` begins with from 3.13 on.
const COOKIE: [u8; 8] = *b"xdebugpy";

impl Identity {
    /// Of the process with these files and `_PyRuntime` here; `None` if the own reader does not know what it is.
    ///
    /// # Errors
    /// `Unsupported` for builds that no reader knows; `NotReady` before there is an interpreter; those of reading memory.
    pub fn read(pid: u32, files: &Files, runtime: &Range<u64>) -> Result<Option<Self>, StackError> {
        let hint = version_in_name(&files.name);
        let is_free = hint.as_ref().is_some_and(|(_, is_free)| *is_free);
        let mut pages = Pages::of_process(pid);
        // Cookie, version and flag in one: a process that ends between two reads would be another kind of build.
        let head = pages
            .now::<24>(runtime.start)
            .map_err(|error| StackError::from_io(pid, &error))?;
        let (words, _) = head.as_chunks::<8>();
        let [cookie, version, flag] = <[[u8; 8]; 3]>::try_from(words).unwrap_or_default();
        let told = if cookie == COOKIE {
            let hex = u64::from_ne_bytes(version) as u32;
            Version::from_hex(hex)
        } else {
            exported(pid, files)
        };
        if is_free || cookie == COOKIE && flag != [0; 8] {
            return Err(unsupported("free-threaded python", told.as_ref(), hint));
        }
        if files.is_debug() {
            return Err(unsupported("a debug build of python", told.as_ref(), hint));
        }
        match told {
            Some(version) => Self::told(pid, version, runtime),
            None => match silent(hint.as_ref()) {
                minors if minors.is_empty() => Ok(None),
                minors => Self::tried(pid, runtime, &minors),
            },
        }
    }

    fn new(version: Version, layout: &'static Layout) -> Self {
        Self {
            version,
            layout,
            hints: Arc::default(),
        }
    }

    /// By a version that the binary tells.
    fn told(pid: u32, version: Version, runtime: &Range<u64>) -> Result<Option<Self>, StackError> {
        let minor = u32::try_from(version.minor).unwrap_or(u32::MAX);
        match Layout::of(minor).filter(|_| version.major == 3) {
            Some(_) if minor < 13 => Self::tried(pid, runtime, &[minor]),
            Some(layout) => {
                let identity = Self::new(version, layout);
                Ok(has_offsets(pid, runtime, layout).then_some(identity))
            }
            None if version.is_supported() => Ok(None),
            None => Err(StackError::Unsupported(format!("python {version}"))),
        }
    }

    /// By trying layouts: the right one finds its own number.
    fn tried(pid: u32, runtime: &Range<u64>, minors: &[u32]) -> Result<Option<Self>, StackError> {
        let mut is_empty = true;
        for layout in minors.iter().filter_map(|minor| Layout::of(*minor)) {
            let mut heap = Heap::new(Pages::of_process(pid), layout, Hints::default());
            let found = hexversion(&mut heap, runtime);
            if let Some(error) = heap.pages.failure() {
                return Err(StackError::from_io(pid, &error));
            }
            is_empty &= found == Sought::Empty;
            if let Sought::Found(version) = found {
                return Ok(Some(Self::new(version, layout)));
            }
        }
        if is_empty {
            return Err(StackError::NotReady);
        }
        Ok(None)
    }
}

/// What came of looking for `sys.hexversion` by a layout.
#[derive(Debug, PartialEq, Eq)]
enum Sought {
    /// It is the number of this layout's version.
    Found(Version),
    /// There is no interpreter yet, or its `sys` is still empty.
    Empty,
    /// Something else is there.
    Strange,
}

fn hexversion(heap: &mut Heap, runtime: &Range<u64>) -> Sought {
    let head = heap.u64_in(runtime.start, heap.layout.runtime.interpreters);
    let sysdict = heap
        .interpreters(runtime.start)
        .and_then(|all| heap.u64_in(*all.first()?, heap.layout.interpreter.sysdict));
    if head == Some(0) || sysdict == Some(0) {
        return Sought::Empty;
    }
    let number = sysdict.and_then(|sys| heap.dict_get(sys, "hexversion"));
    let version = number
        .and_then(|number| u32::try_from(heap.int(number)?).ok())
        .and_then(Version::from_hex);
    let is_own = |v: &Version| v.major == 3 && v.minor == u64::from(heap.layout.minor);
    version
        .filter(is_own)
        .map_or(Sought::Strange, Sought::Found)
}

/// Versions that tell their number nowhere but in `sys`, the likeliest first; none if the name speaks of another.
fn silent(hint: Option<&(String, bool)>) -> Vec<u32> {
    let hint = hint.and_then(|(name, _)| name.strip_prefix("3.")?.parse::<u32>().ok());
    let mut minors = vec![8, 9, 10];
    match hint {
        Some(hint) if !minors.contains(&hint) => minors.clear(),
        Some(hint) => minors.sort_by_key(|minor| *minor != hint),
        None => {}
    }
    minors
}

/// The number `Py_Version`, exported by 3.11 and newer.
fn exported(pid: u32, files: &Files) -> Option<Version> {
    let at = files.address_of("Py_Version")?;
    Version::from_hex(Pages::of_process(pid).u32(at)?)
}

/// True if `_Py_DebugOffsets` (Include/internal/pycore_debug_offsets.h) says the same as the layout, where that can differ: a
/// patched or differently configured build has other offsets.
fn has_offsets(pid: u32, runtime: &Range<u64>, layout: &Layout) -> bool {
    let mut pages = Pages::of_process(pid);
    let mut told = |at: u64| pages.u64(runtime.start.checked_add(at)?);
    [
        (40, layout.runtime.interpreters),
        (56, layout.interpreter.id),
        (64, layout.interpreter.next),
        (72, layout.interpreter.threads),
    ]
    .into_iter()
    .all(|(at, field)| told(at).is_some_and(|offset| field.of(0) == Some(offset)))
}

fn unsupported(what: &str, version: Option<&Version>, hint: Option<(String, bool)>) -> StackError {
    let version = version.map(Version::to_string);
    let version = version.or(hint.map(|(name, _)| name)).unwrap_or_default();
    StackError::Unsupported(format!("{what} {version}").trim_end().to_owned())
}
