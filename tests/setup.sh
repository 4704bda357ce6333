#!/bin/sh
# Installs what builds and tests need beside Rust: a C compiler, for the allocator; curl and Python, for the tests against
# clients and servers that others wrote (tests/it/real), and in target/real what these import; valgrind and h2load, to count
# instructions (benches/instructions.rs). Debian and its kin; elsewhere it says what is missing. Quick when everything is
# there. With `build` it stops at what a build needs.
set -eu
cd "$(dirname "$0")/.."
if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is missing; install Rust 1.95 or newer (https://rustup.rs)" >&2
    exit 1
fi

missing=
command -v cc >/dev/null 2>&1 || missing="gcc libc6-dev"
if [ "${1-}" != build ]; then
    command -v curl >/dev/null 2>&1 || missing="$missing curl"
    python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 ||
        missing="$missing python3 python3-venv ca-certificates"
    command -v valgrind >/dev/null 2>&1 || missing="$missing valgrind"
    command -v h2load >/dev/null 2>&1 || missing="$missing nghttp2-client"
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq
        # shellcheck disable=SC2086 # several words
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "setup: something is missing; install it, as with: apt-get install $missing (Python 3.10 or newer)" >&2
        exit 1
    fi
fi

[ "${1-}" != build ] || exit 0

# The copy of the list is written last: where it is, all of it is installed.
wanted=tests/real/requirements.txt
real=target/real
if ! cmp -s "$wanted" "$real/requirements.txt"; then
    rm -rf "$real"
    python3 -m venv "$real"
    "$real/bin/pip" install -q --disable-pip-version-check --no-deps -r "$wanted"
    "$real/bin/pip" check >/dev/null
    cp "$wanted" "$real/requirements.txt"
fi
