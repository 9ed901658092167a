#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two tenants on one node: alice sees nothing of bob's processes, files, ports, names or shared memory, and leaves
# her sandbox in none of the ways of tests/guest/escape.c, tried in a session of a real cluster.
. tests/lib/cluster.sh
cluster_up 1
p tenant add alice >/dev/null || fail "cannot add alice"
p tenant add bob >/dev/null || fail "cannot add bob"

# Bob: a port, an abstract name, a shared memory name, a message queue, a file; all live until his input ends.
mkfifo "$PANDO_TEST_DIR/bob.in"
as bob python3 -c '
import os, socket, sys
t = socket.socket(); t.bind(("127.0.0.1", 0)); t.listen()
u = socket.socket(socket.AF_UNIX); u.bind("\0bobs-name"); u.listen()
open("/dev/shm/bobs-memory", "w").write("secret")
open("/tmp/bobs-file", "w").write("secret"); os.chmod("/tmp/bobs-file", 0o777)
open(os.environ["HOME"] + "/secret", "w").write("secret")
print(t.getsockname()[1], os.getpid(), flush=True)
sys.stdin.read()
' <"$PANDO_TEST_DIR/bob.in" >"$PANDO_TEST_DIR/bob.out" &
exec 9>"$PANDO_TEST_DIR/bob.in"
wait_for 10 test -s "$PANDO_TEST_DIR/bob.out" || fail "bob's program does not start"
read -r port pid <"$PANDO_TEST_DIR/bob.out"

# Bob himself reaches what alice shall not.
as bob sh -c "test -s /tmp/bobs-file && test -s /dev/shm/bobs-memory && kill -0 $pid" || fail "bob misses his own things"
as bob python3 -c "
import socket
socket.create_connection(('127.0.0.1', $port))
socket.socket(socket.AF_UNIX).connect('\0bobs-name')" || fail "bob does not reach his own sockets"

# The attempts that name a port and a name now mean bob's.
as alice sh -c "mkdir -p bin; cat >bin/escape; chmod 755 bin/escape; echo '$port bobs-name' >escape.args" <"$B/guest/escape" ||
	fail "cannot give alice the program"
as alice bin/escape >"$PANDO_TEST_DIR/escape.out" || {
	grep -E 'ESCAPED|not nosuid|must|guest/' "$PANDO_TEST_DIR/escape.out"
	fail "alice got out"
}
tail -n 1 "$PANDO_TEST_DIR/escape.out"
grep -q '^host_port: ECONNREFUSED' "$PANDO_TEST_DIR/escape.out" || fail "bob's port is not refused as a closed one"

for what in /tmp/bobs-file /dev/shm/bobs-memory /home/bob/secret "/proc/$pid/root/tmp/bobs-file"; do
	as alice cat "$what" 2>/dev/null && fail "alice reads $what"
done
as alice kill -0 "$pid" 2>/dev/null && fail "alice may signal bob's process"
as alice ps axww | grep -q bobs-name && fail "alice sees bob's process"
as alice sh -c 'cat /proc/[0-9]*/cmdline' 2>/dev/null | tr '\0' ' ' | grep -q bobs-name && fail "alice finds bob's process in /proc"
as alice sh -c 'cat /proc/net/unix /proc/net/tcp' | grep -qi -e bobs-name -e "$(printf ':%04X ' "$port")" && fail "alice sees bob's sockets"
as alice sh -c 'cat /proc/self/mountinfo' | grep -q bob && fail "alice sees bob's mounts"

# The control socket of her session speaks for her alone.
as alice pando ps >"$PANDO_TEST_DIR/ps.out" || fail "alice cannot use pando"
as alice pando ps bob >>"$PANDO_TEST_DIR/ps.out" 2>/dev/null
grep -q '^bob ' "$PANDO_TEST_DIR/ps.out" && fail "pando ps shows alice bob's processes"
for refused in "tenant add eve" "tenant rm bob" "login bob -- id" "invite" "leave" "why $pid"; do
	# shellcheck disable=SC2086
	as alice timeout 20 pando $refused >"$PANDO_TEST_DIR/api.out" 2>&1 </dev/null && {
		cat "$PANDO_TEST_DIR/api.out"
		fail "alice may: pando $refused"
	}
done

# And she takes the same names for herself.
as alice python3 -c "
import socket
t = socket.socket(); t.bind(('127.0.0.1', $port)); t.listen()
u = socket.socket(socket.AF_UNIX); u.bind('\0bobs-name'); u.listen()
open('/dev/shm/bobs-memory', 'x').close()" || fail "alice cannot use the same port and names"
exec 9>&-
wait
