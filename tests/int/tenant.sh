#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 200,000 threads are made in a loop in a tenant, and its guest kernel dies meanwhile: no thread id lies outside the blocks
# lent to the node.
. tests/lib/cluster.sh
cluster_up 1
p tenant add alice >/dev/null || fail "tenant add"
as alice sh -c 'cat >threads && chmod +x threads' <"$B/guest/threads_many" || fail "copy the program"
as alice ./threads 200000 >"$PANDO_TEST_DIR/tids" 2>&1 &
maker=$!
wait_for 20 grep -qs begun "$PANDO_TEST_DIR/tids" || fail "it does not begin"
another() { # than that one
	local now
	now=$(kernel_pid n1 alice) && [ -n "$now" ] && [ "$now" != "$1" ]
}
for _ in 1 2 3; do
	victim=$(kernel_pid n1 alice)
	kill -9 "$victim" || fail "no guest kernel"
	wait_for 20 another "$victim" || fail "no other guest kernel"
done
[ "$(wc -l <"$PANDO_TEST_DIR/tids")" = 1 ] || fail "it ended before the guest kernels: $(cat "$PANDO_TEST_DIR/tids")"
wait $maker || fail "it failed: $(cat "$PANDO_TEST_DIR/tids")"
# The tenant is the only one, so the blocks are the first ones.
blocks=$(p nodes --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid_blocks"])')
read -r least greatest < <(tail -n 1 "$PANDO_TEST_DIR/tids")
[ "$least" -ge 4096 ] && [ "$greatest" -lt $((4096 * (1 + blocks))) ] && [ "$blocks" -le 2 ] ||
	fail "thread ids from $least to $greatest with $blocks blocks from 4096 on"
echo "thread ids from $least to $greatest, $blocks blocks"
