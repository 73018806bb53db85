//! The file of a unix socket lets nobody connect but its owner: a proxy that runs as another user is refused.

use super::{Case, Verdict, finding, shell_word};
use crate::diagnosis::{Code, Phase, ServerListener, Severity, sockets};
use crate::snapshot::{Family, SocketFile};

/// To connect takes the right to write (unix(7)): of the group, of others.
const GROUP_OR_OTHERS: u32 = 0o022;

pub(super) fn examine(case: &Case) -> Verdict {
    if !matches!(case.server.phase, Phase::Serving | Phase::Listening) {
        return Verdict::Clear;
    }
    let unix = case.listening().filter(|l| l.socket.family == Family::Unix);
    let closed = unix.filter_map(|l| {
        let file = file(case, l)?;
        (file.mode & GROUP_OR_OTHERS == 0).then_some((l, file))
    });
    let Some((listener, file)) = closed.into_iter().next() else {
        return Verdict::Clear;
    };
    let address = sockets::address(&listener.socket);
    let path = listener.socket.path.as_deref().unwrap_or("");
    let mut found = finding(
        Code::SocketPermission,
        Severity::Info,
        format!(
            "only uid {} and root may connect to {address}: its mode is {:04o}, and a proxy that runs as another user gets EACCES (errno 13)",
            file.uid, file.mode
        ),
    );
    found.evidence.push(format!(
        "{path} has mode {:04o}, owner {} and group {}; connect() takes the right to write (stat, /proc/{}/root)",
        file.mode, file.uid, file.gid, case.server.pid
    ));
    found.remedy = "let the proxy's group in: its group as that of the socket and mode 0660 (gunicorn --umask 007 --group www-data, hypercorn -m 007, UMask=0007 in the unit), or run both as one user".into();
    let word = shell_word(path);
    found.confirm = format!("stat -c '%A %U %G %n' {word}; ps -o user,args -C nginx");
    Verdict::Found(Box::new(found))
}

fn file<'a>(case: &Case<'a>, listener: &ServerListener) -> Option<&'a SocketFile> {
    let files = &case.snapshot.socket_files;
    files.iter().find(|f| f.inode == listener.socket.inode)
}
