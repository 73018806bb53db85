//! Names of threads: what `threading._active` says. A thread that `threading` does not know has none.

use std::collections::HashMap;

use super::super::heap::Heap;

const LONGEST: usize = 128;

/// Names by pthread_self(), harmless; `None` if the interpreter has not imported `threading`, or that cannot be read now.
pub fn names(heap: &mut Heap, interpreter: u64) -> Option<HashMap<u64, String>> {
    let modules = heap.modules(interpreter)?;
    let threading = heap.module(&modules, "threading")?;
    let active = heap.dict_get(threading, "_active")?;
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
