#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins over ssh with the stock client: each feature that people use, and what must not work.
. tests/lib/cluster.sh
. tests/lib/ssh.sh
cluster_up 2
for t in alice bob; do
	p tenant add $t >/dev/null || fail "tenant add"
	ssh_key $t $t
done
port=$(ssh_port n1)
[ -n "$port" ] || fail "no port in the status"
p status | grep -q "ssh -p $port TENANT@127.0.0.1" || fail "status does not say how to log in"
wait_for 20 with alice n1 true || fail "alice cannot log in: $(with alice n1 true 2>&1)"

# Commands: whose they are, where, their statuses, their bytes.
[ "$(with alice n1 'echo $(id -un) $HOME $(pwd)')" = "alice /home/alice /home/alice" ] || fail "who and where"
with alice n1 'exit 42'
[ $? = 42 ] || fail "exit status"
with alice n1 'kill -9 $$'
[ $? = 137 ] || fail "status of a killed command"
[ "$(with alice n1 'echo out; echo err >&2' 2>/dev/null)" = out ] || fail "stdout"
[ "$(with alice n1 'echo out; echo err >&2' 2>&1 >/dev/null)" = err ] || fail "stderr"
head -c 10000000 /dev/urandom >"$PANDO_TEST_DIR/big"
want=$(sha256sum <"$PANDO_TEST_DIR/big")
[ "$(with alice n1 cat <"$PANDO_TEST_DIR/big" | sha256sum)" = "$want" ] || fail "10 MB there and back differ"
[ "$(with bob n2 'id -un')" = bob ] || fail "bob on the other gate"
# A process of the tenant, below its filter, in its namespaces, on the node of the gate.
with alice n1 'grep -c "Seccomp:.2" /proc/self/status' | grep -qx 1 || fail "the command is not below the filter"
with alice n2 'cat /proc/$$/node' | grep -qx n2 || fail "the session is not on the gate's node"
with alice n1 'ls /home' | grep -qx alice || fail "alice sees another root"
with alice n1 'echo kept >file'
[ "$(with alice n2 cat file)" = kept ] || fail "the file of one gate is not on the other"

# A shell on a terminal, its window, its keys.
python3 tests/lib/attach.py shell ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$port" alice@127.0.0.1 || fail "shell"

# Copies: sftp, scp (both protocols), rsync; git.
opts="${SSH_OPTS[*]} -i $SSH_DIR/alice"
scp -q "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -P "$port" "$PANDO_TEST_DIR/big" alice@127.0.0.1:big || fail "scp to"
[ "$(with alice n1 'sha256sum <big')" = "$want" ] || fail "scp changed the file"
scp -q -O "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -P "$port" alice@127.0.0.1:big "$PANDO_TEST_DIR/back" || fail "scp -O from"
cmp "$PANDO_TEST_DIR/big" "$PANDO_TEST_DIR/back" || fail "scp -O changed the file"
printf 'mkdir d\nput %s d/x\nls d\nrename d/x d/y\nget d/y %s\nrm d/y\nrmdir d\n' "$PANDO_TEST_DIR/big" "$PANDO_TEST_DIR/back2" |
	sftp -q -b - "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -P "$port" alice@127.0.0.1 >/dev/null || fail "sftp"
cmp "$PANDO_TEST_DIR/big" "$PANDO_TEST_DIR/back2" || fail "sftp changed the file"
mkdir "$PANDO_TEST_DIR/tree" && (cd "$PANDO_TEST_DIR/tree" && mkdir -p a/b && echo 1 >a/one && echo 2 >a/b/two && ln -s one a/link)
rsync -a -e "ssh $opts -p $port" "$PANDO_TEST_DIR/tree/" alice@127.0.0.1:tree/ || fail "rsync to"
rsync -a -e "ssh $opts -p $port" alice@127.0.0.1:tree/ "$PANDO_TEST_DIR/tree2/" || fail "rsync from"
diff -r "$PANDO_TEST_DIR/tree" "$PANDO_TEST_DIR/tree2" || fail "rsync changed the tree"
with alice n1 'git init -q --bare -b main repo.git' || fail "git init"
export GIT_SSH_COMMAND="ssh $opts -p $port" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b HOME=$PANDO_TEST_DIR
git init -q -b main "$PANDO_TEST_DIR/repo" && git -C "$PANDO_TEST_DIR/repo" commit -q --allow-empty -m one || fail "git commit"
git -C "$PANDO_TEST_DIR/repo" push -q alice@127.0.0.1:repo.git main || fail "git push"
git clone -q alice@127.0.0.1:repo.git "$PANDO_TEST_DIR/clone" || fail "git clone"
[ "$(git -C "$PANDO_TEST_DIR/clone" log --format=%s)" = one ] || fail "git cloned something else"

