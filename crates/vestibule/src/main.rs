//! The program: hands over to [`vestibule::cli`].

use std::process::ExitCode;

/// The C library's keeps what a crowd has used; this one gives it back (facts/performance.md §1.7, W7).
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    vestibule::cli::main()
}
