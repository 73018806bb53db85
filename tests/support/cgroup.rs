//! A cgroup of a test's own, version 1 or 2, removed when dropped.

use std::path::{Path, PathBuf};

use super::python::is_root;

/// What a cgroup limits.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// CPU time, in thousandths of a core.
    CpuPermille(u32),
    /// Memory without swap, in MiB.
    MemoryMiB(u64),
}

/// A cgroup below the root of its hierarchy.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one for `word`; where this machine lets nobody make any, the reason.
    pub fn new(word: &str, limit: Limit) -> Result<Cgroup, String> {
        is_root()?;
        let (controller, files) = match limit {
            Limit::CpuPermille(share) => ("cpu", cpu(share)),
            Limit::MemoryMiB(size) => ("memory", memory(size)),
        };
        let first = Path::new("/sys/fs/cgroup").join(controller);
        let (parent, files) = if first.join("tasks").exists() {
            (first, files.0)
        } else {
            let root = Path::new("/sys/fs/cgroup");
            write(
                &root.join("cgroup.subtree_control"),
                &format!("+{controller}"),
            )?;
            (root.to_owned(), files.1)
        };
        let cgroup = Cgroup(parent.join(format!("steth-test-{}-{word}", std::process::id())));
        let made = std::fs::create_dir(&cgroup.0);
        made.map_err(|error| format!("{}: {error}", cgroup.0.display()))?;
        for (file, value) in files {
            write(&cgroup.0.join(file), &value)?;
        }
        Ok(cgroup)
    }

    /// A line for `sh -c` that enters it and becomes the command.
    pub fn line(&self, command: &str) -> String {
        format!(
            "echo $$ > {}/cgroup.procs && exec {command}",
            self.0.display()
        )
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes are killed before it, and may take a moment to be gone.
        super::eventually(super::PATIENCE, || std::fs::remove_dir(&self.0).is_ok());
    }
}

type Files = Vec<(&'static str, String)>;

/// Files of version 1, and of version 2.
fn cpu(permille: u32) -> (Files, Files) {
    let quota = permille * 100;
    (
        vec![
            ("cpu.cfs_period_us", "100000".into()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ],
        vec![("cpu.max", format!("{quota} 100000"))],
    )
}

fn memory(size: u64) -> (Files, Files) {
    let bytes = (size << 20).to_string();
    (
        vec![("memory.limit_in_bytes", bytes.clone())],
        vec![("memory.max", bytes), ("memory.swap.max", "0".into())],
    )
}

fn write(path: &Path, value: &str) -> Result<(), String> {
    std::fs::write(path, value).map_err(|error| format!("{}: {error}", path.display()))
}
