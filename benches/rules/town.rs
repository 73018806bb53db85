//! Fifty processes of sixteen servers, most of which serve: the numbers move from look to look, and a few servers fail.

use std::fmt::Write;

use steth::snapshot::{Activity, Process, Snapshot, Task};

use crate::coroutines::{HasTasks, task};
use crate::tasks::{Doing, event};
use crate::world::{Build, End, World};

/// The sockets of servers: the port is the inode less this.
const INODES: u64 = 100_000;
/// The worker that cannot boot lives for so many looks.
const LIVES: usize = 12;
const MASTER_OF_DYING: u32 = 900;

/// The machine.
pub struct Town {
    world: World,
    /// Looks so far.
    pub turn: usize,
    dying: u32,
}

impl Town {
    pub fn new() -> Town {
        let mut world = World::new();
        for group in 0..4 {
            asgi_workers(&mut world, 100 + group * 10, 8100 + group as u16);
        }
        for single in 0..8 {
            asgi_single(&mut world, 200 + single, 8200 + single as u16);
        }
        for single in 0..4 {
            waitress(&mut world, 300 + single, 8300 + single as u16, "rests");
        }
        for group in 0..2 {
            thread_workers(&mut world, 400 + group * 10, 8400 + group as u16);
        }
        failing(&mut world);
        let mut town = Town {
            world,
            turn: 0,
            dying: MASTER_OF_DYING + 1,
        };
        town.start_dying();
        town
    }

    /// A tenth of a second later.
    pub fn look(&mut self) -> Snapshot {
        self.turn += 1;
        self.world.pass(0.1);
        if self.turn.is_multiple_of(LIVES) {
            self.world.end(self.dying, End::Code(3));
            self.dying += 1;
            self.start_dying();
        }
        let line = 100 + (self.turn % 7) as u32;
        for pid in (200..208).chain([101, 102, 111, 112, 121, 131]) {
            let busy = (self.turn + pid as usize).is_multiple_of(3);
            let process = self.world.p(pid);
            let loops = if pid < 200 {
                "@gunicorn-uvicorn"
            } else {
                "@uvicorn"
            };
            if busy {
                process.main(&format!(
                    "{loops} | @request | {} | price /srv/shop/prices.py:{line}",
                    layers(12)
                ));
                process.doing(Activity::Running);
            } else {
                process.main(&format!("{loops} | @poll")).at_rest();
            }
            process.clients(
                7_000 + u64::from(pid) * 300 + self.turn as u64 % 20,
                60,
                8000,
            );
        }
        self.world.waiting(INODES + 8200, (self.turn % 3) as u32);
        self.world.snapshot()
    }

    fn start_dying(&mut self) {
        let socket = INODES + 8900;
        self.world
            .start(self.dying, "/venv/bin/gunicorn -b 127.0.0.1:8900 shop:app")
            .parent(MASTER_OF_DYING)
            .main("@gunicorn-load | <module> /srv/shop/shop.py:3 | connect /srv/shop/db.py:9")
            .holds(socket);
    }
}

/// So many frames of middleware.
fn layers(count: usize) -> String {
    let mut text = String::new();
    for layer in 0..count {
        let bar = if layer == 0 { "" } else { " | " };
        write!(
            text,
            "{bar}Layer{layer}.__call__ pkg+starlette/middleware/layer{layer}.py:{}",
            40 + layer
        )
        .unwrap();
    }
    text
}

/// What a loop with clients has: its server's own tasks, and a request or two each.
fn requests(count: u64) -> Vec<Task> {
    let one = |id: u64| {
        let stack = "RequestResponseCycle.run_asgi pkg+uvicorn/protocols/http/httptools_impl.py:409 | @asgi | @endpoint | read_order /srv/shop/orders.py:31 | @event";
        task(id, &format!("Task-{id}"), stack).on(event(1))
    };
    (1..=count).map(one).collect()
}

fn listen(world: &mut World, port: u16) -> u64 {
    let inode = INODES + u64::from(port);
    world.listen(inode, port);
    inode
}

fn asgi_workers(world: &mut World, pid: u32, port: u16) {
    let socket = listen(world, port);
    let line = format!(
        "/venv/bin/gunicorn -k uvicorn.workers.UvicornWorker -w 4 -b 127.0.0.1:{port} shop:app"
    );
    world
        .old(pid, 900.0, &line)
        .main("@arbiter-idle")
        .holds(socket);
    for worker in pid + 1..pid + 5 {
        let process = world.old(worker, 880.0, &line).parent(pid);
        process.main("@gunicorn-uvicorn | @poll").at_rest();
        process.holds(socket).accepts(socket).tasks(requests(12));
        resting_threads(process, 3, "@anyio-rest | Queue.get std+queue.py:171");
        process.clients(7_000 + u64::from(worker) * 300, 60, port);
    }
}

