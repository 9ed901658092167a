#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Seen from the host while a pipeline runs over three nodes: no pipe, socket, memfd or lock is held on two nodes at once.
. tests/lib/cluster.sh
export LC_ALL=C
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
as_on n1 alice true || fail "no login"
mkfifo "$PANDO_TEST_DIR/in"
as_on n1 alice sh -c 'on n2 cat | on n3 cat | sha256sum' <"$PANDO_TEST_DIR/in" >"$PANDO_TEST_DIR/sum" &
pipeline=$!
exec 9>"$PANDO_TEST_DIR/in"
head -c 300000 /dev/zero >&9

tasks() { # node: the host's pids of the tenant's world there: guests, guest kernel, pando-init
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/$1/alice/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un
}
cats() { # node: cats that execute there
	local pid
	for pid in $(tasks "$1"); do [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = cat ] && return 0; done
	return 1
}
wait_for 15 cats n2 || fail "nothing runs on n2"
wait_for 15 cats n3 || fail "nothing runs on n3"

held() { # node: what its tasks have open of the kinds that one kernel could share
	local pid
	for pid in $(tasks "$1"); do
		find "/proc/$pid/fd" -type l \( -lname 'pipe:*' -o -lname 'socket:*' \) -printf '%l\n' 2>/dev/null
		find "/proc/$pid/fd" -type l -lname '/memfd:*' -exec stat -L -c 'memfd %d:%i' {} + 2>/dev/null
	done | sort -u
}
locks() { # node: inodes that its tasks have locked
	local pids
	pids=$(tasks "$1" | tr '\n' ' ')
	awk -v pids="$pids" 'BEGIN { n = split(pids, a, " "); for (i = 1; i <= n; i++) is[a[i]] = 1 } is[$5] { print "lock", $6 }' /proc/locks | sort -u
}
for k in 1 2 3; do
	{ held n$k; locks n$k; } >"$PANDO_TEST_DIR/n$k"
	[ "$(grep -c '^pipe' "$PANDO_TEST_DIR/n$k")" -gt 0 ] && [ "$(grep -c '^socket' "$PANDO_TEST_DIR/n$k")" -gt 0 ] &&
		[ "$(grep -c '^memfd' "$PANDO_TEST_DIR/n$k")" -gt 0 ] || fail "n$k seems to hold nothing: $(cat "$PANDO_TEST_DIR/n$k")"
done
for pair in "1 2" "1 3" "2 3"; do
	read -r a b <<<"$pair"
	both=$(comm -12 "$PANDO_TEST_DIR/n$a" "$PANDO_TEST_DIR/n$b")
	[ -z "$both" ] || fail "n$a and n$b both hold $both"
done

exec 9>&-
wait $pipeline || fail "the pipeline failed"
[ "$(cat "$PANDO_TEST_DIR/sum")" = "$(head -c 300000 /dev/zero | sha256sum)" ] || fail "the pipeline's bytes differ"
