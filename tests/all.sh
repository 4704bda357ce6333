#!/bin/sh
# Installs what is needed and runs all checks: formatting, lints, tests, documentation, dependencies, and every interleaving of
# the gate.
set -eu
cd "$(dirname "$0")/.."
sh tests/setup.sh

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
# Two seconds for each fuzz target, elsewhere; here ten.
step env TIDEGATE_FUZZ_SECONDS=10 cargo test --locked
# Of the binary that the tests have run: it is there already.
binary=${CARGO_TARGET_DIR:-$PWD/target}/debug/tidegate
step env TIDEGATE_BIN="$binary" cargo bench --locked --profile dev --bench instructions -- --check
step env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
step sh tests/supply.sh
# A cfg of our own: `--cfg loom` would compile tokio's network away. It rebuilds everything, so it has its own folder.
step env RUSTFLAGS="--cfg tidegate_loom" cargo test --locked --test loom --target-dir target/loom
printf '\nall passed\n'
