#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node is drained while programs of two tenants run there: they go on elsewhere, nothing new comes, what cannot
# move is named; it is opened again. How it leaves then: leave.sh.
. tests/lib/cluster.sh
cluster_up 3
work=$PANDO_TEST_DIR
p tenant add alice >/dev/null || fail "tenant add"
p tenant add bob >/dev/null || fail "tenant add"

state_is() { p nodes --node "${3:-n1}" -o csv 2>/dev/null | grep -q "^$1,[0-9]*,$2,"; }
node_of() { p ps "$1" -o json | python3 -c '
import json, sys
print(" ".join(sorted({q["node"] for q in json.load(sys.stdin) if sys.argv[1] in q["args"]})))' "$2"; }
drain() { timeout 60 "$BIN/pando" --dir "$CLUSTER_DIR" drain "$@" >"$work/drained" 2>&1; }

# ---- a pipeline with its shell, and a sleeper of another tenant ----
as_on n2 alice bash -c 'for ((i = 0; ; i++)); do echo $i; [ -e enough ] && exit 4; sleep 0.05; done | cat; exit ${PIPESTATUS[0]}' \
	>"$work/count" &
counter=$!
as_on n2 bob sleep 3600 &
sleeper=$!
wait_for 20 grep -qs '^5$' "$work/count" || fail "the counter does not start"
wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' ps bob -o csv | grep -q ',sleep 3600'" || fail "no sleeper"
[ "$(node_of bob 'sleep 3600')" = n2 ] || fail "the sleeper is on $(node_of bob 'sleep 3600')"
drain n2 --deadline 30s || fail "drain: $(cat "$work/drained")"
grep -q '^node n2 is empty: [1-9][0-9]* moved' "$work/drained" || fail "drain says: $(cat "$work/drained")"
grep -qE '^[0-9]+  bob  sleep 3600  -> n[13]  stood still for' "$work/drained" || fail "drain says: $(cat "$work/drained")"
wait_for 10 state_is n2 drained || fail "$(p nodes)"
# What has ended there may be told a moment later.
empty() { p ps -o json | python3 -c 'import json, sys; sys.exit(any(q["node"] == "n2" for q in json.load(sys.stdin)))'; }
wait_for 5 empty || fail "something runs on n2: $(p ps)"

# ---- nothing new comes ----
as_on n2 alice true 2>"$work/refused" && fail "a session starts on a drained node"
grep -qE '^pando: cannot log in as alice: node n2 is draining; try: pando login --node n[13] alice' "$work/refused" || fail "refused: $(cat "$work/refused")"
as_on n1 alice on n2 true 2>"$work/refused"
[ $? = 125 ] || fail "a drained node takes programs"
grep -q 'cannot run on n2: the node is draining' "$work/refused" || fail "refused: $(cat "$work/refused")"
pid=$(p ps bob -o csv | grep 'sleep 3600' | cut -d, -f2)
p migrate --tenant bob "$pid" n2 2>"$work/refused" && fail "a process moves to a drained node"
grep -q 'the node is draining' "$work/refused" || fail "refused: $(cat "$work/refused")"

# ---- it survives the daemon ----
kill -9 "$(pandod_pid n2)"
wait_for 20 state_is n2 drained n2 || fail "after the death of its daemon: $(p nodes)"

# ---- what moved goes on, and its session with it ----
as_on n1 alice touch enough
wait $counter
code=$?
[ $code = 4 ] || fail "the counter ended with $code"
[ "$(cat "$work/count")" = "$(seq 0 $(($(wc -l <"$work/count") - 1)))" ] || fail "the counter has gaps"
as_on "$(node_of bob "sleep 3600")" bob kill "$pid" || fail "kill"
wait $sleeper
code=$?
[ $code = 143 ] || fail "the sleeper ended with $code"

# ---- opened, and with something that stays ----
p drain n2 --undo >/dev/null || fail "undo"
wait_for 10 state_is n2 alive n2 || fail "undone: $(p nodes)"
mkfifo "$work/fifo" || fail "mkfifo"
as_on n2 alice python3 -c 'import socket, sys
a, b = socket.socketpair()
print("up", flush=True)
sys.stdin.read()' <"$work/fifo" >"$work/sock" &
stays=$!
exec 9>"$work/fifo"
wait_for 20 grep -qs up "$work/sock" || fail "the one with sockets does not start"
drain n2 --deadline 1s
code=$?
[ $code = 1 ] || fail "drain with something that stays: $code, $(cat "$work/drained")"
grep -qE '^[0-9]+  alice  python3 .*stays: .*is a socket' "$work/drained" || fail "drain says: $(cat "$work/drained")"
grep -q '^pando: cannot drain n2: 1 of its processes stay; it stays closed; try: ' "$work/drained" || fail "drain says: $(cat "$work/drained")"
wait_for 10 state_is n2 draining || fail "$(p nodes)"
exec 9>&-
wait $stays || fail "the one that stays"
# What it reads and writes is n2's: until it ends n2 cannot leave. Its child has ended elsewhere by then, and what stands for that
# one at n2 waits for a parent who never asks: it executes nothing.
p drain n2 --undo >/dev/null || fail "undo"
wait_for 10 state_is n2 alive n2 || fail "undone: $(p nodes)"
as_on n2 alice sh -c 'sleep 7200 & exec sleep 3600' &
late=$!
wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | grep -q ',sleep 3600'" || fail "no sleeper"
p leave --node n2 2>"$work/refused" && fail "a node that is not drained leaves"
grep -q 'tenants have worlds here, and the node is not drained; try: pando drain NODE' "$work/refused" || fail "leave: $(cat "$work/refused")"
drain n2 || fail "drain at last: $(cat "$work/drained")"
child=$(p ps alice -o csv | grep ',sleep 7200' | cut -d, -f2)
as_on "$(node_of alice 'sleep 7200')" alice kill "$child" || fail "kill the child"
wait_for 20 sh -c "! '$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | grep -q ',sleep 7200'" || fail "the child stays"
p leave --node n2 2>"$work/refused" && fail "a node leaves that has pipes of others"
grep -q 'alice has 0 processes here, and [1-9][0-9]* pipes\? or files\? here that processes elsewhere use' "$work/refused" || fail "leave: $(cat "$work/refused")"
pid=$(p ps alice -o csv | grep 'sleep 3600' | cut -d, -f2)
as_on "$(node_of alice 'sleep 3600')" alice kill "$pid" || fail "kill"
wait $late
code=$?
[ $code = 143 ] || fail "the late one ended with $code"

# ---- refusals ----
drain n9 && fail "n9"
grep -q 'there is no node n9; try: pando nodes' "$work/drained" || fail "n9: $(cat "$work/drained")"
drain n22 && fail "n22"
grep -qF 'there is no node n22 (did you mean n2?); try: pando nodes' "$work/drained" || fail "n22: $(cat "$work/drained")"
drain n1 || fail "drain n1: $(cat "$work/drained")"
drain n3 && fail "the last open node is drained"
grep -q 'cannot drain n3: no other node is alive and open for what runs on n3; try: pando nodes' "$work/drained" || fail "n3: $(cat "$work/drained")"
drain n1 --deadline 2h
[ $? = 2 ] || fail "a deadline of two hours: $(cat "$work/drained")"

exit 0
