#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Three nodes: the leader's daemon dies, a whole node dies and comes back; the others go on.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
as_on n2 alice true || fail "login on n2"

# A session on n2 while every node's pandod is killed in turn, the leader's included.
as_on n2 alice bash -c 'mkfifo ~/never; exec 9<>~/never; for ((i = 0; i < 150; i++)); do echo $i; read -r -t 0.02 -u 9; done; exit 4' \
	>"$PANDO_TEST_DIR/count" &
counter=$!
wait_for 10 grep -qs 5 "$PANDO_TEST_DIR/count" || fail "the counter does not start"
for k in 1 2 3; do
	kill -9 "$(pandod_pid n$k)"
	wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' login -T --node n$k alice -- true 2>/dev/null" ||
		fail "no login on n$k after its pandod died"
done
wait $counter
code=$?
[ $code = 4 ] || fail "the counter ended with $code"
[ "$(cat "$PANDO_TEST_DIR/count")" = "$(seq 0 149)" ] || fail "the counter has gaps"

# A node dies whole. The others notice, elect, and work; new tenants can be added.
guard=$(cat "$CLUSTER_DIR/n1/run/guard.pid")
kill -9 "$guard"
wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' nodes --node n2 -o csv | grep -q '^n1,1,silent'" || fail "nobody misses n1"
p tenant add carol --node n2 >/dev/null || fail "no tenant can be added without n1"
as_on n3 carol true || fail "no login without n1"
as_on n2 alice on n3 true || fail "no program can be sent from n2 to n3 without n1"
as_on n2 alice on n1 true 2>/dev/null
[ $? = 125 ] || fail "a dead node takes programs"

# It comes back with its old self.
p up -n 3 --no-balance >/dev/null || fail "n1 does not come back"
p nodes --node n1 -o csv | grep -q '^n1,1,alive' || fail "n1 is not alive again"
as_on n1 carol on n2 true || fail "n1 is of no use"
exit 0
