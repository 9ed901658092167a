#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Seen from the host while a pipeline runs over three nodes, one of whose members has locked a file: no pipe, socket, memfd, inode
# that can be written (but of volumes) or lock is held on two nodes at once.
. tests/lib/cluster.sh
export LC_ALL=C
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
as_on n1 alice true || fail "no login"
mkfifo "$PANDO_TEST_DIR/in"
as_on n1 alice sh -c 'exec 8>lock; flock 8; on n2 cat | on n3 cat | sha256sum' <"$PANDO_TEST_DIR/in" >"$PANDO_TEST_DIR/sum" &
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
inodes() { # node: regular files that its tasks may write, but those of volumes
	local pid
	for pid in $(tasks "$1"); do
		find "/proc/$pid/fd" -type l -perm -u+w -lname '/*' -exec stat -L -c '%F:inode %d:%i' {} + 2>/dev/null
	done | sed -n 's/^regular.*file://p' | grep -vxFf "$PANDO_TEST_DIR/volumes" | sort -u
}
locks() { # node: inodes that are locked by descriptions which its tasks have
	local pid
	for pid in $(tasks "$1"); do
		cat "/proc/$pid/fdinfo"/* 2>/dev/null
	done | awk '$1 == "lock:" { print "lock", $7 }' | sort -u
}
find "$CLUSTER_DIR/vol" -type f -exec stat -c 'inode %d:%i' {} + >"$PANDO_TEST_DIR/volumes"
for k in 1 2 3; do
	{ held n$k; inodes n$k; locks n$k; } | sort -u >"$PANDO_TEST_DIR/n$k"
	[ "$(grep -c '^pipe' "$PANDO_TEST_DIR/n$k")" -gt 0 ] && [ "$(grep -c '^socket' "$PANDO_TEST_DIR/n$k")" -gt 0 ] &&
		[ "$(grep -c '^memfd' "$PANDO_TEST_DIR/n$k")" -gt 0 ] && [ "$(grep -c '^inode' "$PANDO_TEST_DIR/n$k")" -gt 0 ] ||
		fail "n$k seems to hold nothing: $(cat "$PANDO_TEST_DIR/n$k")"
done
grep -q '^lock' "$PANDO_TEST_DIR/n1" || fail "n1 seems to have locked nothing"
for pair in "1 2" "1 3" "2 3"; do
	read -r a b <<<"$pair"
	both=$(comm -12 "$PANDO_TEST_DIR/n$a" "$PANDO_TEST_DIR/n$b")
	[ -z "$both" ] || fail "n$a and n$b both hold $both"
done

exec 9>&-
wait $pipeline || fail "the pipeline failed"
[ "$(cat "$PANDO_TEST_DIR/sum")" = "$(head -c 300000 /dev/zero | sha256sum)" ] || fail "the pipeline's bytes differ"
