#!/usr/bin/env bash
# All tests, in three processes beside each other: those that send packets and start programs wait for others most of
# their time, those in guests have kernels of their own, and the rest computes. Whatever is given is passed on to all.
# -m: without job control a shell lets what it starts beside itself ignore Ctrl-C, and with it whatever that starts.
set -muo pipefail
cd "$(dirname "$0")/.."

logs=$(mktemp -d)
others=()
beside() { # beside NAME MARKERS ARGUMENT...
    .venv/bin/pytest -m "$2" "${@:3}" >"$logs/$1" 2>&1 &
    others+=("$1:$!")
}
# Ends what runs beside it when this is interrupted.
trap 'kill "${others[@]#*:}" 2>/dev/null; rm -rf "$logs"' EXIT

beside packets "kernel or clients" "$@"
# Who waits for packets goes first: nobody waits for the others.
renice -n 5 $BASHPID >/dev/null
beside guests "vm or qemu" "$@"
.venv/bin/pytest -m "not kernel and not clients and not vm and not qemu" "$@"
codes=($?)
for one in "${others[@]}"; do
    wait "${one#*:}"
    codes+=($?)
    printf '\n%s:\n' "${one%%:*}"
    cat "$logs/${one%%:*}"
done

for code in "${codes[@]}"; do
    # 5: there was nothing to do, which may be where arguments name the tests.
    ((code == 0 || code == 5)) || exit 1
done