fn asgi_single(world: &mut World, pid: u32, port: u16) {
    let socket = listen(world, port);
    let line = format!("/venv/bin/python -m uvicorn shop.main:app --port {port}");
    let process = world.old(pid, 600.0, &line);
    process.main("@uvicorn | @poll").at_rest();
    process.holds(socket).accepts(socket).tasks(requests(20));
    resting_threads(process, 5, "@anyio-rest | Queue.get std+queue.py:171");
}

fn waitress(world: &mut World, pid: u32, port: u16, doing: &str) {
    let socket = listen(world, port);
    let line = format!("/venv/bin/waitress-serve --port={port} shop:app");
    let process = world.old(pid, 700.0, &line);
    process.main("@waitress-idle").at_rest();
    process.holds(socket).accepts(socket);
    let stack = match doing {
        "rests" => "@waitress-rest".to_owned(),
        _ => format!(
            "@waitress-task | {} | print_label /srv/shop/labels.py:17 | Event.wait std+threading.py:629 | Condition.wait std+threading.py:331",
            layers(12)
        ),
    };
    resting_threads(process, 4, &stack);
    if doing != "rests" {
        process.clients(7_000 + u64::from(pid) * 300, 30, port);
    }
}

fn thread_workers(world: &mut World, pid: u32, port: u16) {
    let socket = listen(world, port);
    let line = format!("/venv/bin/gunicorn -w 3 --threads 6 -b 127.0.0.1:{port} blog:app");
    world
        .old(pid, 900.0, &line)
        .main("@arbiter-idle")
        .holds(socket);
    for worker in pid + 1..pid + 4 {
        let process = world.old(worker, 880.0, &line).parent(pid);
        process
            .main("@gthread-idle")
            .at_rest()
            .holds(socket)
            .accepts(socket);
        resting_threads(process, 6, "@executor-thread");
    }
}

fn resting_threads(process: &mut Process, count: u32, stack: &str) {
    for at in 1..=count {
        let tid = process.key.pid * 100 + at;
        process.thread(tid, &format!("worker-{at}"), stack, Activity::Lock);
    }
}

/// Ten processes of servers that fail, each in its own way, and of programs that are none.
fn failing(world: &mut World) {
    let uvicorn = |port: u16| format!("/venv/bin/uvicorn shop.main:app --port {port}");
    let deep = layers(10);
    world.old(500, 45.0, &uvicorn(8500)).main(&format!(
        "@uvicorn | @lifespan | {deep} | load_rules /srv/shop/rules.py:12"
    ));
    let waits = task(
        2,
        "Task-2",
        "@uvicorn-lifespan | lifespan /srv/shop/main.py:10 | connect /srv/shop/db.py:5 | @event",
    );
    world
        .old(501, 45.0, &uvicorn(8501))
        .main("@uvicorn | @poll")
        .at_rest()
        .tasks(vec![waits.on(event(1))]);
    let socket = listen(world, 8502);
    world.waiting(socket, 9);
    world
        .old(502, 300.0, &uvicorn(8502))
        .main(&format!(
            "@uvicorn | @request | {deep} | wait_printed /srv/shop/labels.py:8"
        ))
        .holds(socket)
        .armed(socket);
    waitress(world, 503, 8503, "prints");
    world.bind(INODES + 8504, 8504);
    world
        .old(504, 45.0, &uvicorn(8504))
        .main("@uvicorn | @lifespan | elect_leader /srv/shop/lead.py:4")
        .holds(INODES + 8504);
    world
        .old(505, 20.0, &uvicorn(8505))
        .main(&format!("@uvicorn-load | <module> /srv/shop/main.py:2 | {deep} | @import | <module> /srv/shop/tables.py:1"))
        .doing(Activity::Running);
    for script in 506..508 {
        world
            .old(script, 500.0, "python train.py")
            .main("<module> train.py:9 | fit train.py:4")
            .doing(Activity::Running);
    }
    let socket = listen(world, 8900);
    let line = "/venv/bin/gunicorn -b 127.0.0.1:8900 shop:app";
    world
        .old(MASTER_OF_DYING, 90.0, line)
        .main("@arbiter-idle")
        .holds(socket);
}
