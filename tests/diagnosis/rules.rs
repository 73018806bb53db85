//! Each rule with cases that fire it, and cases that nearly do.

use steth::diagnosis::{Code, Diagnosis, Severity};

use super::fleet;
use super::world::{Build, World, find};

#[path = "rules/addresses.rs"]
mod addresses;
#[path = "rules/boot.rs"]
mod boot;
#[path = "rules/deaths.rs"]
mod deaths;
#[path = "rules/drains.rs"]
mod drains;
#[path = "rules/limits.rs"]
mod limits;
#[path = "rules/loops.rs"]
mod loops;
#[path = "rules/queues.rs"]
mod queues;
#[path = "rules/quotas.rs"]
mod quotas;

/// What must be found at the end.
struct Fires {
    name: &'static str,
    story: fn(&mut World) -> Diagnosis,
    severity: Severity,
    culprit: Option<&'static str>,
    says: &'static [&'static str],
}

/// What must never be found on the way.
type Nearly = (&'static str, fn(&mut World) -> Diagnosis);

/// A case that fires.
fn fires(
    name: &'static str,
    story: fn(&mut World) -> Diagnosis,
    severity: Severity,
    culprit: Option<&'static str>,
    says: &'static [&'static str],
) -> Fires {
    Fires {
        name,
        story,
        severity,
        culprit,
        says,
    }
}

fn check(code: Code, fires: &[Fires], nearly: &[Nearly]) {
    for case in fires {
        let name = case.name;
        let mut w = World::new();
        let seen = (case.story)(&mut w);
        let server = seen.servers.iter().find(|s| s.root.pid == 10);
        let server = server.unwrap_or_else(|| panic!("{name}: no server"));
        let found = find(server, code);
        assert_eq!(found.severity, case.severity, "{name}: {}", found.summary);
        let function = found.culprit.as_ref().map(|c| c.function.as_str());
        assert_eq!(function, case.culprit, "{name}: {}", found.summary);
        for word in case.says {
            assert!(
                found.summary.contains(word),
                "{name}: no {word:?} in {:?}",
                found.summary
            );
        }
    }
    for (name, story) in nearly {
        let mut w = World::new();
        story(&mut w);
        assert!(
            !w.ever.contains_key(&code),
            "{name}: a false {}",
            code.word()
        );
    }
}

/// uvicorn with workers whose startup does not end: the port is bound by the supervisor, and that is all.
fn bound(w: &mut World, age: f64) {
    w.bind(500, 8000);
    w.old(
        10,
        age,
        "/venv/bin/uvicorn shop.main:app --port 8000 --workers 2",
    )
    .main("@uvicorn-supervisor")
    .holds(500);
    for pid in [11, 12] {
        starting(fleet::spawned(w, pid), "@uvicorn-worker").holds(500);
        let started = w.ago(age);
        w.born(pid, started);
    }
}

fn starting<'a>(
    process: &'a mut steth::snapshot::Process,
    base: &str,
) -> &'a mut steth::snapshot::Process {
    process.main(&format!(
        "{base} | @lifespan | lifespan /srv/shop/main.py:30 | fill_cache /srv/shop/cache.py:12"
    ))
}

/// gunicorn whose workers import something heavy: the master listens.
fn listening(w: &mut World, age: f64) {
    fleet::gunicorn_master(w);
    for pid in [11, 12] {
        fleet::gunicorn_child(w, pid)
            .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3 | @import | <module> /srv/shop/prices.py:8 | load_prices /srv/shop/prices.py:5")
            .holds(500);
        w.born(pid, w.ago(age));
    }
    w.born(10, w.ago(age));
}

/// uvicorn that has served, and whose handler now sleeps.
fn held(w: &mut World) {
    fleet::uvicorn(w);
    w.watch(1.0);
    w.p(10)
        .main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7")
        .armed(500);
}

const DB: &str = "lifespan /srv/shop/main.py:30 | wait_for_database /srv/shop/db.py:31";

/// uvicorn, so many seconds old, whose lifespan is on the stack.
fn lifespan(w: &mut World, age: f64, inner: &str) {
    w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main(&format!("@uvicorn | @lifespan | {inner}"));
}
