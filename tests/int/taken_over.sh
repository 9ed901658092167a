#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest kernel that somebody has broken into gains nothing: seen from outside it has no right on the host, and from inside it
# reaches no port, file, process, group or call that is not its tenant's (tests/taken/taken.c tries).
. tests/lib/cluster.sh
work=$PANDO_TEST_DIR

# What it must not reach: a port, a socket and an abstract socket of the host. They live as long as fd 9.
mkfifo "$work/in" "$work/out"
name=pando-taken-$(basename "$work")
python3 -c '
import socket, sys
t = socket.socket(); t.bind(("127.0.0.1", 0)); t.listen()
u = socket.socket(socket.AF_UNIX); u.bind("\0" + sys.argv[1]); u.listen()
p = socket.socket(socket.AF_UNIX); p.bind(sys.argv[2]); p.listen()
print(t.getsockname()[1], flush=True)
sys.stdin.read()
' "$name" "$work/sock" <"$work/in" >"$work/out" &
exec 9>"$work/in"
read -r port <"$work/out"

# Its own copy of the programs, in which the kernel is the taken one. pandod hands PANDO_* on to it.
cp -r "$BIN" "$work/bin" && cp "$B/taken/pando-kernel" "$work/bin/pando-kernel" || fail "copy the programs"
BIN=$work/bin
export PANDO_TAKEN="$port $work/sock $name"
cluster_up 1 >/dev/null
p tenant add bob >/dev/null && p tenant add alice >/dev/null || fail "tenant add"
spawn_as bob sleep 300
bob_runs() { p ps bob -o csv | grep -q 'sleep 300'; }
wait_for 10 bob_runs || fail "bob runs nothing"
as alice true || fail "the taken kernel does not serve"

log=$CLUSTER_DIR/n1/log/kernel-alice.log
grep '^taken: ' "$log" | sed 's/^taken: //'
grep -qE "^taken: another's pid is [1-9]" "$log" || fail "it found nobody else's process"
grep -q '^taken: [0-9]* attempts$' "$log" || fail "it did not try everything: $(tail -n 5 "$log")"
wait_for 40 grep -q '^taken: asked everything$' "$log" || fail "pandod has not answered all that it was asked: $(grep -c '^taken: asked' "$log")"
grep '^taken: asked' "$log" | sort | uniq -c
grep -q ESCAPED "$log" && fail "it got out"
[ "$(grep -c '^taken: asked route [0-9]*: EACCES' "$log")" -ge 20 ] || fail "an operator's route is not refused"
[ "$(grep -c '^taken: asked to follow: E' "$log")" -ge 36 ] || fail "it may follow without bound"
# What it sent along is closed, and its masses are nobody else's business.
fds=$(find "/proc/$(pandod_pid n1)/fd" -mindepth 1 | wc -l)
[ "$fds" -lt 150 ] || fail "pandod has $fds descriptors"
timeout 20 "$BIN/pando" --dir "$CLUSTER_DIR" events >/dev/null || fail "the operator cannot list events"
[ "$(grep -c '^taken: .*: E' "$log")" -ge 50 ] || fail "too few attempts"

# From outside: its user ids are the tenant's, it is in a user namespace of its own, and has a filter.
pid=$(kernel_pid n1 alice)
[ -n "$pid" ] || fail "no guest kernel"
awk '/^Uid:/ { for (i = 2; i <= 5; i++) if ($i < 65536) exit 1 }' "/proc/$pid/status" || fail "a user id of the host's: $(grep ^Uid "/proc/$pid/status")"
[ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ] || fail "it is in the host's user namespace"
[ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail "it sees the host's mounts"
[ "$(readlink "/proc/$pid/ns/net")" != "$(readlink "/proc/$(pandod_pid n1)/ns/net")" ] || fail "it sees the node's network"
grep -q '^Seccomp:[[:space:]]2' "/proc/$pid/status" || fail "it has no filter"
grep -q '^NoNewPrivs:[[:space:]]1' "/proc/$pid/status" || fail "it may gain rights"
[ -z "$(ls -A "/proc/$pid/root" 2>/dev/null)" ] || fail "its root holds $(ls -A "/proc/$pid/root")"
kill $SPAWNED
wait $SPAWNED 2>/dev/null
exec 9>&-
exit 0
