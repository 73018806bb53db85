//! `steth check --json` on one target, and what a test may say about the answer. Every failure dumps the whole of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::kernel;

/// `check` looks for as long as it is told, on for up to 10 s where processes come and go, and must then answer.
const LONGEST: Duration = Duration::from_secs(45);

/// One answer of `steth check`.
pub struct Verdict {
    document: Value,
    server: Option<Value>,
    exit: Option<i32>,
    root: u32,
    log: String,
}

impl Verdict {
    /// Asks about the server that has `pid` as one of its processes.
    pub fn of(pid: u32, observe: &str, log: &str) -> Verdict {
        let is = |value: &Value| value["pid"].as_u64() == Some(u64::from(pid));
        Verdict::pick(&[&pid.to_string()], observe, (pid, log), |server| {
            is(server) || processes(server).iter().any(is)
        })
    }

    /// Asks about the whole machine, and takes the server that has `word` in the command line of one of its processes:
    /// for one that is started again under another pid while steth looks.
    pub fn of_word(word: &str, root: u32, log: &str) -> Verdict {
        let says = |value: &Value| value["cmdline"].to_string().contains(word);
        Verdict::pick(&[], "3s", (root, log), |server| {
            processes(server).iter().any(says)
        })
    }

    fn pick(
        targets: &[&str],
        observe: &str,
        (root, log): (u32, &str),
        wanted: impl Fn(&Value) -> bool,
    ) -> Verdict {
        let args = [&["check", "--for", observe, "--json"][..], targets].concat();
        let (exit, stdout, stderr) = steth(&args);
        let document: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| {
            panic!("no JSON ({error}), exit {exit:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n--- log\n{log}")
        });
        assert_eq!(document["schema"], "steth.check/1");
        let servers = document["servers"].as_array().expect("servers is a list");
        let server = servers.iter().find(|server| wanted(server)).cloned();
        Verdict {
            document,
            server,
            exit,
            root,
            log: log.to_owned(),
        }
    }

    /// The server that the target belongs to.
    pub fn server(&self) -> &Value {
        match &self.server {
            Some(server) => server,
            None => self.fail("the target is in no server"),
        }
    }

    pub fn phase(&self, accepted: &[&str]) -> &Verdict {
        let phase = self.server()["phase"].as_str().unwrap_or_default();
        if !accepted.contains(&phase) {
            self.fail(&format!("phase is {phase:?}, not one of {accepted:?}"));
        }
        self
    }

    /// No finding of severity critical or warning, and exit code 0.
    pub fn quiet(&self) -> &Verdict {
        let loud = self.findings().iter().any(|finding| {
            ["critical", "warning"].contains(&finding["severity"].as_str().unwrap_or("none"))
        });
        if loud {
            self.fail("a false alarm");
        }
        self.exit(0)
    }

    pub fn exit(&self, code: i32) -> &Verdict {
        if self.exit != Some(code) {
            self.fail(&format!("exit code {:?}, not {code}", self.exit));
        }
        self
    }

    /// The first finding has one of these codes, and says what there is and what to do.
    pub fn first_finding(&self, accepted: &[&str]) -> &Verdict {
        let first = self.first();
        let code = first["code"].as_str().unwrap_or_default();
        if !accepted.contains(&code) {
            self.fail(&format!(
                "first finding is {code:?}, not one of {accepted:?}"
            ));
        }
        for key in ["summary", "remedy"] {
            if first[key].as_str().is_none_or(str::is_empty) {
                self.fail(&format!("the first finding has no {key}"));
            }
        }
        self
    }

    /// The first finding's culprit is this function (the last part of a qualified name).
    pub fn culprit(&self, function: &str) -> &Verdict {
        let culprit = self.first()["culprit"]["function"].as_str().unwrap_or("");
        if culprit.rsplit('.').next() != Some(function) {
            self.fail(&format!("culprit is {culprit:?}, not {function:?}"));
        }
        self
    }

    /// So many living processes have one of the roles (`"master|supervisor"`).
    pub fn role(&self, roles: &str, count: usize) -> &Verdict {
        let alive = |p: &&Value| p["phase"] != "exited";
        let fits = |p: &&Value| roles.split('|').any(|role| p["role"] == role);
        let seen = self.processes().iter().filter(alive).filter(fits).count();
        if seen != count {
            self.fail(&format!("{seen} processes of role {roles}, not {count}"));
        }
        self
    }

    /// Every living Python process below the root is in this server.
    pub fn whole_tree(&self) -> &Verdict {
        let members: Vec<u64> = self
            .processes()
            .iter()
            .filter_map(|p| p["pid"].as_u64())
            .collect();
        for pid in kernel::descendants(self.root) {
            if kernel::is_python(pid) && !members.contains(&u64::from(pid)) {
                self.fail(&format!(
                    "pid {pid} descends from the root and is not in the server"
                ));
            }
        }
        self
    }

    /// Some listener of the server satisfies this.
    pub fn listener(&self, what: &str, fits: impl Fn(&Value) -> bool) -> &Verdict {
        let listeners = self.server()["listeners"].as_array();
        if !listeners.is_some_and(|all| all.iter().any(fits)) {
            self.fail(&format!("no listener is {what}"));
        }
        self
    }

    /// The processes of the server.
    pub fn processes(&self) -> &[Value] {
        processes(self.server())
    }

    /// The target is no server, or one of phase `not-a-server`, and nothing is held against it.
    pub fn not_a_server(&self) -> &Verdict {
        if self.server.is_some() {
            self.phase(&["not-a-server"]);
            self.quiet();
        }
        self.exit(0)
    }

    fn findings(&self) -> &[Value] {
        let list = self.server()["findings"].as_array();
        list.map_or(&[], Vec::as_slice)
    }

    fn first(&self) -> &Value {
        match self.findings().first() {
            Some(first) => first,
            None => self.fail("there is no finding"),
        }
    }

    /// Fails the test with everything that is known.
    pub fn fail(&self, what: &str) -> ! {
        let shown = self.server.as_ref().unwrap_or(&self.document);
        panic!(
            "{what} (pid {}, exit {:?})\n{shown:#}\ngaps: {:#}\n--- log\n{}",
            self.root, self.exit, self.document["gaps"], self.log
        );
    }
}

fn processes(server: &Value) -> &[Value] {
    server["processes"].as_array().map_or(&[], Vec::as_slice)
}

/// Runs the program to its end, in bounded time: exit code, stdout, stderr.
pub fn steth(args: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_steth"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let longest = LONGEST + looks(args);
    let deadline = Instant::now() + longest;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("steth {args:?} did not end within {longest:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("a reader ends");
    (status.code(), text(out), text(err))
}

/// What `--for` says, in whole seconds.
fn looks(args: &[&str]) -> Duration {
    let mut after = args.iter().skip_while(|arg| **arg != "--for").skip(1);
    let seconds = after
        .next()
        .and_then(|time| time.strip_suffix('s')?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut pipe = pipe.expect("it is piped");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
