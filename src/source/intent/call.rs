//! What one line of a program says: which function it defines, what it calls, which server it makes or starts. By words alone.

/// Calls that start a server, by the end of the name before the bracket: `web.run_app(` and `run_app(` alike.
const CALLS: &[&str] = &[
    "start_server",
    "start_unix_server",
    "create_server",
    "create_unix_server",
    "serve_forever",
    "run_app",
    "run_simple",
    "run_server",
    "uvicorn.run",
    "bottle.run",
    "app.run",
    "application.run",
    "serve",
    "serve_tcp",
    "make_server",
    "wsgi.server",
    "HTTPServer",
    "TCPServer",
    "WSGIServer",
    "XMLRPCServer",
    "StreamServer",
    "TCPSite",
    "UnixSite",
    "listenTCP",
    "listen",
];

/// Of these, those that serve until they are told to end. To make a server, or to listen, is not yet to serve.
pub(super) const BLOCKING: &[&str] = &[
    "run_app",
    "uvicorn.run",
    "bottle.run",
    "app.run",
    "application.run",
    "Sanic.run",
    "serve_forever",
    "run_simple",
    "run_server",
    "serve",
    "serve_tcp",
    "wsgi.server",
];

/// A class whose objects serve when their `run` is called, and what that call is known by.
pub(super) type Maker = (&'static str, &'static str);

const MAKERS: &[Maker] = &[
    ("Flask", "app.run"),
    ("Quart", "app.run"),
    ("SocketIO", "app.run"),
    ("Dash", "app.run"),
    ("Bottle", "bottle.run"),
    ("Sanic", "Sanic.run"),
    ("uvicorn.Server", "uvicorn.run"),
];

/// The name that a line defines a function by.
pub(super) fn definition(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let (name, _) = rest.strip_prefix("def ")?.split_once('(')?;
    Some(name.trim_end())
}

/// What a function consists of that is defined on one line: `def serve(): app.run()` → `app.run()`.
pub(super) fn one_liner(line: &str) -> Option<&str> {
    definition(line)?;
    let mut depth = 0i32;
    let ends = |c: char| {
        depth += match c {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        c == ':' && depth == 0
    };
    let colon = line.find(ends)?;
    let body = line.get(colon + 1..)?.trim();
    (!body.is_empty() && !body.starts_with('#')).then_some(body)
}

pub(super) fn begins_with(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        line.strip_prefix(word).is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') || *word == "@"
        })
    })
}

pub(super) fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#') || text.starts_with(')')
}

pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `asyncio.run(main())` hides `main` from the stack while it waits.
pub(super) fn coroutines_started(line: &str) -> impl Iterator<Item = &str> {
    [
        "asyncio.run(",
        "run_until_complete(",
        "anyio.run(",
        "trio.run(",
        "runner.run(",
        "uvloop.run(",
    ]
    .into_iter()
    .filter_map(move |start| {
        let (_, rest) = line.split_once(start)?;
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        rest.get(..end).filter(|name| !name.is_empty())
    })
}

/// The call on a line that starts a server. A plain name may be the file's own for something else.
pub(super) fn server_call(line: &str, is_own: impl Fn(&str) -> bool) -> Option<&'static str> {
    let code = code_of(line);
    let is_own_at = |at: usize, call: &str| {
        let is_plain = code.get(..at).is_some_and(|before| !before.ends_with('.'));
        is_plain && is_own(call)
    };
    CALLS.iter().copied().find(|call| {
        code.match_indices(call)
            .any(|(at, _)| is_call(code, at, call) && !is_own_at(at, call))
    })
}

