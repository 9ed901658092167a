#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An exec goes to another node and at once back to the one it has just left, by many at a time: each program runs once,
# with its own status. (Its home may still be turning the caller into a stub when it comes back, and programs that are
# looked for along PATH fail there first.)
. tests/lib/cluster.sh
cluster_up 2
p tenant add alice >/dev/null || fail "tenant add"
for n in n1 n2; do as_on $n alice true || fail "login on $n"; done
crews=${CREWS:-4} rounds=${ROUNDS:-25}
for k in $(seq "$crews"); do
	[ $((k % 2)) = 0 ] && way="on n2 on n1" || way="on n2 on n1 on n2 on n1"
	as_on n1 alice sh -c "i=1; while [ \$i -le $rounds ]; do $way sh -c \"exit \$((i + 2))\"; echo \$?; i=\$((i+1)); done" >"$PANDO_TEST_DIR/back.$k" 2>&1 &
done
wait
for k in $(seq "$crews"); do
	[ "$(cat "$PANDO_TEST_DIR/back.$k")" = "$(seq 3 $((rounds + 2)))" ] || fail "crew $k: $(diff "$PANDO_TEST_DIR/back.$k" <(seq 3 $((rounds + 2))) | head -5 | tr '\n' ' ')"
done
echo "$((crews * rounds)) programs went there and back"

# Where it comes back to it has just been a guest, and is not its stub yet: it waits for that, and is not refused there.
refusals() { grep -c "does not run on node .*: it is refused" "$CLUSTER_DIR/n1/log/kernel-alice.log"; }
is_stopped() { grep -q "^State:.*T" "/proc/$stopped/status"; }
before=$(refusals)
stopped=$(kernel_pid n2 alice)
p debug fault n2 alice kernel.place.runs:1:stop || fail "no such point"
as_on n1 alice on n2 on n1 on n2 sh -c 'exit 7' &
session=$!
wait_for 20 is_stopped || fail "the guest kernel of n2 does not stop"
sleep 0.3 # what runs on n1 by now asks n2, which does not hear
kill -CONT "$stopped"
wait $session
code=$?
[ $code = 7 ] || fail "it ended with $code"
[ "$(refusals)" = "$before" ] || fail "what came back was refused $(($(refusals) - before)) times"
