//! The binary: parse, dispatch, exit code.

use std::process::ExitCode;

// Faster and steadier than the system's allocator with many small, short-lived buffers on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
