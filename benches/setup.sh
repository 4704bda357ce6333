#!/bin/sh
# Installs what `cargo bench --bench compare` compares tidegate with, and what it measures with. As root, on Debian 12.
#
# - HAProxy, nginx and Caddy are Debian's, and so are h2load, whose clients speak TLS and HTTP/2, and perf, which counts
#   system calls.
# - Envoy and Traefik are in no Debian; PyPI has their programs as wheels (benches/peers/requirements.txt), which go into
#   target/peers/python.
# - Pingora is a library: benches/peers/pingora is a plain proxy on it, built into target/peers/pingora; it takes minutes.
#
# What cannot be had is named, and the comparison leaves it out. Nothing is started as a service, now or at the next boot:
# the bench runs its own on free ports of the loopback.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    echo "setup.sh: needs root, for apt-get" >&2
    exit 1
fi

# invoke-rc.d asks this program whether a freshly installed service may start: no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends haproxy nginx caddy nghttp2-client linux-perf python3-venv \
    cmake g++ libssl-dev make pkg-config >/dev/null

for service in haproxy nginx caddy; do
    if [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet "$service"
    else
        update-rc.d "$service" disable >/dev/null 2>&1 || true
    fi
done

peers=target/peers
wanted=benches/peers/requirements.txt
mkdir -p "$peers"
# The copy of the list is written last: where it is, all of it is installed.
if ! cmp -s "$wanted" "$peers/requirements.txt"; then
    rm -rf "$peers/python"
    if python3 -m venv "$peers/python" &&
        "$peers/python/bin/pip" install -q --disable-pip-version-check --no-deps -r "$wanted"; then
        cp "$wanted" "$peers/requirements.txt"
    else
        echo "setup.sh: Envoy and Traefik cannot be had from PyPI here; they are left out" >&2
    fi
fi

cargo build --quiet --locked --release --manifest-path benches/peers/pingora/Cargo.toml --target-dir "$peers/pingora" ||
    echo "setup.sh: the proxy on Pingora cannot be built here; it is left out" >&2

haproxy -v | head -n 1
nginx -v 2>&1
echo "Caddy $(caddy version)"
for envoy in "$peers"/python/lib/python3*/site-packages/envoy/_bin/envoy; do
    [ ! -x "$envoy" ] || "$envoy" --version | tr -s '\n'
done
[ ! -x "$peers/python/bin/traefik" ] || "$peers/python/bin/traefik" version | head -n 1
