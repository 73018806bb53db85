//! Which parts of a command line are secrets? An argument ends where the kernel says so: its value may hold anything, unlike one
//! in a text. An argument may also be a text itself: a whole command (`sh -c`), a title.

use super::{ENDS, MASK, is_in_clear, is_secret, masked_where, value_of, without_credentials};

/// What ends a word for a shell, as far as a value without quotes goes.
const SHELL_ENDS: [char; 7] = [' ', ';', '&', '|', ')', '\'', '"'];

/// A command line with the secrets in its arguments masked, also those that follow their option as an argument of their own.
pub fn masked_arguments(arguments: &[String]) -> Vec<String> {
    if is_in_clear() {
        return arguments.to_vec();
    }
    let words = hidden_behind_options(arguments.iter().map(String::as_str));
    let before = std::iter::once("").chain(words.iter().copied());
    let mask = |(word, before): (&&str, &str)| {
        masked_argument(word, is_command_option(before) && word.contains(' '))
    };
    words.iter().zip(before).map(mask).collect()
}

/// `-c` of shells and of Python, and `-lc`: a command follows.
fn is_command_option(word: &str) -> bool {
    let letters = word.strip_prefix('-').and_then(|w| w.strip_suffix('c'));
    letters.is_some_and(|letters| letters.chars().all(|c| c.is_ascii_alphabetic()))
}

/// What follows an option that takes a secret is hidden.
fn hidden_behind_options<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut hides_next = false;
    let hide = |word: &'a str| {
        let hide = std::mem::take(&mut hides_next) && !word.starts_with('-');
        hides_next = word.starts_with("--") && !word.contains('=') && takes_secret(word);
        if hide { MASK } else { word }
    };
    words.map(hide).collect()
}

/// True for the name of an option, a variable or a header whose value is a secret: one that switches off takes no value, and the
/// path of a file is none.
fn takes_secret(name: &str) -> bool {
    let name = name.trim_start_matches('-').replace('_', "-");
    let name = name.to_ascii_lowercase();
    let is_off = ["no-", "disable-", "without-", "skip-"]
        .iter()
        .any(|start| name.starts_with(start));
    let is_place = ["-file", "-path"].iter().any(|end| name.ends_with(end));
    is_secret(&name) && !is_off && !is_place
}

/// One argument. `auth:app` names a module and what is in it: the colon of an identifier hides nothing, that of a header
/// (`X-Api-Key:abc`) or of a text does.
fn masked_argument(argument: &str, is_command: bool) -> String {
    if !is_command && let Some(name) = name_of_all(argument) {
        return format!("{name}{MASK}");
    }
    let text = masked_where(&without_credentials(argument), secret_in_text);
    if text.contains(' ') && text.contains("--") {
        hidden_behind_options(text.split(' ')).join(" ")
    } else {
        text
    }
}

/// `--password=`, `API_KEY=`, `Authorization: ` where all that follows in the argument is the secret.
fn name_of_all(argument: &str) -> Option<&str> {
    let (name, rest) = argument.split_at_checked(argument.find(['=', ':'])?)?;
    let is_name = name
        .chars()
        .all(|c| c.is_alphanumeric() || "-_.".contains(c));
    if !is_name || !takes_secret(name) {
        return None;
    }
    let value = match rest.strip_prefix(':') {
        Some(value) => is_header(name, value).then(|| value.trim_start_matches(' '))?,
        None => rest.strip_prefix('=')?,
    };
    let is_told = !value.is_empty() && !value.starts_with("//");
    is_told.then(|| argument.strip_suffix(value)).flatten()
}

/// True if this stands before and behind the colon of a header, not of `module:attribute`.
fn is_header(name: &str, value: &str) -> bool {
    // `Authorization:Bearer …`: what is in a module has no space.
    let is_scheme = name.eq_ignore_ascii_case("authorization") && value.contains(' ');
    name.contains('-') || value.starts_with(' ') || is_scheme
}

