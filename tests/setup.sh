#!/bin/sh
# Installs what a build needs beside Rust: a C compiler, for the allocator. Debian and its kin; elsewhere it says what is
# missing.
set -eu
if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is missing; install Rust 1.95 or newer (https://rustup.rs)" >&2
    exit 1
fi
if command -v cc >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
else
    echo "setup: a C compiler (cc) is missing; install one, as with: apt-get install gcc libc6-dev" >&2
    exit 1
fi
