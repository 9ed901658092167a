#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node dies for good and what began there lives elsewhere: another node keeps its records then, so it moves,
# is waited for and killed as before, and nobody else gets its pids. The lease is short here.
. tests/lib/cluster.sh
work=$PANDO_TEST_DIR
cluster_up 3 --lease 2:6
p tenant add alice >/dev/null || fail "tenant add"
for k in 1 2 3; do
	as_on n$k alice true || fail "no login on n$k"
done
node_of() { p ps alice --node n2 -o csv 2>/dev/null | awk -F, -v pid="$1" '$2 == pid { print $4 }'; }
is_on() { [ "$(node_of "$1")" = "$2" ]; } # PID NODE
is_gone() { [ -z "$(node_of "$1")" ]; }
has() { as_on n2 alice grep -qsx "$1" seen; }
blocks_of() { p nodes --node n2 --json | python3 -c 'import json, sys
print(next(n["pid_blocks"] for n in json.load(sys.stdin) if n["name"] == sys.argv[1]))' "$1"; }
kept() { [ "$(blocks_of)" = 3 ]; }
moves() { # PID NODE FROM: what refuses for a moment (a fork, a signal on its way) is asked again
	for _ in $(seq 50); do
		p migrate --node "$3" --tenant alice "$1" "$2" >"$work/moved" 2>&1 && return
		sleep 0.1
	done
	return 1
}

# ---- a family that moved, and one that was sent ----
cat >"$work/family" <<'SH'
sh -c 'while [ ! -e end1 ]; do sleep 0.1; done; exit 7' & a=$!
sh -c 'while [ ! -e end2 ]; do sleep 0.1; done; exit 8' & b=$!
sleep 1001 & c=$!
echo $$ $a $b $c >pids
wait $a; echo "a $?" >>seen
wait $b; echo "b $?" >>seen
wait $c; echo "c $?" >>seen
SH
as_on n1 alice sh -c 'cat >family' <"$work/family" || fail "no file"
as_on n1 alice sh -c 'exec sh family >/dev/null 2>&1 </dev/null' >/dev/null 2>&1 &
as_on n1 alice sh -c 'echo $$ >sent; exec on n2 sleep 1002 >/dev/null 2>&1 </dev/null' >/dev/null 2>&1 &
wait_for 20 as_on n2 alice test -s pids || fail "the family does not begin"
wait_for 20 as_on n2 alice test -s sent || fail "nothing is sent"
read -r parent a b c < <(as_on n2 alice cat pids)
sent=$(as_on n2 alice cat sent)
wait_for 20 is_on "$sent" n2 || fail "it was not sent: $(p ps alice)"
for pid in "$a" "$b" "$c" "$parent"; do
	moves "$pid" n2 n1 || fail "$pid does not move from n1 to n2: $(cat "$work/moved") $(p ps alice)"
done

# ---- the node that leased their pids dies ----
kill -9 "$(cat "$CLUSTER_DIR/n1/run/guard.pid")"
handed() { [ "$(blocks_of n1)" = 0 ]; }
wait_for 40 handed || fail "nobody else keeps its pids: $(p nodes --node n2 --json)"
for pid in "$a" "$b" "$c" "$parent" "$sent"; do
	is_on "$pid" n2 || fail "$pid did not go on: $(p ps alice --node n2)"
done

# ---- a child moves, and its parent waits for it ----
moves "$a" n3 n2 || fail "a child does not move: $(cat "$work/moved")"
is_on "$a" n3 || fail "the child is on '$(node_of "$a")'"
as_on n2 alice touch end1
wait_for 20 has "a 7" || fail "the child of another node was not waited for: $(p ps alice --node n2)"
# ---- the parent follows, its children stay ----
moves "$parent" n3 n2 || fail "the parent does not move: $(cat "$work/moved")"
is_on "$parent" n3 || fail "the parent is on '$(node_of "$parent")'"
as_on n2 alice touch end2
wait_for 20 has "b 8" || fail "a child that stayed was not waited for: $(p ps alice --node n2)"
as_on n3 alice kill "$c" || fail "no kill of a child that stayed"
wait_for 20 has "c 143" || fail "a child that was killed was not waited for: $(p ps alice --node n2)"
wait_for 20 is_gone "$parent" || fail "the parent stays: $(p ps alice --node n2)"

# ---- who has no relative anywhere is found, moved, killed ----
as_on n3 alice kill -0 "$sent" || fail "it is not found from n3"
moves "$sent" n3 n2 || fail "it does not move: $(cat "$work/moved")"
kill -9 "$(kernel_pid n2 alice)" "$(kernel_pid n3 alice)"
wait_for 20 as_on n2 alice kill -0 "$sent" || fail "it is not found after the death of guest kernels"
moves "$sent" n2 n3 || fail "it does not move back: $(cat "$work/moved")"
p up -n 3 --lease 2:6 >/dev/null || fail "n1 does not come back"
wait_for 20 as_on n1 alice true || fail "no login on n1"
mine=$(as_on n1 alice sh -c 'echo $$')
[ $((mine / 4096)) != $((sent / 4096)) ] || fail "pid $mine of the new n1 is in the block of $sent, which lives"
# ---- who keeps its record leaves: another one does ----
heir=
for k in n1 n2 n3; do
	[ "$(blocks_of $k)" != 2 ] || heir=$k
done
[ -n "$heir" ] || fail "no node keeps a block that it has not leased: $(p nodes --json)"
p drain "$heir" --deadline 30s >"$work/drained" 2>&1 || fail "drain $heir: $(cat "$work/drained")"
wait_for 20 p leave --node "$heir" 2>"$work/left" || fail "leave: $(tail -n 1 "$work/left")"
rest=$([ "$heir" = n1 ] && echo n2 || echo n1)
blocks_of() { p nodes --node "$rest" --json | python3 -c 'import json, sys
print(sum(n["pid_blocks"] for n in json.load(sys.stdin)))'; }
wait_for 20 kept || fail "the blocks of the two that are left: $(p nodes --node "$rest" --json)"
node_of() { p ps alice --node "$rest" -o csv 2>/dev/null | awk -F, -v pid="$1" '$2 == pid { print $4 }'; }
for _ in 1 2; do
	at=$(node_of "$sent")
	to=
	for k in n1 n2 n3; do
		[ $k = "$at" ] || [ $k = "$heir" ] || to=$k
	done
	moves "$sent" "$to" "$rest" || fail "it does not move from $at to $to after $heir has left: $(cat "$work/moved")"
done
as_on "$rest" alice kill "$sent" || fail "no kill at last"
wait_for 20 is_gone "$sent" || fail "it stays: $(p ps alice --node "$rest")"
left() { [ "$(p ps alice --node "$rest" -o csv | tail -n +2 | wc -l)" = 0 ]; }
wait_for 20 left || fail "processes stay: $(p ps alice --node "$rest")"
exit 0
