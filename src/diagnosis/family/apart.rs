//! What a server has started: a process of its own, or a program that is a server by itself.

use std::sync::Arc;

use super::{Helper, Intent, Kind, Sorter, Traits, has_title};
use crate::snapshot::Process;

impl Sorter<'_> {
    /// True if a reloader has started it: that is the server, whatever else it is.
    pub(super) fn is_reloaded(&self, process: &Process, home: usize, intent: Intent) -> bool {
        let helps = matches!(intent, Intent::Helper(Helper::Tracker) | Intent::Works);
        let root = self.families.get(home).map(|family| &family.root);
        let reloads = |root: &Arc<Process>| {
            let traits = self.traits(root);
            traits.reloads && traits.supervises
        };
        !helps
            && root.is_some_and(|root| {
                let parent = self.python_parent(process);
                reloads(root) && parent.is_some_and(|parent| parent.key == root.key)
            })
    }

    /// True if a script has started a server of the same kind as the one that it is, or helps, by its name.
    pub(super) fn is_launched(&self, process: &Process, home: usize) -> bool {
        let root = self.families.get(home).map(|family| &family.root);
        let (Some(root), Some(parent)) = (root, self.python_parent(process)) else {
            return false;
        };
        let traits = self.traits(parent);
        let script = traits.intent == Intent::Unknown
            && !(traits.supervises || traits.reloads || traits.orphan)
            && !has_title(parent)
            && (parent.key == root.key || parent.cmdline != root.cmdline);
        script && !has_title(process) && !self.shares(process, &[root, parent])
    }

    /// True if the process has a socket that one of the others has, too.
    fn shares(&self, process: &Process, others: &[&Arc<Process>]) -> bool {
        let held = self.sockets.held_by(process);
        let theirs = |other: &&Arc<Process>| self.sockets.held_by(other);
        let mut theirs = others.iter().flat_map(theirs);
        theirs.any(|l| held.iter().any(|own| own.inode == l.inode))
    }

    /// The kind of a server that another one has started as a program of its own (a manager with a control port and what it
    /// runs): another command line, and no socket of those above it.
    pub(super) fn kind_apart(
        &self,
        process: &Process,
        home: usize,
        traits: Traits,
    ) -> Option<Kind> {
        let root = &self.families.get(home)?.root;
        let parent = self.python_parent(process)?;
        let same_program = process.cmdline.is_empty()
            || process.cmdline == root.cmdline
            || process.cmdline == parent.cmdline
            || traits.orphan
            || has_title(process);
        if traits.intent != Intent::Unknown || same_program {
            return None;
        }
        let shares = self.shares(process, &[root, parent]);
        (!shares).then(|| self.own_kind(process, traits)).flatten()
    }
}
