//! Which threads stand in the same place? Those of a pool often do; the main thread is always shown by itself.

use std::collections::BTreeMap;

use crate::snapshot::{Frame, Stack, Stacks};

/// Threads in one place: the first of them, and the others.
pub(super) struct Group<'a> {
    pub first: &'a Stack,
    pub others: Vec<&'a Stack>,
}

/// Groups in the order of their first threads.
pub(super) fn groups(stacks: &Stacks, main: u32) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: BTreeMap<Place<'_>, usize> = BTreeMap::new();
    for stack in &stacks.list {
        let place = Place::of(stack).filter(|_| stack.tid != Some(main) && !stack.is_main());
        let same = place.as_ref().and_then(|p| known.get(p).copied());
        match same.and_then(|at| groups.get_mut(at)) {
            Some(group) => group.others.push(stack),
            None => {
                if let Some(place) = place {
                    known.insert(place, groups.len());
                }
                groups.push(Group {
                    first: stack,
                    others: Vec::new(),
                });
            }
        }
    }
    groups
}

/// What threads in one place have in common: the application's innermost frame and the innermost of all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    own: Option<(&'a str, &'a str, u32)>,
    leaf: (&'a str, &'a str, u32),
    activity: String,
}

impl<'a> Place<'a> {
    fn of(stack: &'a Stack) -> Option<Self> {
        let told = |f: &'a Frame| (f.function.as_str(), f.file.as_str(), f.line);
        Some(Self {
            own: own(stack).map(told),
            leaf: told(stack.leaf()?),
            activity: crate::view::format::activity(stack.activity),
        })
    }
}

fn own(stack: &Stack) -> Option<&Frame> {
    stack.frames.iter().rev().find(|f| !f.is_library())
}

impl<'a> Group<'a> {
    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.others.len() + 1
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Stack> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The frame to name them by.
    pub(super) fn place(&self) -> Option<&'a Frame> {
        own(self.first).or_else(|| self.first.leaf())
    }

    /// What their names have in common: `asyncio_*`, `AnyIO worker thread`.
    pub(super) fn names(&self) -> String {
        let mut names = self.all().map(|s| s.name.as_deref().unwrap_or(""));
        let first = names.next().unwrap_or("");
        let common = names.fold(first, |common, name| {
            let same = common.char_indices().zip(name.chars());
            let end = same.take_while(|((_, a), b)| a == b).last();
            let end = end.map_or(0, |((at, c), _)| at + c.len_utf8());
            common.get(..end).unwrap_or("")
        });
        match (
            common.is_empty(),
            common == first && self.all().all(|s| s.name.as_deref() == Some(first)),
        ) {
            (true, _) => String::new(),
            (false, true) => common.to_owned(),
            (false, false) => format!("{common}*"),
        }
    }
}
