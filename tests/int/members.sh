#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Nodes join by token and leave; hosts without a local cluster do the same; strangers stay outside.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"

# A token lets in as many as it was made for; a wrong or mistyped one nobody.
invite=$(p invite --json)
addr=$(echo "$invite" | python3 -c 'import json,sys; print(json.load(sys.stdin)["addr"])')
token=$(echo "$invite" | python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])')
p invite | grep -qx "pando join [0-9.:]* [^ ]*" || fail "invite does not print a command"

# A node of a 3-node machine leaves, and its voice with it; the others go on. Who is to be moved there just then is told:
# a guest kernel that does not answer makes the question last.
as_on n2 alice true || fail "login on n2"
spawn_as alice sleep 300
sleeper() { pid=$(p ps alice -o csv | awk -F, '/,sleep 300/ { print $2 }') && [ -n "$pid" ]; }
wait_for 20 sleeper || fail "no sleeper"
daemon=$(pandod_pid n1)
kill -STOP "$(kernel_pid n2 alice)"
p migrate "$pid" n3 >"$PANDO_TEST_DIR/late" 2>&1 &
late=$!
p leave --node n3 || fail "n3 cannot leave"
kill -CONT "$(kernel_pid n2 alice)"
wait $late && fail "a process moves to a node that has left"
grep -q "there is no node n3" "$PANDO_TEST_DIR/late" || fail "migrate to a node that has left: $(cat "$PANDO_TEST_DIR/late")"
[ "$(pandod_pid n1)" = "$daemon" ] || fail "the daemon of n1 died"
as alice kill "$pid"
wait $SPAWNED
wait_for 10 sh -c "! pgrep -f '[p]andod guard --dir $CLUSTER_DIR --node n3 ' >/dev/null" || fail "n3's daemons stay"
left() { p nodes --node n1 -o csv | grep -q '^n3,3,left'; }
wait_for 10 left || fail "n3 has not left: $(p nodes --node n1 -o csv)"
as alice true || fail "login after a node left"

# Who decides leaves, and nobody is there to take that over: it says so, and goes on by itself when there is, over its daemon's
# death. Whoever asked has been told, or has gone.
last=$(p status -o json | python3 -c 'import json,sys; print(json.load(sys.stdin)["leader"])')
stays=$([ "$last" = n1 ] && echo n2 || echo n1)
p drain "$last" --deadline 20s >/dev/null || fail "drain $last: $(p ps alice)"
kill -STOP "$(pandod_pid "$stays")"
p leave --node "$last" >/dev/null 2>&1 &
late=$!
leaving() { p status --node "$last" 2>/dev/null | grep -q "^$last is leaving, and goes on by itself"; }
wait_for 10 leaving || fail "it does not begin to leave: $(p status --node "$last")"
kill -9 "$(pandod_pid "$last")"
wait $late && fail "it has left with its vote"
wait_for 10 leaving || fail "its next daemon does not go on: $(p status --node "$last")"
kill -CONT "$(pandod_pid "$stays")"
wait_for 20 sh -c "! pgrep -f '[p]andod guard --dir $CLUSTER_DIR --node $last ' >/dev/null" || fail "$last stays: $(p nodes --node "$stays")"
p nodes --node "$stays" -o csv | grep -q "^$last,.,left" || fail "$last has not left: $(p nodes --node "$stays")"
p leave --node "$stays" 2>"$PANDO_TEST_DIR/err" && fail "the last node leaves"
grep -q "only node" "$PANDO_TEST_DIR/err" || fail "the last node: $(cat "$PANDO_TEST_DIR/err")"
p tenant add bob --node "$stays" >/dev/null || fail "nothing can be decided any more"

