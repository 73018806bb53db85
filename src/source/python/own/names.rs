//! Names of threads: what `threading._active` says. A thread that `threading` does not know has none.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use super::super::heap::Heap;

const LONGEST: usize = 128;

/// Where in `sys.modules` and in `threading` a process had what is looked for: others of the same binary have it there too.
#[derive(Debug, Default)]
pub struct Hints {
    threading: AtomicUsize,
    active: AtomicUsize,
}

/// Names by pthread_self(), harmless; `None` if the interpreter has not imported `threading`, or that cannot be read now.
pub fn names(heap: &mut Heap, interpreter: u64, hints: &Hints) -> Option<HashMap<u64, String>> {
    let modules = heap.pointer_in(interpreter, heap.layout.interpreter.modules)?;
    let threading = heap.dict_get_near(modules, "threading", &hints.threading)?;
    let module = heap.type_of(threading)?;
    (&*module.name == "module").then_some(())?;
    // md_dict, Include/internal/pycore_moduleobject.h
    let namespace = heap.pointer(threading.checked_add(16)?)?;
    let active = heap.dict_get_near(namespace, "_active", &hints.active)?;
    let threads = heap.dict(active)?;
    heap.prepare(threads.iter().flat_map(|pair| [pair.0, pair.1]), 64);
    let mut names = HashMap::new();
    for (ident, thread) in threads {
        let name = heap.attribute(thread, "_name");
        if let (Some(ident), Some(name)) = (heap.int(ident), name) {
            let name = heap.text(name, LONGEST)?;
            names.insert(ident.cast_unsigned(), name);
        }
    }
    Some(names)
}
