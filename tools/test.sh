#!/usr/bin/env bash
# All tests, in three processes beside each other: those that send packets and start programs wait for others most of
# their time, those in guests have kernels of their own, and the rest computes. Whatever is given is passed on to all.
# The last lines say which of them failed, where anybody sees it who is shown the end of it alone.
# -m: without job control a shell lets what it starts beside itself ignore Ctrl-C, and with it whatever that starts.
set -muo pipefail
cd "$(dirname "$0")/.."

# What was wrong with a test that failed is in the same line, where that is long enough.
export COLUMNS=${COLUMNS:-200}
logs=$(mktemp -d)
others=()
beside() { # beside NAME MARKERS ARGUMENT...
    .venv/bin/pytest -m "$2" "${@:3}" >"$logs/$1" 2>&1 &
    others+=("$1:$!")
}
# Who is interrupted ends what runs beside it, as Ctrl-C would, and waits until it has cleared away what it made.
trap 'kill -INT "${others[@]#*:}" 2>/dev/null; wait; rm -rf "$logs"' EXIT
trap 'exit 130' INT

beside packets "kernel or clients" "$@"
# Who waits for packets goes first: nobody waits for the others.
renice -n 5 $BASHPID >/dev/null
beside guests "vm or qemu" "$@"
# From here on Ctrl-C is for this shell, too: pytest ends by itself, and would not be known to have been interrupted.
set +m
color=auto
[[ -t 1 ]] && color=yes
.venv/bin/pytest --color="$color" -m "not kernel and not clients and not vm and not qemu" "$@" 2>&1 |
    tee -i "$logs/rest"
codes=("rest:${PIPESTATUS[0]}")
for one in "${others[@]}"; do
    wait "${one#*:}"
    codes+=("${one%%:*}:$?")
    printf '\n%s:\n' "${one%%:*}"
    cat "$logs/${one%%:*}"
done
others=()

printf '\nAll three:\n'
failed=0
for one in "${codes[@]}"; do
    name=${one%%:*} code=${one#*:}
    printf '%-8s %s\n' "$name" "$(tail -n 1 "$logs/$name")"
    # 5: there was nothing to do, which may be where arguments name the tests.
    ((code == 0 || code == 5)) && continue
    failed=1
    printf '%-8s ended with exit code %d:\n' "$name" "$code"
    grep -E $'^(\e\\[[0-9;]*m)*(FAILED|ERROR)' "$logs/$name" || tail -n 40 "$logs/$name"
done
exit "$failed"
