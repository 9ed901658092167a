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
	as_on n1 alice sh -c "i=1; while [ \$i -le $rounds ]; do on n2 on n1 sh -c \"exit \$((i + 2))\"; echo \$?; i=\$((i+1)); done" >"$PANDO_TEST_DIR/back.$k" 2>&1 &
done
wait
for k in $(seq "$crews"); do
	[ "$(cat "$PANDO_TEST_DIR/back.$k")" = "$(seq 3 $((rounds + 2)))" ] || fail "crew $k: $(diff "$PANDO_TEST_DIR/back.$k" <(seq 3 $((rounds + 2))) | head -5 | tr '\n' ' ')"
done
echo "$((crews * rounds)) programs went there and back"
