//! What journald keeps of a unit, asked of journalctl: a program that may be absent, slow, or have a lot to say.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::time::{Duration, Instant};

use super::wrapped::{self, Unwrapped};

/// Entries that are asked for at once, and bytes of the answer that are read.
const ENTRIES: u32 = 500;
const ANSWER: u64 = 2 << 20;
/// So long may journalctl take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that may wait.
const QUEUE: usize = 64;
/// Between two questions about the same unit, and so many times longer than the last answer took.
const PAUSE: Duration = Duration::from_secs(2);
const SHARE: u32 = 20;

/// Asks journalctl on a thread of its own.
#[derive(Debug)]
pub(super) struct Journal {
    /// The program, and arguments of its own before ours.
    program: Vec<String>,
    asker: Option<(SyncSender<Question>, Receiver<Answer>)>,
}

#[derive(Debug)]
struct Question {
    cgroup: String,
    /// What has been read already ends here.
    after: Option<String>,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Answer {
    pub cgroup: String,
    /// Entries, oldest first; or why there are none.
    pub entries: Result<Vec<Unwrapped>, String>,
    /// Where the next question begins.
    pub cursor: Option<String>,
    pub took: Duration,
}

/// What is remembered of one unit.
#[derive(Debug, Default)]
pub(super) struct Followed {
    cursor: Option<String>,
    is_asked: bool,
    next: Option<Instant>,
    /// Why it could not be read when it was last asked for.
    pub failed: Option<String>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            program: vec!["journalctl".to_owned()],
            asker: None,
        }
    }
}

impl Journal {
    /// Asks for what a unit has written since the last answer, if it is time to. Never blocks.
    pub(super) fn ask(&mut self, cgroup: &str, followed: &mut Followed, now: Instant) {
        if followed.is_asked || followed.next.is_some_and(|next| now < next) {
            return;
        }
        if self.asker.is_none() {
            self.asker = start(self.program.clone()).ok();
        }
        let question = Question {
            cgroup: cgroup.to_owned(),
            after: followed.cursor.clone(),
        };
        followed.is_asked = self
            .asker
            .as_ref()
            .is_some_and(|(sender, _)| sender.try_send(question).is_ok());
    }

    /// An answer that has come.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        let (_, answers) = self.asker.as_ref()?;
        match answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.asker = None;
                None
            }
        }
    }
}

impl Followed {
    /// Takes note of an answer; true if it is the first one.
    pub(super) fn note(&mut self, answer: &Answer, now: Instant) -> bool {
        let is_first = self.cursor.is_none();
        self.is_asked = false;
        self.next = Some(now + PAUSE.max(answer.took.saturating_mul(SHARE)));
        self.failed = answer.entries.as_ref().err().cloned();
        if answer.cursor.is_some() {
            self.cursor.clone_from(&answer.cursor);
        }
        is_first
    }
}

fn start(program: Vec<String>) -> std::io::Result<(SyncSender<Question>, Receiver<Answer>)> {
    let (sender, questions) = sync_channel::<Question>(QUEUE);
    let (answers, received) = channel();
    std::thread::Builder::new()
        .name("steth-journal".to_owned())
        .spawn(move || {
            for question in questions {
                if answers.send(answer(&program, question)).is_err() {
                    return;
                }
            }
        })?;
    Ok((sender, received))
}

fn answer(program: &[String], question: Question) -> Answer {
    let began = Instant::now();
    let read = run(program, &question);
    let (entries, cursor) = match read {
        Ok(output) => {
            let (entries, cursor) = parse(&output);
            (Ok(entries), cursor)
        }
        Err(error) => (Err(error), None),
    };
    Answer {
        cgroup: question.cgroup,
        entries,
        cursor,
        took: began.elapsed(),
    }
}

/// Entries of `journalctl -o json`, and the cursor of the last of them.
fn parse(output: &[u8]) -> (Vec<Unwrapped>, Option<String>) {
    let mut cursor = None;
    let mut entries = Vec::new();
    for line in output.split(|b| *b == b'\n') {
        if let Some((entry, at)) = wrapped::journal(line) {
            entries.push(entry);
            cursor = Some(at);
        }
    }
    (entries, cursor)
}

