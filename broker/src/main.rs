//! The `goldcrest` command.

fn main() -> std::process::ExitCode {
    goldcrest::cli::main()
}