# The agent: reachable from inside, and gone with the connection.
export SSH_AUTH_SOCK=$PANDO_TEST_DIR/agent
timeout 250 ssh-agent -D -a "$SSH_AUTH_SOCK" >/dev/null &
agent=$!
wait_for 10 test -S "$SSH_AUTH_SOCK" || fail "the agent does not start"
ssh_key other
ssh-add -q "$SSH_DIR/other" || fail "ssh-add"
[ "$(with alice n1 -A 'ssh-add -l' | cut -d' ' -f2)" = "$(ssh-keygen -lf "$SSH_DIR/other.pub" | cut -d' ' -f2)" ] || fail "the agent's keys are not seen inside"
with alice n1 -A 'for i in 1 2 3 4 5 6 7 8; do ssh-add -l & done; wait' | sort -u | wc -l | grep -qx 1 || fail "eight at once at the agent"
with alice n1 'ssh-add -l' 2>&1 | grep -qi "authentication agent" || fail "an agent without -A"
with alice n1 -A 'ls /run/pando; stat -c %a $SSH_AUTH_SOCK' | grep -qx 600 || fail "others may use the agent"
with alice n1 'ls /run/pando' | grep agent && fail "an agent's socket stays behind"
kill $agent
wait $agent 2>/dev/null
unset SSH_AUTH_SOCK

# Forwarding is off: nothing reaches the host's network by way of the gate.
python3 -c '
import http.server, sys
s = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
open(sys.argv[1], "w").write(str(s.server_port))
s.serve_forever()' "$PANDO_TEST_DIR/web" >/dev/null 2>&1 &
web=$!
wait_for 10 test -s "$PANDO_TEST_DIR/web" || fail "the web server does not start"
webport=$(cat "$PANDO_TEST_DIR/web")
curl -s "http://127.0.0.1:$webport/" | grep -q 501 || fail "the web server does not answer"
ssh -o LogLevel=INFO "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$port" -W "127.0.0.1:$webport" alice@127.0.0.1 </dev/null >"$PANDO_TEST_DIR/w" 2>&1 && fail "-W works"
grep -q "prohibited" "$PANDO_TEST_DIR/w" || fail "-W fails for another reason: $(cat "$PANDO_TEST_DIR/w")"
fwd=$((port + 30))
ssh -o LogLevel=INFO "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$port" -L "$fwd:127.0.0.1:$webport" -D $((fwd + 1)) \
	-L "$PANDO_TEST_DIR/stream:/run/pando/control.sock" alice@127.0.0.1 'sleep 100' 2>"$PANDO_TEST_DIR/l" &
