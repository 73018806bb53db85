//! Names of signals.

/// `SIGKILL`; signals without a name of their own (real-time ones) keep their number.
pub fn signal_name(signal: i32) -> String {
    let name = TABLE.iter().find(|(number, _)| *number == signal);
    name.map_or_else(
        || format!("signal {signal}"),
        |(_, name)| (*name).to_owned(),
    )
}

macro_rules! table {
    ($($name:ident),* $(,)?) => { &[$((libc::$name, stringify!($name))),*] };
}

const TABLE: &[(i32, &str)] = table![
    SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV,
    SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN,
    SIGTTOU, SIGURG, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS,
];

#[cfg(test)]
mod tests {
    use super::signal_name;

    #[test]
    fn signals_have_names_and_others_have_numbers() {
        for (signal, want) in [
            (9, "SIGKILL"),
            (15, "SIGTERM"),
            (40, "signal 40"),
            (0, "signal 0"),
        ] {
            assert_eq!(signal_name(signal), want);
        }
    }
}
