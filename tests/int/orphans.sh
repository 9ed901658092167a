#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program whose parent has ended while its session goes on (`(CMD &)` in a shell) runs on other nodes, moves, and comes
# back: a child of pid 1 in the old session and group wherever it is. Its parent ends before, while and after it goes; then
# guest kernels die while its stubs are made, and the node of the session's leader does.
. tests/lib/cluster.sh
cluster_up 3 --lease 2:6
p tenant add alice >/dev/null || fail "tenant add"
got=$PANDO_TEST_DIR/got

# Of alice's processes those whose command line is this: PID PPID PGID SID. Where they execute the parent is the zygote.
view=n1
listed() { as_on $view alice ps -eo pid=,ppid=,pgid=,sid=,cmd= | awk -v cmd="$1" '{ l = $1 " " $2 " " $3 " " $4; $1 = $2 = $3 = $4 = ""; sub(/^ +/, "") } $0 == cmd { print l }'; }
is_listed() { [ -n "$(listed "$1")" ]; }
is_as() { [ "$(listed "$1")" = "$2" ]; } # what a node that it leaves shows may be a moment old
is_gone() { ! is_listed "$1"; }
runs_on() { [ "$(as_on $view alice cat "/proc/$1/node" 2>/dev/null)" = "$2" ]; }

# ---- where the shell runs, in its own group, and in one whose leader has ended ----
as_on n1 alice bash -c '
	(on n2 sh -c "while [ ! -e go ]; do sleep 0.05; done; exec sleep 2001" >/dev/null 2>&1 &)
	set -m
	(on n3 on n2 sh -c "while [ ! -e go ]; do sleep 0.05; done; exec sleep 2002" >/dev/null 2>&1 &)
	touch go
	until pgrep -f "^sleep 2001" && pgrep -f "^sleep 2002"; do sleep 0.05; done >/dev/null
	echo $$
	exec sleep 2000' >"$got" &
session=$!
wait_for 20 is_listed "sleep 2000" || fail "the shell's programs do not run: $(p ps alice)"
shell=$(head -n 1 "$got")
read -r first parent group sid <<<"$(listed "sleep 2001")"
[ "$parent $group $sid" = "1 $shell $shell" ] || fail "$first is of parent $parent, group $group, session $sid, not of $shell"
read -r second parent group sid <<<"$(listed "sleep 2002")"
[ "$parent $sid" = "1 $shell" ] && [ "$group" != "$shell" ] || fail "$second is of parent $parent, group $group, session $sid"
runs_on "$first" n2 && runs_on "$second" n2 || fail "they do not run on n2"
for node in n3 n1 n2; do
	for pid in $first $second; do
		p migrate "$pid" $node >"$got.moved" 2>&1 || fail "migrate $pid $node: $(cat "$got.moved")"
		wait_for 10 runs_on "$pid" $node || fail "$pid does not run on $node"
	done
done
wait_for 10 is_as "sleep 2002" "$second 1 $group $shell" || fail "after its moves it is $(listed "sleep 2002")"
as_on n3 alice kill -STOP "$first" || fail "kill -STOP"
is_stopped() { [ "$(as_on n3 alice ps -o stat= "$first")" = T ]; }
wait_for 10 is_stopped || fail "$first does not stop"
as_on n3 alice kill -KILL "$first" || fail "kill -KILL"
as_on n1 alice kill -TERM -- "-$group" || fail "kill of group $group"
wait_for 10 is_gone "sleep 2001" || fail "$first is still there"
wait_for 10 is_gone "sleep 2002" || fail "$second is still there"
as_on n1 alice kill "$shell"
wait $session

# ---- their parents end at any moment, and kernels while stubs are born ----
as_on n1 alice bash -c 'for i in $(seq 24); do (on n$((2 + i % 2)) sh -c "echo $i" & sleep 0.00$((i % 6))); done; sleep 0.1
	for i in $(seq 25 40); do (on n2 on n1 on n3 sh -c "echo $i" &); done
	until [ -e said ]; do sleep 0.05; done' >"$got" 2>&1 &
session=$!
have_said() { [ "$(wc -l <"$got")" = 40 ]; }
wait_for 20 have_said || fail "40 programs said $(cat "$got")"
as_on n3 alice touch said
wait $session
[ "$(sort -n "$got")" = "$(seq 40)" ] || fail "of 40 programs: $(sort -n "$got" | tr '\n' ' ')"
for passage in 1 2 3; do
	wait_for 20 sh -c "[ -z \"\$('$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | tail -n +2)\" ]" || fail "left: $(p ps alice)"
	p debug fault n2 alice "kernel.site.step:$passage:kill" || fail "no such point"
	as_on n1 alice bash -c "(on n2 sh -c 'echo $passage' &)" >"$got" 2>&1
	[ "$(cat "$got")" = $passage ] || fail "n2's kernel dies at step $passage: $(cat "$got")"
done

# ---- the session's leader ends, on its node or with it ----
begin() { # COMMAND: an orphan on n2, whose session's leader is on n1
	"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- bash -c "(on n2 $1 >/dev/null 2>&1 &) ; until pgrep -f '^$1'; do sleep 0.05; done; exec sleep 2100" >/dev/null 2>&1 &
	session=$!
	wait_for 20 is_listed "sleep 2100" || fail "$1 does not begin: $(p ps alice)"
	read -r pid parent group sid <<<"$(listed "$1")"
	runs_on "$pid" n2 || fail "$1 does not run on n2"
}
begin "sleep 2003"
as_on n1 alice kill -KILL "$sid"
wait $session
for node in n3 n1 n2; do
	p migrate "$pid" $node >"$got.moved" 2>&1 || fail "its leader is dead, migrate $pid $node: $(cat "$got.moved")"
	wait_for 10 is_as "sleep 2003" "$pid 1 $group $sid" || fail "on $node it is $(listed "sleep 2003"), not $pid 1 $group $sid"
done
as_on n3 alice kill "$pid"
wait_for 10 is_gone "sleep 2003" || fail "$pid is still there"

begin "sleep 2004"
kill -9 "$(cat "$CLUSTER_DIR/n1/run/guard.pid")"
kill -9 $session
wait $session 2>/dev/null
is_dead() { p nodes --node n3 -o csv | grep -q "^n1,[0-9]*,dead,"; }
view=n3
wait_for 60 is_dead || fail "n1 is not dead: $(p nodes --node n3)"
wait_for 10 is_as "sleep 2004" "$pid 1 $group $sid" || fail "it is $(listed "sleep 2004"), not $pid 1 $group $sid"
moves() { p migrate --node n3 "$pid" n3 >"$got.moved" 2>&1; }
view=n2
wait_for 20 moves || fail "n1 is dead, migrate $pid n3: $(cat "$got.moved")"
wait_for 10 is_as "sleep 2004" "$pid 1 $group $sid" || fail "on n3 it is $(listed "sleep 2004"), not $pid 1 $group $sid"
as_on n3 alice kill "$pid"
wait_for 10 is_gone "sleep 2004" || fail "$pid is still there"
