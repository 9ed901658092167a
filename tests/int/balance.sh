#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs alone: how busy the machine is matters.
# A node with more to do than CPUs gives running programs away by itself: four that spin on n1 spread over three small nodes and come
# to rest; what is in front of a terminal stays, and so does who only waits. `pando sched` says what was done and why.
BALANCE=1
. tests/lib/cluster.sh
cluster_up 3 --cpus 0.25 >/dev/null
work=$PANDO_TEST_DIR
p tenant add alice >/dev/null && p tenant add bob >/dev/null || fail "tenant add"

# The pids of those whose command line ends in that word. A full node may not read one in time; who has a pid is listed.
pids_of() {
	p ps alice -o json | python3 -c '
import json, sys
print(*(q["pid"] for q in json.load(sys.stdin) if q["args"].split()[:1] in (["sh"], ["bash"]) and q["args"].split()[-1] == sys.argv[1]))' "$1"
}
# "n1 n1 n2 n3": where those pids run.
where() {
	p ps alice -o json | python3 -c '
import json, sys
print(" ".join(sorted(q["node"] for q in json.load(sys.stdin) if str(q["pid"]) in sys.argv[1:])))' "$@"
}
moves() { p sched --json | python3 -c 'import json, sys; print(sum(d["what"] == "moved" for d in json.load(sys.stdin)))'; }
# shellcheck disable=SC2086
spread() { case $(where $spinners) in "n1 n1 n2 n3" | "n1 n2 n2 n3" | "n1 n2 n3 n3") ;; *) return 1 ;; esac; }

# They begin to spin together, once all are on n1: a busy node would not have let the later ones begin there.
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- bash -c '
	mkfifo go; for i in 1 2 3 4; do on n1 sh -c "read x <go; while :; do :; done" spin & done; wait' waits >"$work/shell" 2>&1 </dev/null &
shell=$!
started() {
	spinners=$(pids_of spin) waiter=$(pids_of waits)
	# shellcheck disable=SC2086
	[ "$(where $spinners)" = "n1 n1 n1 n1" ] && [ -n "$waiter" ]
}
wait_for 30 started || fail "they do not start: $(cat "$work/shell"; p ps alice)"
waits=$(where "$waiter") # a busy n1 may have let it begin elsewhere
as_on n1 alice sh -c 'echo >go' || fail "go"
wait_for 90 spread || fail "they do not spread: $(p ps alice; p sched)"
[ "$(where "$waiter")" = "$waits" ] || fail "the shell that only waits has moved to $(where "$waiter")"

# At rest: nothing moves any more.
before=$(moves)
[ "$before" -ge 2 ] || fail "$before moves: $(p sched)"
calm() { # for four seconds
	local until=$((SECONDS + 4))
	while [ $SECONDS -lt $until ]; do
		# shellcheck disable=SC2086
		[ "$(where $spinners)" = "$nodes" ] || return 1
		sleep 0.3
	done
}
# One more may be under way: who is between two nodes is on neither.
rest() {
	# shellcheck disable=SC2086
	nodes=$(where $spinners)
	calm
}
wait_for 30 rest || fail "no rest: $(p sched)"
[ "$(moves)" -le $((before + 2)) ] || fail "ping-pong: $(p sched)"

# What was decided, for operators and for the tenant alone.
p sched | grep -qE '^[0-9:]+ +moved +alice +[0-9]+ +n1 +n[23] .*this node is short of CPU +sh -c' || fail "sched: $(p sched)"
p events | grep -q 'process.balanced.*from="n1".*why="this node is short of CPU"' || fail "no event: $(p events | tail -n 3)"
as_on n1 alice pando sched -o csv | grep -q '^[0-9:]*,moved,alice,' || fail "alice does not see her own"
[ "$(as_on n1 bob pando sched -o csv | wc -l)" = 1 ] || fail "bob sees what is not his"

# The present loads in the simulator: what would become of those of n1.
p what-if 'kill n1' --json >"$work/what" || fail "what-if: $(cat "$work/what")"
python3 - "$work/what" <<'PY' || fail "what-if: $(cat "$work/what")"
import json, sys
n1, n2, n3 = json.load(open(sys.argv[1]))["nodes"]
assert [n["name"] for n in (n1, n2, n3)] == ["n1", "n2", "n3"]
assert n1["load_milli"] + n2["load_milli"] + n3["load_milli"] >= 2000 and n1["then_milli"] == 0
PY
p what-if 'kill n9' 2>"$work/what" && fail "what-if kills a node that is not there"
grep -q 'no such live node; try: pando nodes' "$work/what" || fail "what-if: $(cat "$work/what")"

# In front of a terminal: it stays, whatever else n1 does.
SHELL=/bin/sh script -qc "'$BIN/pando' --dir '$CLUSTER_DIR' login --node n1 alice -- sh -c 'while :; do :; done' front" /dev/null >"$work/front" 2>&1 </dev/null &
front=$!
in_front() {
	in_front=$(pids_of front)
	[ -n "$in_front" ] && [ "$(where "$in_front")" = n1 ]
}
wait_for 30 in_front || fail "nothing runs on the terminal: $(cat "$work/front"; p ps alice)"
for _ in 1 2 3 4 5 6 7 8 9 10; do
	[ "$(where "$in_front")" = n1 ] || fail "what is in front of a terminal moved: $(p sched)"
	sleep 0.3
done

# n1 is full and the others are not: what nobody asked to be somewhere goes to them, and stays when it is asked to, though sh is in
# the last directory of PATH and each try before it fails. (The first of the two `on` may run anywhere, the second is on n1.)
# shellcheck disable=SC2086
as_on n1 alice kill -9 $spinners || fail "kill"
run_there() { # [on NODE]
	as_on n1 alice sh -c "PATH=/nowhere:/home:\$PATH; for i in 1 2 3 4 5 6; do $1 sh -c 'read n </proc/\$\$/node; echo \$n'; done" |
		sort -u | tr '\n' ' '
}
sent() { [ "$(run_there "")" != "n1 " ]; }
wait_for 30 sent || fail "a full n1 keeps all: $(p nodes; p sched)"
# But who shares an input that can seek stays with it (head, pread, mmap), unless it is told to go.
shares() { # [on NODE]
	as_on n1 alice on n1 on n1 sh -c "seq 100 >numbers; for i in 1 2 3 4 5 6; do { read a; $1 sh -c 'read n </proc/\$\$/node; read b; echo \$n \$b'; } <numbers; done" |
		sort -u | tr '\n' ' '
}
got=$(shares "")
[ "$got" = "n1 2 " ] || fail "what shares a file ran on, and read: $got"
got=$(shares "on n2")
[ "$got" = "n2 2 " ] || fail "what shares a file and was told to go ran on, and read: $got"
wait_for 30 sent || fail "n1 is not full any more: $(p nodes; p sched)"
got=$(run_there "on n1 on n1")
[ "$got" = "n1 " ] || fail "on n1 ran on $got: $(p sched)"
as_on n1 alice kill -9 "$in_front" || fail "kill"
wait $shell $front 2>/dev/null
exit 0
