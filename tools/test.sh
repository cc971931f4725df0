#!/usr/bin/env bash
# All tests, in two processes: those in guests wait for a slow kernel most of their time, so they run beside the others.
# Whatever is given is passed on to both.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
.venv/bin/pytest -m "vm or qemu" "$@" >"$log" 2>&1 &
guests=$!
# Ends what runs beside it when this is interrupted.
trap 'kill "$guests" 2>/dev/null; rm -f "$log"' EXIT

.venv/bin/pytest -m "not vm and not qemu" "$@"
others=$?
wait "$guests"
in_guests=$?

echo
echo "In guests:"
cat "$log"
# 5: there was nothing to do, which may be where arguments name the tests.
exit $(((others && others != 5) || (in_guests && in_guests != 5)))
