//! The `longshore` program: a thin binary over the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::cli::main()
}
