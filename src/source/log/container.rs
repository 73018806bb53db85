//! Which container is a process in, and where does its runtime keep what it writes?

use std::path::PathBuf;

/// Names in /var/log/containers that are looked at.
const NAMES: usize = 16_384;

/// The id in a cgroup's path: 64 hexadecimal digits, as Docker (`docker-ID.scope`, `/docker/ID`), containerd
/// (`cri-containerd-ID.scope`), CRI-O (`crio-ID.scope`) and Podman (`libpod-ID.scope`) write it.
pub(super) fn id_of(cgroup: &str) -> Option<&str> {
    const DIGITS: usize = 64;
    cgroup.rsplit('/').find_map(|part| {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let id = name.rsplit(['-', ':']).next().unwrap_or(name);
        let is_id = id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then_some(id)
    })
}

/// The file in which a runtime on this machine keeps the output of a container; `None` if there is none that may be seen.
pub(super) fn log_of(id: &str) -> Option<PathBuf> {
    let docker = PathBuf::from(format!("/var/lib/docker/containers/{id}/{id}-json.log"));
    let podman = PathBuf::from(format!(
        "/var/lib/containers/storage/overlay-containers/{id}/userdata/ctr.log"
    ));
    [docker, podman]
        .into_iter()
        .find(|path| path.is_file())
        .or_else(|| kubernetes(id, "/var/log/containers"))
}

/// The kubelet links each container's log as `POD_NAMESPACE_CONTAINER-ID.log`.
fn kubernetes(id: &str, folder: &str) -> Option<PathBuf> {
    let end = format!("-{id}.log");
    let names = std::fs::read_dir(folder).ok()?.flatten().take(NAMES);
    names
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|n| n.ends_with(&end))
        })
        .map(|entry| entry.path())
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_paths_of_all_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod1-2/{id}"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/system.slice/containerd.service/kubepods-burstable:cri-containerd:{id}"),
        ] {
            assert_eq!(id_of(&path), Some(id.as_str()), "{path}");
        }
        for path in [
            "/",
            "/system.slice/shop.service",
            "/docker/0123456789abcdef",
            "",
        ] {
            assert_eq!(id_of(path), None, "{path}");
        }
        assert_eq!(log_of(&id), None);
    }

    #[test]
    fn the_kubelets_links_name_the_container() {
        let folder = tempfile::tempdir().unwrap();
        let id = "f".repeat(64);
        let path = folder.path().join(format!("shop-1_default_web-{id}.log"));
        std::fs::write(&path, "").unwrap();
        std::fs::write(folder.path().join("shop-1_default_web-x.log"), "").unwrap();
        let name = folder.path().to_str().unwrap();
        assert_eq!(kubernetes(&id, name), Some(path));
        assert_eq!(kubernetes(&"e".repeat(64), name), None);
    }
}
