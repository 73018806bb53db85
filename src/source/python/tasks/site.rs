//! Places in code: which line an instruction is of, what the function is known for, what its variables are called.

use std::sync::{Arc, OnceLock};

use super::Look;
use super::call::{Call, call_of};
use super::chain::{Chains, Place};
use super::frame::{RawFrame, awaits, slot};
use super::kind::Kind;
use crate::snapshot::Frame;
use crate::source::python::heap::{Code, Heap};
use crate::source::python::pages::ByAddress;

/// A function; kept across snapshots.
#[derive(Debug)]
pub struct Site {
    /// Its code.
    pub code: Arc<Code>,
    /// What it waits for when it is the innermost one, if that is known.
    pub call: Option<Call>,
    /// What it is to an `async with` block.
    pub role: Role,
    names: OnceLock<Vec<String>>,
}

/// What a function is to an `async with` block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `__aenter__`
    Enters,
    /// `__aexit__`
    Leaves,
    /// Nothing.
    Other,
}

/// Functions met so far.
#[derive(Debug, Default)]
pub struct Sites {
    known: ByAddress<Arc<Site>>,
}

/// A place in a function where tasks stand.
#[derive(Debug, Clone)]
pub struct Spot {
    /// The function.
    pub site: Arc<Site>,
    /// The line, 0 if unknown.
    pub line: u32,
    /// True if what stands here awaits something.
    pub awaits: bool,
}

/// Places met in this snapshot: by code object, then by offset.
#[derive(Debug, Default)]
pub struct Spots {
    list: Vec<Spot>,
    /// The one that was asked for last: code object, instruction, place in the list.
    last: (u64, u64, usize),
    by_code: ByAddress<Vec<(u64, usize)>>,
}

/// Variables of one frame that are fetched beforehand.
const MOST_VARIABLES: u64 = 8;
const MOST_SITES: usize = 16_384;
const MOST_SPOTS_OF_A_CODE: usize = 256;

impl Sites {
    /// The function with this code object.
    pub fn of(&mut self, heap: &mut Heap, addr: u64) -> Option<Arc<Site>> {
        let code = heap.code(addr)?;
        if let Some(site) = self.known.get(&addr)
            && Arc::ptr_eq(&site.code, &code)
        {
            return Some(Arc::clone(site));
        }
        if self.known.len() >= MOST_SITES {
            self.known.clear();
        }
        let site = Arc::new(Site {
            call: call_of(&code.file, &code.function),
            role: match last_name(&code.function) {
                "__aenter__" => Role::Enters,
                "__aexit__" => Role::Leaves,
                _ => Role::Other,
            },
            code,
            names: OnceLock::new(),
        });
        self.known.insert(addr, Arc::clone(&site));
        Some(site)
    }
}

impl Site {
    /// The function's own name, without what it is defined in.
    pub fn name(&self) -> &str {
        last_name(&self.code.function)
    }

    fn place_of(&self, heap: &mut Heap, name: &str) -> Option<u64> {
        let names = match self.names.get() {
            Some(names) => names,
            None => {
                let names = heap.local_names(&self.code)?;
                self.names.get_or_init(|| names)
            }
        };
        names.iter().position(|n| n == name).map(|at| at as u64)
    }
}

fn last_name(qualified: &str) -> &str {
    qualified.rsplit('.').next().unwrap_or(qualified)
}

impl Spot {
    /// The frame that a person sees.
    pub fn frame(&self) -> Frame {
        Frame {
            function: (*self.site.code.function).to_owned(),
            file: (*self.site.code.file).to_owned(),
            line: self.line,
        }
    }
}

impl Look<'_> {
    /// Where a suspended frame of this state stands.
    pub fn spot(&mut self, frame: &RawFrame, state: i8) -> Option<usize> {
        // Tasks that were made together mostly stand together.
        let (code, instruction, last) = self.spots.last;
        if (code, instruction) == (frame.code, frame.instruction) {
            return Some(last);
        }
        let known = self.spots.by_code.get(&frame.code);
        let known = known.and_then(|all| all.iter().find(|(at, _)| *at == frame.instruction));
        let at = match known {
            Some((_, at)) => *at,
            None => self.new_spot(frame, state)?,
        };
        self.spots.last = (frame.code, frame.instruction, at);
        Some(at)
    }

    fn new_spot(&mut self, frame: &RawFrame, state: i8) -> Option<usize> {
        let site = self.sites.of(self.heap, frame.code)?;
        let offset = frame.offset(self.heap, &site.code)?;
        // Up to 3.10 what has not begun stands before the first instruction, on the line of the definition.
        let is_before =
            state == self.heap.layout.suspension.created && !self.heap.layout.frame.instr.exists();
        let line = match is_before {
            true => site.code.first_line,
            false => site.code.line(self.heap.layout.minor, offset).unwrap_or(0),
        };
        let awaits = awaits(self.heap, &site.code, offset, state)?;
        let at = self.spots.list.len();
        self.spots.list.push(Spot { site, line, awaits });
        let of_code = self.spots.by_code.entry(frame.code).or_default();
        if of_code.len() >= MOST_SPOTS_OF_A_CODE {
            of_code.clear();
        }
        of_code.push((frame.instruction, at));
        Some(at)
    }

    /// One of the places that [`Look::spot`] has found.
    pub fn at(&self, spot: usize) -> Option<&Spot> {
        self.spots.list.get(spot)
    }

    /// Notes that the variables of innermost frames that are known to wait will be read.
    pub fn want_variables(&mut self, chains: &Chains) {
        for leaf in chains.leaves() {
            let Place::Python(frame, at) = &leaf.place else {
                continue;
            };
            let site = self.at(*at).map(|spot| &spot.site);
            let Some(site) = site.filter(|site| site.call.is_some()) else {
                continue;
            };
            for place in 0..u64::from(site.code.locals).min(MOST_VARIABLES) {
                if let Some(value) = frame.local(self.heap, place) {
                    self.heap.want(value, 64);
                }
            }
        }
    }

    /// A variable of a frame by its name; what a cell holds for one that functions share.
    pub fn variable(&mut self, frame: &RawFrame, site: &Site, name: &str) -> Option<u64> {
        let place = site.place_of(self.heap, name)?;
        let value = frame.local(self.heap, place)?;
        match self.kind(value) {
            Kind::Cell => slot(self.heap, value.checked_add(16)?),
            _ => Some(value),
        }
    }
}
