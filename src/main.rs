//! The `junto` program.

fn main() -> std::process::ExitCode {
    junto::cli::main()
}