# Real hosts, played by two network namespaces with one veth between them: no --local anywhere.
hosts=$PANDO_TEST_DIR/h
mkdir -p "$hosts/a" "$hosts/b"
unshare -n sleep 300 &
a=$!
unshare -n sleep 300 &
b=$!
end_hosts() {
	for h in a b c; do
		"$BIN/pando" down --purge --dir "$hosts/$h" >/dev/null 2>&1
	done
	kill $a $b 2>/dev/null
	cluster_down
}
trap end_hosts EXIT
n=0
in_ns() { # pid command...
	local pid=$1
	shift
	nsenter --net="/proc/$pid/ns/net" "$@"
}
wait_for 5 sh -c "[ \"\$(readlink /proc/$a/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ] && [ \"\$(readlink /proc/$b/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]" || fail "namespaces"
in_ns $a ip link add ve type veth peer name ve netns $b || fail "veth"
in_ns $a sh -c 'ip addr add 10.9.0.1/24 dev ve && ip link set ve up && ip link set lo up' || fail "address a"
in_ns $b sh -c 'ip addr add 10.9.0.2/24 dev ve && ip link set ve up && ip link set lo up' || fail "address b"
in_ns $a "$BIN/pando" up --host --addr 10.9.0.1 --name red --dir "$hosts/a" --volumes "$hosts/vol" || fail "up --host"
join=$(in_ns $a "$BIN/pando" invite --dir "$hosts/a") || fail "invite"
read -r _ _ addr token <<<"$join"
in_ns $b "$BIN/pando" join "$addr" "${token%?}x" --name blue --dir "$hosts/b" 2>"$PANDO_TEST_DIR/err"
code=$?
[ $code != 0 ] || fail "a mistyped token lets in"
grep -q "the token is mistyped; try: pando invite" "$PANDO_TEST_DIR/err" || fail "mistyped token: $(cat "$PANDO_TEST_DIR/err")"
pgrep -f "pandod .*--dir $hosts/b " && fail "a refused join leaves daemons"
[ ! -e "$hosts/b/blue" ] || fail "a refused join leaves $(find "$hosts/b" | tr '\n' ' ')"
# Its daemon dies between its admission and the ticket on its disk. It comes back with the token that it has used up, by then;
# a stranger by that name does not get in with a good one.
PANDO_FAULT_POD=pod.join.admitted in_ns $b "$BIN/pando" join "$addr" "$token" --name blue --dir "$hosts/b" 2>"$PANDO_TEST_DIR/err" &&
	fail "a join whose daemon is killed succeeds"
"$BIN/pando" nodes --dir "$hosts/a" -o csv | grep -q '^blue,2,' || fail "not admitted: $(cat "$PANDO_TEST_DIR/err")"
read -r _ _ _ other <<<"$(in_ns $a "$BIN/pando" invite --dir "$hosts/a")"
in_ns $b "$BIN/pando" join "$addr" "$other" --name blue --dir "$hosts/c" 2>"$PANDO_TEST_DIR/err" && fail "a stranger takes a name"
grep -q "has a node of this name" "$PANDO_TEST_DIR/err" || fail "stranger: $(cat "$PANDO_TEST_DIR/err")"
in_ns $b "$BIN/pando" join "$addr" "$token" --name blue --dir "$hosts/b" || fail "join"
wait_for 10 sh -c "[ \$('$BIN/pando' nodes --dir '$hosts/a' -o csv | grep -c ',alive,') = 2 ]" || fail "two hosts alive"
"$BIN/pando" tenant add carol --dir "$hosts/b" >/dev/null || fail "a tenant by way of the second host"
for h in a b; do
	[ "$("$BIN/pando" login -T carol --dir "$hosts/$h" -- sh -c 'echo x >>~/f; wc -l <~/f')" = $((++n)) ] ||
		fail "carol's home on host $h"
done
[ "$("$BIN/pando" login -T carol --dir "$hosts/a" -- on blue sh -c 'cat ~/f | tr "\n" .')" = x.x. ] ||
	fail "a program of one host runs on the other"
# Its data make no second machine of a host that has left.
in_ns $b "$BIN/pando" drain blue --dir "$hosts/b" >/dev/null || fail "blue cannot be drained"
in_ns $b "$BIN/pando" leave --dir "$hosts/b" || fail "blue cannot leave"
in_ns $b "$BIN/pando" up --host --addr 10.9.0.2 --name blue --dir "$hosts/b" 2>"$PANDO_TEST_DIR/err" && fail "up of a host that has left"
grep -q "node blue has left its machine; try: pando --dir $hosts/b join ADDR TOKEN" "$PANDO_TEST_DIR/err" || fail "up of a host that has left: $(cat "$PANDO_TEST_DIR/err")"
in_ns $b "$BIN/pando" down --purge --dir "$hosts/b" >/dev/null || fail "down b"
# The token was good once.
in_ns $b "$BIN/pando" join "$addr" "$token" --name green --dir "$hosts/b" 2>"$PANDO_TEST_DIR/err" && fail "a used token lets in"
grep -qE "unknown, used up or expired|no member|refused" "$PANDO_TEST_DIR/err" || fail "used token: $(cat "$PANDO_TEST_DIR/err")"
exit 0
