#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Processes of nodes that this one is not connected with: ps and pgrep list them, kill and kill of all find them.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"

"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n3 alice -- sh -c 'echo $$ >pid; exec sleep 1001' &
first=$!
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n2 alice -- sh -c 'echo $$ >other; exec sleep 1002' &
second=$!
wait_for 20 as_on n3 alice test -s pid && wait_for 20 as_on n2 alice test -s other || fail "no session on n3 or n2"
pid=$(as_on n3 alice cat pid)

# Nobody on n1 has said anything to n3 before this. Who lists waits 0.2 s for n3, which may be too short on a busy machine.
finds() { [ "$(as_on n1 alice pgrep -f 'sleep 1001')" = "$pid" ]; }
lists() { [ "$(as_on n1 alice ps -o pid= -p "$pid" | tr -d ' ')" = "$pid" ]; }
wait_for 10 finds || fail "pgrep on n1 does not find pid $pid of n3"
wait_for 10 lists || fail "ps on n1 does not find pid $pid of n3"
[ "$(as_on n1 alice cat "/proc/$pid/node")" = n3 ] || fail "pid $pid is not on n3 for n1"
as_on n1 alice python3 -c "
import os, sys
assert os.getpgid($pid) == $pid and os.getsid($pid) == $pid
assert os.getpriority(os.PRIO_PROCESS, $pid) == 0
os.kill($pid, 0)
" || fail "n1 cannot look at pid $pid of n3"

# A pandod that has just begun knows of no node and no pid yet: its guest kernel goes on with what it knew.
as_on n1 alice bash -c "echo begins; while kill -0 $pid; do [ ! -e stop ] || exit 5; done" >"$PANDO_TEST_DIR/looks" 2>&1 &
looks=$!
wait_for 20 grep -qs begins "$PANDO_TEST_DIR/looks" || fail "who looks does not begin"
for _ in 1 2 3; do
	kill -9 "$(pandod_pid n1)"
	wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' --node n1 nodes >/dev/null 2>&1" || fail "no other pandod"
done
as_on n3 alice touch stop
wait $looks
code=$?
[ $code = 5 ] || fail "pid $pid was not there for a moment while pandod began: $(tail -n 1 "$PANDO_TEST_DIR/looks")"

as_on n1 alice kill -TERM "$pid" || fail "kill of a pid of n3"
wait $first
[ $? = 143 ] || fail "the session on n3 did not end by SIGTERM"
as_on n1 alice kill -0 "$pid" 2>/dev/null && fail "pid $pid is still there"

# All that the tenant has, wherever it is.
as_on n1 alice sh -c 'trap "" TERM; kill -TERM -1'
wait $second
[ $? = 143 ] || fail "kill of all has not ended the session on n2"