tunnel=$!
wait_for 20 bash -c "exec 2>/dev/null; : >/dev/tcp/127.0.0.1/$fwd" || fail "the client does not listen for -L"
curl -s --max-time 5 "http://127.0.0.1:$fwd/" && fail "-L reaches the host's loopback"
wait_for 10 grep -q prohibited "$PANDO_TEST_DIR/l" || fail "-L was not refused: $(cat "$PANDO_TEST_DIR/l")"
curl -s --max-time 5 --socks5 "127.0.0.1:$((fwd + 1))" "http://127.0.0.1:$webport/" && fail "-D reaches the host's loopback"
# The look whether it listens was refused, then -L.
thrice() { [ "$(grep -c prohibited "$PANDO_TEST_DIR/l")" -ge 3 ]; }
wait_for 10 thrice || fail "-D was not refused: $(cat "$PANDO_TEST_DIR/l")"
curl -s --max-time 5 --unix-socket "$PANDO_TEST_DIR/stream" http://pando/v1/nodes && fail "-L reaches a unix socket"
wait_for 10 grep -q 'open failed: connect failed' "$PANDO_TEST_DIR/l" || fail "-L to a unix socket was not refused: $(cat "$PANDO_TEST_DIR/l")"
kill $tunnel
wait $tunnel 2>/dev/null
with alice n1 -o ExitOnForwardFailure=yes -R "$PANDO_TEST_DIR/back:/run/pando/control.sock" true 2>/dev/null && fail "-R of a unix socket works"
with alice n1 -o ExitOnForwardFailure=yes -R "0:127.0.0.1:$webport" true 2>/dev/null && fail "-R works"
with alice n1 -o ExitOnForwardFailure=yes -w 0:0 true 2>/dev/null && fail "a tunnel device works"
with alice n1 -X 'echo "${DISPLAY:-none}"' | grep -qx none || fail "X11 works"
# A process inside does not see the host's loopback either; that is its network namespace's doing.
with alice n1 "bash -c 'exec 3<>/dev/tcp/127.0.0.1/$webport'" 2>/dev/null && fail "alice reaches the host's loopback"
kill $web
wait $web 2>/dev/null

# Who may: keys of that tenant, nobody else; no root, no user of the host, no password.
ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$port" bob@127.0.0.1 true 2>/dev/null && fail "alice's key lets in bob"
for user in root sshd nobody; do
	ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/alice" -p "$port" $user@127.0.0.1 true 2>/dev/null && fail "$user may log in"
done
ssh "${SSH_OPTS[@]}" -o PubkeyAuthentication=no -o PreferredAuthentications=password,keyboard-interactive,none \
	-v -p "$port" alice@127.0.0.1 true 2>&1 | tr -d "\r" | grep "can continue" | grep -v "can continue: publickey$" && fail "something else than keys is offered"
ssh_key second alice
ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/second" -p "$port" alice@127.0.0.1 true || fail "a second key"
p tenant key rm alice second@test >/dev/null || fail "key rm"
t0=$(date +%s%N)
for n in n1 n2; do
	ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/second" -p "$(ssh_port $n)" alice@127.0.0.1 true 2>/dev/null && fail "a revoked key lets in at $n, $((($(date +%s%N) - t0) / 1000000)) ms later"
done
p tenant rm bob || fail "tenant rm"
with bob n1 true 2>/dev/null && fail "a removed tenant may log in"

ssh_port n2 >/dev/null
# sshd dies: another one; logins meanwhile wait for nobody. Its host key stays.
kill -9 "$(sshd_pid n1)"
wait_for 20 with alice n1 true || fail "no login after the death of sshd"
# A new pandod finds the sshd that runs, and a login while it is away waits for it.
before=$(sshd_pid n1)
kill -9 "$(pandod_pid n1)"
with alice n1 true || fail "no login while pandod is away"
[ "$(sshd_pid n1)" = "$before" ] || fail "the new pandod started another sshd"
# Who asks for a key has an id of its own, a filter, and no way to more rights. It is seen while its daemon is held.
kill -STOP "$(pandod_pid n1)"
with alice n1 true &
client=$!
asks() {
	local pid
	for pid in $(cat "$(find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/n1/SSH/cgroup.procs" | head -n 1)"); do
		[ "$(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -d' ' -f1,2)" = "/pando/bin/pando-keys alice" ] &&
			grep -q '^Seccomp:.2' "/proc/$pid/status" && rights=$(awk '/^(Uid|Gid|CapPrm|NoNewPrivs):/ { print $2 }' "/proc/$pid/status" | xargs)
	done 2>/dev/null
	[ -n "${rights:-}" ]
}
wait_for 20 asks || fail "nobody asks for a key behind a filter"
kill -CONT "$(pandod_pid n1)"
[ "$rights" = "65533 65533 0000000000000000 1" ] || fail "the rights of who asks for keys: $rights"
wait $client || fail "the login that waited for pandod failed"
exit 0
