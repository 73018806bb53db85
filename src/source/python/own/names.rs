//! Names of threads: what `threading._active` says. A thread that `threading` does not know has none.

use std::collections::HashMap;

use super::super::heap::Heap;

const LONGEST: usize = 128;

/// What `threading` knows of a thread.
#[derive(Debug)]
pub struct Known {
    /// Its name, harmless.
    pub name: String,
    /// True if the interpreter's exit does not wait for it.
    pub daemon: Option<bool>,
}

/// Names by pthread_self(); `None` if the interpreter has not imported `threading`, or that cannot be read now.
pub fn names(heap: &mut Heap, interpreter: u64) -> Option<HashMap<u64, Known>> {
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
            let daemon = heap.attribute(thread, "_daemonic");
            let daemon = daemon.and_then(|flag| heap.int(flag)).map(|flag| flag != 0);
            names.insert(ident.cast_unsigned(), Known { name, daemon });
        }
    }
    Some(names)
}
