//! Values by name: in dictionaries whose keys are strings, in modules.
//!
//! The hash of a string depends on a secret, so a dictionary is read from its first key to its last. Yet processes of one program
//! fill their dictionaries in one order: where a name was found is where it is looked for first, in the next object of a kind
//! and in the next process of a binary.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Heap;
use super::states::MOST_INTERPRETERS;
use crate::source::python::pages::ByAddress;

/// Where names were found in their dictionaries. A hint may be wrong: what it leads to is compared.
#[derive(Debug, Default)]
pub struct Hints {
    /// Shared with the readers of other processes.
    shared: Arc<SharedHints>,
    own: ByAddress<usize>,
}

/// By the address of the name in this program.
#[derive(Debug, Default)]
pub struct SharedHints(Mutex<ByAddress<usize>>);

/// Names that are remembered at most; there are not so many in this program.
const MOST_HINTS: usize = 1024;

impl Hints {
    /// Of a process of the binary that these are of.
    pub fn new(shared: Arc<SharedHints>) -> Self {
        let own = ByAddress::default();
        Self { shared, own }
    }

    fn of(&mut self, name: &'static str) -> Option<usize> {
        let key = name.as_ptr().addr() as u64;
        if let Some(known) = self.own.get(&key) {
            return Some(*known);
        }
        let known = *self.shared.lock().get(&key)?;
        self.own.insert(key, known);
        Some(known)
    }

    fn note(&mut self, name: &'static str, at: usize) {
        let key = name.as_ptr().addr() as u64;
        let before = self.own.insert(key, at);
        // What changes from object to object is of no use to others.
        if before.is_none() {
            let mut shared = self.shared.lock();
            if shared.len() < MOST_HINTS {
                shared.insert(key, at);
            }
        }
    }
}

impl SharedHints {
    fn lock(&self) -> std::sync::MutexGuard<'_, ByAddress<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Modules that are looked for in `sys.modules`: all at once, for it has hundreds.
const MODULES: [&str; 6] = [
    "threading",
    "_asyncio",
    "asyncio.tasks",
    "_collections_abc",
    "anyio.lowlevel",
    "concurrent.futures.thread",
];

/// `sys.modules` of one interpreter, when it was read last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    dict: u64,
    used: u64,
    found: [Option<u64>; MODULES.len()],
}

/// By interpreter.
#[derive(Debug, Default)]
pub struct Modules(HashMap<u64, Imported>);

impl Heap {
    /// The value of a key in a `dict` whose keys are strings.
    pub fn dict_get(&mut self, object: u64, key: &'static str) -> Option<u64> {
        let [found] = self.dict_get_all(object, [key])?;
        found
    }

    /// The values of several keys of such a dictionary, in their order.
    pub fn dict_get_all<const N: usize>(
        &mut self,
        object: u64,
        keys: [&'static str; N],
    ) -> Option<[Option<u64>; N]> {
        let pairs = self.dict(object)?;
        Some(self.find(&pairs, keys))
    }

    /// The same among pairs of keys and values.
    pub(super) fn find<const N: usize>(
        &mut self,
        pairs: &[(u64, u64)],
        names: [&'static str; N],
    ) -> [Option<u64>; N] {
        let hinted = names.map(|name| pairs.get(self.hints.of(name)?).copied());
        if N > 1 {
            self.prepare(hinted.iter().flatten().map(|pair| pair.0), 80);
        }
        let mut found = [None; N];
        for ((name, hint), slot) in names.iter().zip(hinted).zip(&mut found) {
            let hint = hint.filter(|(key, _)| self.text_is(*key, name));
            *slot = hint.map(|(_, value)| value);
        }
        if found.iter().all(Option::is_some) {
            return found;
        }
        self.prepare(pairs.iter().map(|pair| pair.0), 80);
        for (at, (key, value)) in pairs.iter().enumerate() {
            for (name, slot) in names.iter().zip(&mut found) {
                if slot.is_none() && self.text_is(*key, name) {
                    *slot = Some(*value);
                    self.hints.note(name, at);
                }
            }
        }
        found
    }

    /// Where the modules of an interpreter are that are looked for here; read again when modules came or went.
    pub fn modules(&mut self, interpreter: u64) -> Option<Imported> {
        let dict = self.pointer_in(interpreter, self.layout.interpreter.modules)?;
        let used = self.pages.u64(dict.checked_add(16)?)?;
        let known = self.imported.0.get(&interpreter);
        if let Some(known) = known.filter(|known| (known.dict, known.used) == (dict, used)) {
            return Some(*known);
        }
        // Hundreds of keys: they are not to be read again with each snapshot.
        let keeps = std::mem::replace(&mut self.pages.keeps, false);
        let found = self.dict_get_all(dict, MODULES);
        self.pages.keeps = keeps;
        let found = found?;
        let imported = Imported { dict, used, found };
        if self.imported.0.len() >= MOST_INTERPRETERS {
            self.imported.0.clear();
        }
        self.imported.0.insert(interpreter, imported);
        Some(imported)
    }

    /// The dictionary of a module, if it has been imported; it is one of those that are looked for here.
    pub fn module(&mut self, modules: &Imported, name: &str) -> Option<u64> {
        let at = MODULES.iter().position(|module| *module == name)?;
        let module = (*modules.found.get(at)?)?;
        (&*self.type_of(module)?.name == "module").then_some(())?;
        // md_dict, Include/internal/pycore_moduleobject.h
        let dict = self.pointer(module.checked_add(16)?)?;
        (&*self.type_of(dict)?.name == "dict").then_some(dict)
    }
}