fn run(program: &[String], question: &Question) -> Result<Vec<u8>, String> {
    let [program, arguments @ ..] = program else {
        return Err("there is no journalctl".to_owned());
    };
    // Without a cursor these are the last entries, with one the first after it.
    let lines = format!("--lines={ENTRIES}");
    let after = question.after.iter();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["--output=json", "--no-pager", "--quiet", &lines])
        .arg("--output-fields=MESSAGE,_PID")
        .args(after.map(|cursor| format!("--after-cursor={cursor}")))
        .arg(format!("_SYSTEMD_CGROUP={}", question.cgroup))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program}: {error}"),
    })?;
    let output = read_in_time(&mut child);
    // What it has not said by now is not waited for.
    let _ = child.kill();
    let status = child
        .wait()
        .map_err(|error| format!("{program}: {error}"))?;
    let output = output
        .ok_or_else(|| format!("{program} has not answered within {} s", PATIENCE.as_secs()))?;
    match status.code() {
        Some(code) if code != 0 && output.is_empty() => {
            Err(format!("{program} ended with code {code}"))
        }
        _ => Ok(output),
    }
}

/// All that a child says, at most [`ANSWER`] bytes; `None` if it takes too long.
fn read_in_time(child: &mut Child) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new()
        .name("steth-journalctl".to_owned())
        .spawn(move || {
            let mut output = Vec::new();
            let read = stdout.take(ANSWER).read_to_end(&mut output);
            let _ = sender.send(read.map(|_| output));
        })
        .ok()?;
    receiver.recv_timeout(PATIENCE).ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that stands in for journalctl.
    fn script(text: &str) -> Vec<String> {
        ["sh", "-c", text, "journalctl"].map(str::to_owned).to_vec()
    }

    fn ask(program: &[String], after: Option<&str>) -> Answer {
        answer(
            program,
            Question {
                cgroup: "/system.slice/shop.service".into(),
                after: after.map(str::to_owned),
            },
        )
    }

    #[test]
    fn entries_come_with_a_cursor_to_go_on_from() {
        let program = script(
            r#"for word in "$@"; do last=$word; case $word in --after-cursor=*) after=${word#*=};; esac; done
echo "{\"__CURSOR\":\"c1\",\"MESSAGE\":\"$last\"}"
echo "not JSON"
echo "{\"__CURSOR\":\"c2\",\"MESSAGE\":\"after $after\"}""#,
        );
        let answer = ask(&program, Some("c0"));
        assert_eq!(answer.cursor.as_deref(), Some("c2"));
        let texts: Vec<Vec<u8>> = answer
            .entries
            .unwrap()
            .into_iter()
            .map(|e| e.text)
            .collect();
        let want: [&[u8]; 2] = [b"_SYSTEMD_CGROUP=/system.slice/shop.service", b"after c0"];
        assert_eq!(texts, want);
    }

    #[test]
    fn its_absence_and_its_failure_are_said() {
        let missing = ask(&["/nowhere/journalctl".to_owned()], None);
        let words = missing.entries.unwrap_err();
        assert!(words.contains("is not installed"), "{words}");
        let failing = ask(&script("exit 3"), None);
        assert!(failing.entries.unwrap_err().contains("code 3"));
        let silent = ask(&script("exit 0"), None);
        assert_eq!((silent.entries, silent.cursor), (Ok(Vec::new()), None));
    }

    #[test]
    fn a_unit_is_not_asked_for_again_before_its_time() {
        let program = script(r#"echo '{"__CURSOR":"c1","MESSAGE":"x"}'"#);
        let mut journal = Journal {
            program,
            asker: None,
        };
        let mut followed = Followed::default();
        let now = Instant::now();
        journal.ask("/a.service", &mut followed, now);
        assert!(followed.is_asked);
        let deadline = now + Duration::from_secs(30);
        let answer = loop {
            if let Some(answer) = journal.answer() {
                break answer;
            }
            assert!(Instant::now() < deadline, "no answer");
            std::thread::yield_now();
        };
        assert!(followed.note(&answer, now));
        assert!(!followed.note(&answer, now));
        journal.ask("/a.service", &mut followed, now);
        assert!(!followed.is_asked);
        let later = now + Duration::from_secs(3600);
        journal.ask("/a.service", &mut followed, later);
        assert!(followed.is_asked);
    }
}
