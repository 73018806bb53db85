//! What of a program is code: texts, as those that describe a module or are printed, may say anything.

/// The program with nothing left of its texts in triple quotes but a pair of quotes, and with no call, comment or bracket in
/// its other texts, of which the words are kept: a command line may be one. Each line keeps its number; what follows a text
/// of several lines goes on where that began.
pub(super) fn without_texts(program: &str) -> String {
    let mut code = String::with_capacity(program.len());
    let mut owed = 0;
    let mut rest = program;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => match text_of(rest, c) {
                Text::OnLine(length) => {
                    let (text, behind) = rest.split_at(length);
                    code.push_str(&text.replace(MARKS, "_"));
                    rest = behind;
                    continue;
                }
                Text::Triple(length) => {
                    let (text, behind) = rest.split_at(length);
                    owed += text.matches('\n').count();
                    code.extend([c, c]);
                    rest = behind;
                    continue;
                }
            },
            _ => c.len_utf8(),
        };
        let (kept, behind) = rest.split_at(length);
        code.push_str(kept);
        if c == '\n' {
            code.extend(std::iter::repeat_n('\n', std::mem::take(&mut owed)));
        }
        rest = behind;
    }
    code
}

/// What would be taken for a part of the program.
const MARKS: [char; 7] = ['(', ')', '[', ']', '{', '}', '#'];

/// A text with its quotes, and how many bytes it has.
enum Text {
    OnLine(usize),
    Triple(usize),
}

/// The text that begins here. One that has no end reaches to the end of its line, or of the file.
fn text_of(rest: &str, quote: char) -> Text {
    let is_triple = rest.chars().take(3).filter(|c| *c == quote).count() == 3;
    let opening = if is_triple { 3 } else { 1 };
    let mut run = 0;
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(opening) {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            '\n' if !is_triple => return Text::OnLine(at),
            '\\' => escaped = true,
            _ => {}
        }
        run = if c == quote { run + 1 } else { 0 };
        if run == opening {
            let length = at + c.len_utf8();
            return match is_triple {
                true => Text::Triple(length),
                false => Text::OnLine(length),
            };
        }
    }
    match is_triple {
        true => Text::Triple(rest.len()),
        false => Text::OnLine(rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_triple_quotes_go_and_lines_keep_their_numbers() {
        for (program, want) in [
            (
                "\"\"\"By web.py: app.run()\"\"\"\nwork()\n",
                "\"\"\nwork()\n",
            ),
            (
                "def f():\n    '''One.\n\n    app.run()\n    '''\n    g()\n",
                "def f():\n    ''\n\n\n\n    g()\n",
            ),
            ("f(\"\"\"a\nb\"\"\", c())\nd()", "f(\"\", c())\n\nd()"),
            ("a = r'''\\''' b''' + c\n", "a = r'' + c\n"),
            // Neither a comment nor a text on one line begins one.
            ("# it's '''\nf('\"\"\"')\n", "# it's '''\nf('\"\"\"')\n"),
            (
                "f('it\\'s', \"#\", '')  # x\n",
                "f('it\\'s', \"_\", '')  # x\n",
            ),
            (
                "print(\"app.run() # {x}\", g())\n",
                "print(\"app.run__ _ _x_\", g())\n",
            ),
            ("x = 'a\\\nb()'\nc()\n", "x = 'a\\\nb__'\nc()\n"),
            ("x = 'open\ng()\n", "x = 'open\ng()\n"),
            ("g()\n\"\"\"open\napp.run()\n", "g()\n\"\""),
            ("é = '''ü\n'''\n", "é = ''\n\n"),
        ] {
            assert_eq!(without_texts(program), want, "{program}");
        }
    }
}
