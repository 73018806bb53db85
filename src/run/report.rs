//! `report`: what is or was wrong, as one document: of looks at this machine, or of a recording by the rules of today.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::past;
use super::{complain, complain_of_unmatched, observe, print};
use crate::cli::{self, ExitStatus};
use crate::feed::Player;
use crate::recording::{Frames, Recording};
use crate::select;
use crate::source::clock;
use crate::view::report::{About, Report};

pub(super) fn report(arguments: &cli::Report) -> Result<ExitStatus> {
    let Some(form) = Form::of(&arguments.output) else {
        complain("steth: a report ends in .html or .md, or goes to - (standard output)");
        return Ok(ExitStatus::Usage);
    };
    let report = match &arguments.from {
        Some(file) => of_recording(file, arguments)?,
        None => of_this_machine(arguments),
    };
    match report {
        Ok(report) => write(&form.document(&report), &arguments.output),
        Err(status) => Ok(status),
    }
}

/// What a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Html,
    Markdown,
}

impl Form {
    /// By the name of the file.
    fn of(output: &Path) -> Option<Self> {
        if output == Path::new("-") {
            return Some(Self::Markdown);
        }
        let extension = output.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "html" | "htm" => Some(Self::Html),
            "md" | "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }

    fn document(self, report: &Report) -> String {
        match self {
            Self::Html => report.html(),
            Self::Markdown => report.markdown(),
        }
    }
}

/// What is said of where the looks are from.
fn about(source: String, arguments: &cli::Report) -> About {
    let targets: Vec<String> = arguments.targets.iter().map(ToString::to_string).collect();
    About {
        source,
        made_ms: clock::wall_ms(),
        kernel: None,
        utc_offset_s: clock::utc_offset_s(),
        targets: targets.join(" "),
        damage: String::new(),
    }
}

fn of_this_machine(arguments: &cli::Report) -> Result<Report, ExitStatus> {
    let mut report = Report::new(About {
        kernel: clock::kernel_release(),
        ..about("this machine".to_owned(), arguments)
    });
    let (scene, whole) = observe(&arguments.targets, arguments.observe, |scene| {
        if let Some(snapshot) = &scene.snapshot {
            report.note(snapshot, &scene.diagnosis);
        }
    });
    let snapshot = scene.snapshot.as_deref();
    match complain_of_unmatched(&whole, snapshot, &arguments.targets) {
        Some(status) => Err(status),
        None => Ok(report),
    }
}

fn of_recording(file: &Path, arguments: &cli::Report) -> Result<Result<Report, ExitStatus>> {
    let name = file.display().to_string();
    let recording = Recording::open(file).with_context(|| name.clone())?;
    let mut report = Report::new(About {
        kernel: recording.header().kernel.clone(),
        ..about(format!("the recording {name}"), arguments)
    });
    if recording.count() == 0 {
        complain(&format!("steth: {name}: no look was recorded"));
        return Ok(Err(ExitStatus::Usage));
    }
    let damage = past::damage(&recording);
    let mut player = Player::new(Arc::new(recording));
    let mut any = arguments.targets.is_empty();
    while let Some(seen) = player.read_on() {
        let selected = select::select(seen.diagnosis, &arguments.targets);
        any |= !selected.servers.is_empty();
        report.note(&seen.snapshot, &selected);
    }
    if !any {
        let words = "nothing in the recording is what was asked for";
        complain(&format!("steth: {name}: {words}"));
        return Ok(Err(ExitStatus::Usage));
    }
    report.tell_damage(damage, player.unread());
    Ok(Ok(report))
}

/// Into a file beside it first: a report that is there is whole.
fn write(document: &str, output: &Path) -> Result<ExitStatus> {
    if output == Path::new("-") {
        print(document)?;
        return Ok(ExitStatus::Healthy);
    }
    let name = output.display();
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    std::io::Write::write_all(&mut file, document.as_bytes())
        .with_context(|| format!("cannot write {name}"))?;
    file.persist(output)
        .with_context(|| format!("cannot write {name}"))?;
    Ok(ExitStatus::Healthy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_decides() {
        for (name, want) in [
            ("a.html", Some(Form::Html)),
            ("b/A.HTML", Some(Form::Html)),
            ("c.md", Some(Form::Markdown)),
            ("-", Some(Form::Markdown)),
            ("d.pdf", None),
            ("e", None),
        ] {
            assert_eq!(Form::of(Path::new(name)), want, "{name}");
        }
    }
}
