#!/bin/sh
# Installs what `cargo bench --bench proxy` compares tidegate with: Debian's HAProxy and nginx, and h2load, whose clients speak
# TLS and HTTP/2. As root, on Debian 12.
# Neither is started as a service, now or at the next boot: the bench runs its own on free ports of the loopback.
set -eu

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
apt-get install -y -qq --no-install-recommends haproxy nginx nghttp2-client >/dev/null

for service in haproxy nginx; do
    if [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet "$service"
    else
        update-rc.d "$service" disable >/dev/null 2>&1 || true
    fi
done

haproxy -v | head -n 1
nginx -v 2>&1
