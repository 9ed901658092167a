#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# This host itself as a node: its gate, on the port that it is told, and none when it is told so.
. tests/lib/cluster.sh
. tests/lib/ssh.sh
trap cluster_down EXIT
trap 'exit 143' TERM INT
# Ports of our own: out of the test's name, below those of local clusters and of whoever connects to somewhere.
port=$((11000 + $(echo "$CLUSTER_DIR" | cksum | cut -d' ' -f1) % 2000 * 3))
p up --host --addr "127.0.0.1:$port" --ssh "127.0.0.1:$((port + 2))" >/dev/null || fail "up --host"
p tenant add alice >/dev/null || fail "tenant add"
ssh_key alice alice
wait_for 20 with alice n1 true || fail "alice cannot log in"
[ "$(with alice n1 'id -un; ls /home')" = $'alice\nalice' ] || fail "who and where"
# The host's own passwd and nsswitch.conf are what they were: sshd has its own.
getent passwd alice && fail "the host knows alice"
nsenter -m -t "$(sshd_pid n1)" getent passwd alice | grep -q pando-session || fail "sshd does not know alice"
nsenter -m -t "$(sshd_pid n1)" ls / | tr '\n' ' ' | grep -qE '^bin dev etc (lib(32|64|x32)? )+pando run sbin tmp usr $' ||
	fail "sshd sees: $(nsenter -m -t "$(sshd_pid n1)" ls / | tr '\n' ' ')"
p down >/dev/null || fail "down"
timeout 2 bash -c "exec 2>/dev/null; : >/dev/tcp/127.0.0.1/$((port + 2))" && fail "sshd outlived its node"
p up --host --addr "127.0.0.1:$port" --ssh off >/dev/null || fail "up --ssh off"
[ -z "$(rm -f "$SSH_DIR"/port.*; ssh_port n1)" ] || fail "--ssh off has an address"
p down >/dev/null || fail "down"
python3 -c '
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
sys.stdin.read()' $((port + 2)) < <(sleep 1000 & echo $! >"$PANDO_TEST_DIR/sleeper"; wait) >"$PANDO_TEST_DIR/other" &
wait_for 10 grep -qs up "$PANDO_TEST_DIR/other" || fail "nobody else listens"
p up --host --addr "127.0.0.1:$port" --ssh "$((port + 2))" 2>"$PANDO_TEST_DIR/refused" && fail "up where somebody else listens"
kill "$(cat "$PANDO_TEST_DIR/sleeper")"
grep -q "^pando: cannot listen for ssh at 127.0.0.1:$((port + 2)): Address already in use (--ssh takes another); try: ss -ltnp 'sport = :$((port + 2))'" "$PANDO_TEST_DIR/refused" ||
	fail "refused: $(cat "$PANDO_TEST_DIR/refused")"
p up --host --addr 127.0.0.1 --ssh nowhere 2>&1 | grep -q "cannot listen for ssh at nowhere: it is no PORT" || fail "--ssh nowhere"
exit 0