/// What the thread that runs a line does itself: not what it leaves to another thread, or for later.
pub(super) fn made_here(line: &str) -> &str {
    let is_whole = |at: &usize| {
        let (before, after) = (line.get(..*at), line.get(at + "lambda".len()..));
        !before.is_some_and(|b| b.ends_with(is_of_name))
            && !after.is_some_and(|a| a.starts_with(is_of_name))
    };
    let mut lambdas = line.match_indices("lambda").map(|(at, _)| at);
    let ends = [line.find("Thread("), lambdas.find(is_whole)];
    let end = ends.into_iter().flatten().min();
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

fn is_call(code: &str, at: usize, call: &str) -> bool {
    let before = code.get(..at).and_then(|b| b.chars().next_back());
    let after = code.get(at + call.len()..).unwrap_or("");
    let whole = !before.is_some_and(|c| is_of_name(c) || c == '"' || c == '\'');
    let prefixed = call.ends_with("Server") && before.is_some_and(|c| c.is_alphanumeric());
    (whole || prefixed)
        && after.starts_with('(')
        // `pubsub.listen()` of a consumer takes nothing; a server's takes a port or a backlog.
        && !(call == "listen" && (before != Some('.') || after.starts_with("()")))
}

/// Names of plain calls on a line: `main()`, `asyncio.run(main())`.
pub(super) fn called(line: &str) -> impl Iterator<Item = &str> {
    let code = code_of(line);
    code.match_indices('(').filter_map(move |(at, _)| {
        let (before, name) = split_name(code.get(..at)?, is_of_name);
        let plain = !before.ends_with('.');
        (plain && name.starts_with(|c: char| c.is_alphabetic() || c == '_')).then_some(name)
    })
}

/// `app = flask.Flask(__name__)`: the name that a line gives to what will serve, and what made it.
pub(super) fn made(line: &str) -> Option<(&str, Maker)> {
    let (name, value) = code_of(line).split_once('=')?;
    let name = name.split(':').next()?.trim();
    let callee = value.trim_start().split('(').next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| is_of_name(c) || c == '.');
    let maker = maker(callee)?;
    (is_name && value.contains('(')).then_some((name, maker))
}

fn maker(callee: &str) -> Option<Maker> {
    let is = |class: &str| {
        let before = callee.strip_suffix(class);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    MAKERS.iter().copied().find(|(class, _)| is(class))
}

/// Calls of `run` on one line: for each, what was made before it is searched for.
const RUNS: usize = 8;

/// The call of `run` of what a maker has made: by its name, or of what is made on the same line.
pub(super) fn run_of(line: &str, known: impl Fn(&str) -> Option<Maker>) -> Option<&'static str> {
    let code = code_of(line);
    code.match_indices(".run(").take(RUNS).find_map(|(at, _)| {
        let before = code.get(..at)?;
        let made = match before.strip_suffix(')') {
            Some(arguments) => maker(callee_of(arguments)?),
            None => known(split_name(before, |c| is_of_name(c) || c == '.').1),
        };
        made.map(|(_, call)| call)
    })
}

/// `x = Flask("shop"` → `Flask`: what is called with the bracket that is open at the end.
fn callee_of(arguments: &str) -> Option<&str> {
    let mut depth = 0i32;
    let (at, _) = arguments.char_indices().rev().find(|(_, c)| {
        depth += match c {
            ')' => 1,
            '(' => -1,
            _ => 0,
        };
        depth < 0
    })?;
    let before = arguments.get(..at)?;
    Some(split_name(before, |c| is_of_name(c) || c == '.').1)
}

/// A text, and the name that it ends with.
fn split_name(text: &str, of_name: impl Fn(char) -> bool) -> (&str, &str) {
    let start = text
        .char_indices()
        .rev()
        .find(|(_, c)| !of_name(*c))
        .map_or(0, |(at, c)| at + c.len_utf8());
    text.split_at(start)
}

fn code_of(line: &str) -> &str {
    line.split('#').next().unwrap_or(line)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_by_a_method_is_known_by_who_made_it() {
        let known = |name: &str| match name {
            "shop" => Some(("Flask", "app.run")),
            "self.api" => Some(("Sanic", "Sanic.run")),
            _ => None,
        };
        for (line, want) in [
            ("shop.run(port=1)", Some("app.run")),
            ("self.api.run()", Some("Sanic.run")),
            ("Flask(\"x\", static=f()).run(port=1)", Some("app.run")),
            ("ask(); flask.Flask('x').run()", Some("app.run")),
            ("uvicorn.Server(config).run()", Some("uvicorn.run")),
            ("job.run()", None),
            ("Pipeline(x).run()", None),
            ("NotFlask(x).run()", None),
            ("Server(config).run()", None),
            ("# Flask('x').run()", None),
        ] {
            assert_eq!(run_of(line, known), want, "{line}");
        }
        assert_eq!(made("shop = Flask(__name__)").map(|m| m.0), Some("shop"));
        assert_eq!(
            made("web: Flask = flask.Flask(__name__)").map(|m| m.0),
            Some("web")
        );
        assert_eq!(made("x == Flask(y)"), None);
        assert_eq!(made("Flask = None"), None);
    }

    #[test]
    fn a_function_may_be_one_line() {
        assert_eq!(
            one_liner("def serve(): srv.serve_forever()"),
            Some("srv.serve_forever()")
        );
        assert_eq!(
            one_liner("async def f(a: int = 3) -> str: return g(a)"),
            Some("return g(a)")
        );
        assert_eq!(one_liner("def f(a: int):"), None);
        assert_eq!(one_liner("def f():  # later"), None);
        assert_eq!(one_liner("f()"), None);
    }
}