/// Where the secret is behind a name in a command or a title.
fn secret_in_text(name: &str, sign: &str, rest: &str) -> Option<(usize, usize)> {
    if !takes_secret(name) {
        return None;
    }
    match sign {
        "=" if name.starts_with("--") => value_of(rest, &SHELL_ENDS),
        "=" => value_of(rest, &ENDS),
        _ => {
            let hides = name.contains('-') || rest.starts_with([' ', '\'', '"']);
            hides.then(|| value_of(rest, &ENDS)).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked<const N: usize>(arguments: [&str; N]) -> Vec<String> {
        masked_arguments(&arguments.map(str::to_owned))
    }

    #[test]
    fn an_option_hides_the_argument_after_it() {
        let arguments = [
            "app",
            "--password",
            "pw",
            "--token",
            "--port",
            "80",
            "url=x://u:p@h",
        ];
        assert_eq!(
            masked(arguments),
            [
                "app",
                "--password",
                "•••",
                "--token",
                "--port",
                "80",
                "url=x://u:•••@h"
            ]
        );
    }

    #[test]
    fn arguments_keep_the_names_of_modules() {
        for (argument, want) in [
            ("auth:app", "auth:app"),
            ("shop.token:create_app()", "shop.token:create_app()"),
            ("gunicorn: master [auth:app]", "gunicorn: master [auth:app]"),
            ("X-Api-Key:abc", "X-Api-Key:•••"),
            ("Authorization: abc", "Authorization: •••"),
            ("{'password': 'p'}", "{'password': '•••'}"),
            ("API_KEY=abc", "API_KEY=•••"),
            (
                "exec python app.py --password hunter2 --port 80",
                "exec python app.py --password ••• --port 80",
            ),
        ] {
            assert_eq!(masked([argument]), [want]);
        }
    }

    #[test]
    fn a_value_ends_where_its_argument_ends() {
        for (argument, want) in [
            ("--password=abc,def", "--password=•••"),
            ("--password=a b;c&d)e'f", "--password=•••"),
            ("DB_PASSWORD=a,b", "DB_PASSWORD=•••"),
            ("--password=", "--password="),
            ("Authorization: Bearer eyJhbGciOi.J9", "Authorization: •••"),
            ("Authorization:Bearer eyJhbGciOi.J9", "Authorization:•••"),
            ("authorization:app", "authorization:app"),
            ("Cookie: a=1; b=2", "Cookie: •••"),
            ("--header=X: Bearer eyJhbGciOi.J9", "--header=X: Bearer •••"),
            (
                "--url=http://h/?token=a&x=1",
                "--url=http://h/?token=•••&x=1",
            ),
        ] {
            assert_eq!(masked([argument]), [want]);
        }
    }

    #[test]
    fn commands_stay_readable() {
        for (command, want) in [
            (
                "TOKEN=abc exec uvicorn auth:app --password=a,b --port 80",
                "TOKEN=••• exec uvicorn auth:app --password=••• --port 80",
            ),
            (
                "curl -H 'authorization:bearer eyJhbGciOi.J9' http://u:pw@h/",
                "curl -H 'authorization:bearer •••' http://u:•••@h/",
            ),
        ] {
            assert_eq!(masked(["sh", "-c", command]), ["sh", "-c", want]);
        }
    }

    #[test]
    fn what_takes_no_secret_hides_nothing() {
        for arguments in [
            ["--disable-auth", "app:app"],
            ["--no-token", "8000"],
            ["--without-auth", "app:app"],
            ["--skip-token", "app:app"],
            ["--key-file", "/etc/key.pem"],
            ["--token_path", "/run/token"],
            ["run", "--key-file=/etc/key.pem"],
            ["run", "DB_PASSWORD_FILE=/run/db"],
        ] {
            assert_eq!(masked(arguments), arguments);
        }
        assert_eq!(masked(["--notary-key", "abc"]), ["--notary-key", "•••"]);
    }
}
