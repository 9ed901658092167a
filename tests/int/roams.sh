#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Shells that are moved all the time start one program after the other on all nodes: each waits for each with its status.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
for n in n1 n2 n3; do as_on $n alice true || fail "login on $n"; done

roam() { # first node
	local session pid
	as_on "n$1" alice bash -c 'echo $$ >roams'"$1"'; exec </dev/null >/dev/null 2>&1; for i in $(seq 40); do on n$((i % 3 + 1)) sh -c "exit $i"
		code=$?; [ $code = $i ] || echo "$i ended with $code" >>lost'"$1"'; done; exit 9' &
	session=$!
	wait_for 20 as_on n1 alice test -s "roams$1" || return 1
	pid=$(as_on n1 alice cat "roams$1")
	while kill -0 $session 2>/dev/null && [ $SECONDS -lt 100 ]; do
		p migrate "$pid" "n$((RANDOM % 3 + 1))" >/dev/null 2>&1
	done
	kill -0 $session 2>/dev/null && return 1 # it hangs
	wait $session
	[ $? = 9 ]
}
for k in 1 2 3; do
	roam $k &
	roamers[k]=$!
done
for k in 1 2 3; do
	wait "${roamers[k]}" || fail "shell $k that is moved ends otherwise"
	as_on n1 alice test ! -e lost$k || fail "of shell $k that is moved: $(as_on n1 alice cat lost$k)"
done
exit 0
