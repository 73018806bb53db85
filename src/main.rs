//! Parses, runs, exits. Nothing else lives here.

fn main() -> std::process::ExitCode {
    steth::run::main()
}
