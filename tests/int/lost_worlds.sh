#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A tenant's pando-init is killed, and its node lives on: what executed there has died, as parents elsewhere see; what began
# there and lives elsewhere keeps its pid to itself, moves, is waited for, and outlives the leaving of that node.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
p tenant add bob >/dev/null || fail "tenant add"
for n in n1 n2 n3; do as_on $n alice true || fail "login on $n"; done

kill_init() { # node
	kill -9 "$(init_pid "$1" alice)" || fail "no pando-init on $1"
}
at() { [ "$(p ps alice -o csv | awk -F, -v pid="$2" '$2 == pid { print $4 }')" = "$1" ]; }
pid_of() { p ps alice -o csv | awk -F, -v what="$1" '$0 ~ what { print $2; exit }'; }

# Another tenant's program there is none of its business.
as_on n1 bob sh -c 'until [ -e go ]; do sleep 0.05; done; exit 4' &
bobs=$!

# One begins on n1 and executes on n2; one begins on n2, executes on n1, and has a parent that waits for it there.
as_on n1 alice sh -c 'setsid on n2 sleep 3600 </dev/null >/dev/null 2>&1 &'
wanderer() { wanderer=$(pid_of 'sleep 3600') && at n2 "$wanderer"; }
wait_for 20 wanderer || fail "nobody wanders: $(p ps alice)"
as_on n2 alice sh -c 'on n1 sleep 3700; echo $? >status.lost; until [ -e over ]; do sleep 0.05; done; exit 5' &
parent=$!
guest() { guest=$(pid_of ',n1,.*sleep 3700') && at n1 "$guest"; }
wait_for 20 guest || fail "nobody is a guest: $(p ps alice)"

# A guest kernel that dies when it has heard of it is followed by one that hears of it.
p debug fault n2 alice kernel.world.lost:1:kill || fail "no such point"
kill_init n1
# At once: not one pid is given that lives elsewhere.
new_pids() { pids=$(as_on n1 alice sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sh -c "echo \$\$"; done' 2>"$PANDO_TEST_DIR/login"); }
wait_for 20 new_pids || fail "nobody logs in on n1: $(cat "$PANDO_TEST_DIR/login")"
[ "$(wc -w <<<"$pids")" = 12 ] || fail "it starts $pids"
grep -qx "$wanderer" <<<"$pids" && fail "pid $wanderer, which lives on n2, is given again on n1"
wait_for 20 as_on n2 alice test -s status.lost || fail "the parent of one that has died with its world waits on"
[ "$(as_on n2 alice cat status.lost)" = 137 ] || fail "of one that has died with its world its parent sees $(as_on n2 alice cat status.lost)"
kill -0 $bobs || fail "another tenant's program has ended"

# Its record has another keeper.
wait_for 30 p migrate "$wanderer" n3 >/dev/null 2>"$PANDO_TEST_DIR/moved" || fail "it does not move: $(tail -n 1 "$PANDO_TEST_DIR/moved")"
at n3 "$wanderer" || fail "it has not moved: $(p ps alice)"
p migrate "$wanderer" n1 >/dev/null || fail "it does not go where it began"
p migrate "$wanderer" n2 >/dev/null || fail "it does not leave where it began"

# Killed again, with the daemon that would see it, and left by the node before anybody needs it there.
as bob touch go
wait $bobs
[ $? = 4 ] || fail "another tenant's program ends otherwise"
kill_init n1
kill -9 "$(pandod_pid n1)" || fail "no daemon on n1"
wait_for 20 p drain n1 >/dev/null 2>"$PANDO_TEST_DIR/drained" || fail "n1 is not drained: $(tail -n 1 "$PANDO_TEST_DIR/drained")"
p leave --node n1 >/dev/null 2>"$PANDO_TEST_DIR/left" || fail "n1 does not leave: $(cat "$PANDO_TEST_DIR/left")"
wait_for 20 at n2 "$wanderer" || fail "it has ended: $(p ps alice)"
wait_for 20 p migrate "$wanderer" n3 >/dev/null 2>"$PANDO_TEST_DIR/moved" || fail "it does not move any more: $(tail -n 1 "$PANDO_TEST_DIR/moved")"
as_on n2 alice kill "$wanderer" || fail "it is not found"
gone() { ! at n3 "$wanderer"; }
wait_for 20 gone || fail "it does not end"
as_on n2 alice touch over
wait $parent
[ $? = 5 ] || fail "the parent of one that has died with its world ends otherwise"
rm -f "$PANDO_TEST_DIR"/{moved,drained,left,login}
exit 0
