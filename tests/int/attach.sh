#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sessions outlive their lines: connections, sshd, pandod and guest kernels die; attach brings them back, also elsewhere.
. tests/lib/cluster.sh
. tests/lib/ssh.sh
cluster_up 2
p tenant add alice >/dev/null || fail "tenant add"
ssh_key alice alice
at() { python3 tests/lib/attach.py "$@"; }
SSH1=(ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$(ssh_port n1)" alice@127.0.0.1)
SSH2=(ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$(ssh_port n2)" alice@127.0.0.1)
PANDO=("$BIN/pando" --dir "$CLUSTER_DIR")
sessions() { p attach -l alice -o csv | tail -n +2; }
detached() { # number of detached sessions
	[ "$(sessions | grep -vc ',-$')" = "$1" ]
}
runs() { # pid
	p ps alice -o csv | cut -d, -f2 | grep -qx "$1"
}
wait_for 20 with alice n1 true || fail "alice cannot log in"

# A connection is lost without a word; the session is there at the next login, and ends as it likes.
at lose "$PANDO_TEST_DIR/pid" "${SSH1[@]}" || fail "lose"
wait_for 20 detached 1 || fail "the session is not detached: $(sessions)"
runs "$(cat "$PANDO_TEST_DIR/pid")" || fail "the session did not go on"
sleep 1.2
at again 1 "${SSH1[@]}" || fail "attach at the same gate"
[ -z "$(sessions)" ] || fail "sessions are left: $(sessions)"

# From another node's gate; and by the operator's command.
at lose "$PANDO_TEST_DIR/pid" "${SSH1[@]}" || fail "lose"
wait_for 20 detached 1 || fail "the session is not detached: $(sessions)"
sleep 1.2
at again 1 "${SSH2[@]}" || fail "attach at another gate"
at lose "$PANDO_TEST_DIR/pid" "${SSH2[@]}" || fail "lose"
wait_for 20 detached 1 || fail "the session is not detached: $(sessions)"
at by-command marker-42 "${PANDO[@]}" attach alice 1 || fail "pando attach"
at by-command marker-42 "${PANDO[@]}" --node n1 attach alice "$(cat "$PANDO_TEST_DIR/pid")" || fail "pando attach by pid, from n1"
at taken "${SSH1[@]}" -- "${PANDO[@]}" attach alice 2 || fail "the line is taken"
wait_for 20 detached 1 || fail "the session is not detached: $(sessions)"

# Everything of the gate dies: sshd with all its connections and session programs, then pandod.
for pid in $(cat "$(find /sys/fs/cgroup -type d -path "*/pando-$(basename "$CLUSTER_DIR")-*/n2/SSH" | head -n 1)/cgroup.procs"); do
	kill -9 "$pid"
done
kill -9 "$(pandod_pid n2)"
wait_for 20 with alice n2 true || fail "the gate does not come back"
at again 1 "${SSH2[@]}" || fail "attach after the death of the gate"

# Output and input stay whole while what carries them dies under it.
kernel() { echo "kill -9 \$(head -n 1 $(dirname "$(find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/$1/alice/kernel/cgroup.procs" | head -n 1)")/cgroup.procs)"; }
at through "guest kernel" "for i in 1 2 3; do $(kernel n1); sleep 0.4; done" "${SSH1[@]}" || fail "the guest kernel died"
at through "in a read" "$BIN/pando --dir $CLUSTER_DIR --node n1 debug fault n1 alice kernel.terminal.read:20:kill" "${SSH1[@]}" || fail "the guest kernel died in a read"
at through pandod "kill -9 $(pandod_pid n1)" "${SSH1[@]}" || fail "pandod died"
# The same with the session on n1 and the line from n2: both kernels on the way die.
at lose "$PANDO_TEST_DIR/pid" "${SSH1[@]}" || fail "lose"
wait_for 20 detached 1 || fail "the session is not detached: $(sessions)"
at through "both guest kernels" "$(kernel n1); sleep 0.6; $(kernel n2)" "${PANDO[@]}" --node n2 attach alice 1 || fail "kernels on the way died"

# A session begins, whatever dies while it does.
wait_for 20 detached 0 || fail "sessions are left: $(sessions)"
for point in kernel.session.spawned kernel.session.kept kernel.terminal.ring_kept kernel.terminal.read; do
	p debug fault n1 alice $point:1:kill || fail "debug fault"
	at begin "${PANDO[@]}" --node n1 login alice || fail "killed at $point"
done
p debug fault n1 pod.session.started:1:kill || fail "debug fault"
at begin "${PANDO[@]}" --node n1 login alice || fail "killed at pod.session.started"

# Who comes back brings his agent.
export SSH_AUTH_SOCK=$PANDO_TEST_DIR/agent
timeout 250 ssh-agent -D -a "$SSH_AUTH_SOCK" >/dev/null &
agent=$!
wait_for 10 test -S "$SSH_AUTH_SOCK" || fail "the agent does not start"
ssh_key other
ssh-add -q "$SSH_DIR/other" || fail "ssh-add"
print=$(ssh-keygen -lf "$SSH_DIR/other.pub" | cut -d' ' -f2)
at agent "$print" "${SSH1[@]}" -A || fail "the agent of who logs in"
wait_for 20 detached 1 || fail "the session is not detached: $(sessions)"
at brings "$print" "${SSH1[@]}" -A || fail "the agent of who comes back"
kill $agent
wait $agent 2>/dev/null
unset SSH_AUTH_SOCK

# A shell that leaves a noisy child behind ends all the same, on a line and without one.
noisy='yes & sleep 0.3; exit 3'
script -qec "$BIN/pando --dir $CLUSTER_DIR --node n1 login -t alice -- bash -c '$noisy'" /dev/null </dev/null >"$PANDO_TEST_DIR/yes" 2>&1 &
wait_for 30 sh -c "! kill -0 $! 2>/dev/null" || fail "a noisy child keeps the session"
wait $!
[ $? = 3 ] || fail "a noisy child's shell ends with another status"
wait_for 20 sh -c "! $BIN/pando --dir $CLUSTER_DIR ps alice -o csv | grep -q ',yes'" || fail "the noisy child outlived its terminal"
at lose "$PANDO_TEST_DIR/pid" "${SSH1[@]}" || fail "lose"
wait_for 20 detached 1 || fail "the session is not detached"
at noise 1 "${PANDO[@]}" attach alice 1 || fail "noise"
wait_for 20 detached 0 || fail "a noisy child keeps a session without a line"
timeout 20 "${PANDO[@]}" login -T alice -- true || fail "the guest kernel does not answer"

# What the tenant wants: hang up what lost its line. A command without a terminal is hung up in any case.
p tenant set alice detached=hangup || fail "tenant set"
at lose "$PANDO_TEST_DIR/pid" "${SSH1[@]}" || fail "lose"
wait_for 20 sh -c "! $BIN/pando --dir $CLUSTER_DIR ps alice -o csv | cut -d, -f2 | grep -qx $(cat "$PANDO_TEST_DIR/pid")" || fail "detached=hangup does not hang up"
"${SSH1[@]}" 'echo $$; exec sleep 1000' >"$PANDO_TEST_DIR/cmd" &
client=$!
wait_for 20 test -s "$PANDO_TEST_DIR/cmd" || fail "the command does not start"
kill -9 $client
wait $client 2>/dev/null
wait_for 20 sh -c "! $BIN/pando --dir $CLUSTER_DIR ps alice -o csv | cut -d, -f2 | grep -qx $(cat "$PANDO_TEST_DIR/cmd")" || fail "a command outlived its connection"
exit 0
