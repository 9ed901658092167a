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

# One that is moved while it is stopped leaves nothing behind that is stopped for good: it can come back.
spawn_as alice sh -c 'exec on n2 sleep 3600'
sleeps() { pid=$(p ps alice -o csv | awk -F, '$4 == "n2" && /sleep 3600/ { print $2 }') && [ -n "$pid" ]; }
wait_for 20 sleeps || fail "no sleeper: $(p ps alice)"
# Again, for the exec may just be leaving (docs/limits.md).
is_stopped() { as_on n1 alice kill -STOP "$pid" && [ "$(as_on n1 alice ps -o state= -p "$pid")" = T ]; }
wait_for 20 is_stopped || fail "it does not stop: $(p ps alice)"
p migrate "$pid" n3 >/dev/null || fail "a stopped one does not move"
as_on n1 alice kill -CONT "$pid" || fail "continue"
wait_for 20 p migrate "$pid" n2 >/dev/null 2>"$PANDO_TEST_DIR/moved" || fail "it does not come back: $(tail -n 1 "$PANDO_TEST_DIR/moved")"
# What stood for it on n2 is reaped, though the one attempt that its end makes fails.
p debug fault n2 alice kernel.kin.reap:1:fail || fail "arm"
wait_for 20 p migrate "$pid" n3 >/dev/null 2>"$PANDO_TEST_DIR/moved" || fail "it does not go again: $(tail -n 1 "$PANDO_TEST_DIR/moved")"
# The parents of n2's stubs that have ended, and how many of its stubs live.
zombies() { cat /proc/[0-9]*/stat 2>/dev/null | awk -v of=" $(echo $(stubs)) " '$2 == "(pando-stub)" && $3 == "Z" && index(of, " " $4 " ")'; }
stubs() { find /sys/fs/cgroup -path "*/pando-${CLUSTER_DIR##*/}-*/n2/alice/guests*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u; }
clean() { [ -z "$(zombies)" ] && [ "$(stubs | wc -l)" = 1 ]; }
wait_for 20 clean || fail "stubs on n2: $(stubs), zombies: $(zombies)"
as_on n1 alice kill "$pid"
wait "$SPAWNED"
[ $? = 143 ] || fail "it ends otherwise"
exit 0
