#!/usr/bin/env bash
# Install what is missing: Debian packages with apt, Python packages from the lock file into .venv.
# With --tests, also what only tests need. Called by `make`; safe to run again, and quick when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

# command or file that shows that a package is there -> the package that brings it
needed=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || needed+=("$2")
}
need ip iproute2
need nft nftables
need iptables-nft-restore iptables
need conntrack conntrack
need curl curl
need kubectl kubernetes-client
# Without it nft prints protocol numbers instead of names.
[ -e /etc/protocols ] || needed+=(netbase)
# Only for tests: on a machine with systemd, Debian starts a server where one is installed.
[ "${1:-}" != --tests ] || need etcd etcd-server
# What the house's habits are held to is what git knows.
[ "${1:-}" != --tests ] || need git git
# The guests in which the mode ipvs and SCTP are tested, and what loads their modules; Debian has them for PCs only.
if [ "${1:-}" = --tests ] && [ "$(uname -m)" = x86_64 ]; then
    need linux.uml user-mode-linux
    need ipvsadm ipvsadm
    need ipset ipset
    need qemu-system-x86_64 qemu-system-x86
    [ -x /usr/sbin/modprobe ] || [ -x /sbin/modprobe ] || needed+=(kmod)
fi
PYTHON=${PYTHON:-python3}
need "$PYTHON" python3
"$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1 || needed+=(python3-venv)

if [ ${#needed[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "Missing: ${needed[*]}. Install these packages (Debian: apt-get install ${needed[*]}), or run as root." >&2
        exit 1
    fi
    echo "Installing Debian packages: ${needed[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    SYSTEMD_OFFLINE=1 apt-get install -y -qq --no-install-recommends "${needed[@]}" >/dev/null
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Fairway needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version). Set PYTHON to another one." >&2
    exit 1
}

stamp=.venv/installed.lock
if ! cmp -s requirements.lock "$stamp" || ! .venv/bin/python -c 'import fairway' 2>/dev/null; then
    echo "Installing Python packages into .venv"
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
    cp requirements.lock "$stamp"
fi

# Not installed but unpacked below /var/cache/fairway: an installed kernel would be a way to boot this machine.
if [ "${1:-}" = --tests ] && [ "$(uname -m)" = x86_64 ]; then
    .venv/bin/python -m fairway.lab.vm.stock >/dev/null ||
        echo "Tests that need Debian's stock kernel will be skipped." >&2
fi
