#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Running processes are moved from node to node while they compute, read and write; where they run is looked at
# from outside, in the host's control groups.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"

# The node on which the host runs the process of a tenant's pid (not its stub), by control group.
runs_on() { # pid
	local procs q
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/n*/alice/guests/*" -name cgroup.procs 2>/dev/null |
		while read -r procs; do
			while read -r q; do
				[ "$(awk '/^NSpid/ { print $NF }' "/proc/$q/status" 2>/dev/null)" = "$1" ] || continue
				# What dies between two looks has no name any more.
				comm=$(cat "/proc/$q/comm" 2>/dev/null) && [ "$comm" != pando-stub ] && echo "$procs" | grep -oE '/n[0-9]+/' | tr -d /
			done <"$procs"
		done | sort -u
}

pid_of() { # args
	p ps alice -o csv | awk -F, -v want="$1" '$10 == want { print $2 }'
}

moved_to() { # pid node
	p migrate "$1" "$2" >"$PANDO_TEST_DIR/moved" 2>&1 || fail "migrate $1 $2: $(cat "$PANDO_TEST_DIR/moved")"
	at=$(runs_on "$1")
	[ "$at" = "$2" ] || fail "$1 shall run on $2, the host sees it on '$at'"
}

nothing_left() {
	wait_for 10 sh -c "[ -z \"\$('$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | tail -n +2)\" ]" || fail "left: $(p ps alice)"
}

as alice sh -c 'cat >count.py' <<'PY'
import hashlib, os, sys, threading, time
h = hashlib.sha256()
if "threads" in sys.argv:
    threading.Thread(target=lambda: time.sleep(3600), daemon=True).start()
i = 0
while not os.path.exists("enough"):
    h.update(str(i).encode())
    print(i, h.hexdigest(), flush=True)
    time.sleep(0.01)
    i += 1
sys.exit(5)
PY

# Numbers without a gap, and each with the sha256 of all before it.
counted() { # file
	python3 - "$(wc -l <"$1")" >"$PANDO_TEST_DIR/want" <<'PY'
import hashlib, sys
h = hashlib.sha256()
for i in range(int(sys.argv[1])):
    h.update(str(i).encode())
    print(i, h.hexdigest())
PY
	cmp "$1" "$PANDO_TEST_DIR/want" || fail "$1 has a gap or a repetition"
}

start() { # argument... ; the session's pid is $session
	as alice rm -f enough
	: >"$PANDO_TEST_DIR/got"
	as alice bash -c "python3 count.py $* | tee copy; exit \${PIPESTATUS[0]}" >"$PANDO_TEST_DIR/got" &
	session=$!
	wait_for 20 grep -qs '^5 ' "$PANDO_TEST_DIR/got" || fail "the counter does not start"
}

finish() {
	as alice touch enough
	wait $session
	code=$?
	[ $code = 5 ] || fail "it ended with $code"
	counted "$PANDO_TEST_DIR/got"
	as alice cat copy >"$PANDO_TEST_DIR/copy"
	cmp "$PANDO_TEST_DIR/got" "$PANDO_TEST_DIR/copy" || fail "tee wrote something else"
	nothing_left
}

# A counter and a running sha256 through tee, round the machine, by all commands; with one thread and with two.
for threads in "" threads; do
	start $threads
	pid=$(pid_of "python3 count.py${threads:+ $threads}")
	moved_to "$pid" n2
	as alice sh -c "echo n3 >/proc/$pid/node" || fail "/proc/$pid/node"
	[ "$(runs_on "$pid")" = n3 ] || fail "by /proc: on $(runs_on "$pid")"
	[ "$(as alice cat /proc/"$pid"/node)" = n3 ] || fail "/proc/$pid/node says $(as alice cat /proc/"$pid"/node)"
	as alice migrate "$pid" n1 >/dev/null || fail "migrate in a session"
	[ "$(runs_on "$pid")" = n1 ] || fail "by migrate: on $(runs_on "$pid")"
	moved_to "$pid" n2
	finish
done

# The shell between them: its children stay, it waits for them from elsewhere, it follows one.
start
shell=$(pid_of "bash -c python3 count.py  | tee copy; exit \${PIPESTATUS[0]}")
child=$(pid_of "python3 count.py")
moved_to "$shell" n2
moved_to "$child" n3
moved_to "$shell" n3
moved_to "$child" n1
finish

# An exec sends it on from a node that is not its home: its record follows it, so it moves like any other.
start_by() { # script
	as alice rm -f enough go shell
	: >"$PANDO_TEST_DIR/got"
	as_on n1 alice bash -c "$1" >"$PANDO_TEST_DIR/got" &
	session=$!
}
ends_well() {
	as alice touch enough
	wait $session
	code=$?
	[ $code = 5 ] || fail "what was sent on ended with $code"
	counted "$PANDO_TEST_DIR/got"
	nothing_left
}
start_by 'on n2 bash -c "exec on n3 python3 count.py"; exit $?'
wait_for 20 grep -qs '^5 ' "$PANDO_TEST_DIR/got" || fail "it is not sent on"
pid=$(pid_of "python3 count.py")
[ "$(runs_on "$pid")" = n3 ] || fail "it is sent on to '$(runs_on "$pid")'"
for node in n1 n2 n3 n2; do moved_to "$pid" $node; done
ends_well

# Its children begin and end at any moment of a move: who moves it hears nothing of that.
as alice rm -f go shell
as_on n1 alice bash -c 'echo $$ >shell; exec </dev/null >/dev/null 2>&1; while [ ! -e go ]; do sleep 0.02; done; exit 6' &
session=$!
wait_for 20 as alice test -s shell || fail "no shell"
pid=$(as alice cat shell)
for _ in 1 2 3 4; do
	for node in n2 n3 n1; do moved_to "$pid" $node; done
done
as alice touch go
wait $session
code=$?
[ $code = 6 ] || fail "a shell with many children ended with $code"
nothing_left

# A shell that has moved runs its programs where it says, itself too.
start_by 'echo $$ >shell; while [ ! -e go ]; do sleep 0.02; done
	for n in n1 n2 n3; do on $n sh -c "cat /proc/\$\$/node"; done >where
	exec on n3 python3 count.py'
wait_for 20 as alice test -s shell || fail "no shell"
pid=$(as alice cat shell)
as alice touch go
wait_for 20 grep -qs '^5 ' "$PANDO_TEST_DIR/got" || fail "the shell that has moved does not execute the counter"
[ "$(as alice cat where | tr '\n' ' ')" = "n1 n2 n3 " ] || fail "programs of a shell that has moved ran on $(as alice cat where)"
[ "$(runs_on "$pid")" = n3 ] || fail "a shell that has moved executes on '$(runs_on "$pid")'"
for node in n2 n1 n3; do moved_to "$pid" $node; done
ends_well

# Signals find it; a death by signal is its parent's to see.
as alice sh -c 'sleep 3600; echo $?' >"$PANDO_TEST_DIR/killed" &
session=$!
wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | grep -q ',sleep 3600'" || fail "no sleep"
pid=$(pid_of "sleep 3600")
moved_to "$pid" n2
moved_to "$pid" n3
as alice kill -TERM "$pid" || fail "kill"
wait $session
[ "$(cat "$PANDO_TEST_DIR/killed")" = 143 ] || fail "killed: $(cat "$PANDO_TEST_DIR/killed")"
nothing_left

# What cannot move is refused by name, and runs on.
mkfifo "$PANDO_TEST_DIR/fifo" || fail "mkfifo"
as alice python3 -c 'import socket, sys
a, b = socket.socketpair()
print("up", flush=True)
sys.stdin.read()
sys.exit(3)' <"$PANDO_TEST_DIR/fifo" >"$PANDO_TEST_DIR/sock" &
session=$!
exec 9>"$PANDO_TEST_DIR/fifo"
wait_for 20 grep -qs up "$PANDO_TEST_DIR/sock" || fail "the one with sockets does not start"
pid=$(p ps alice -o csv | grep 'import socket' | cut -d, -f2)
p migrate "$pid" n2 >"$PANDO_TEST_DIR/refused" 2>&1 && fail "a process with sockets moves"
grep -q "is a socket.*; try: pando why $pid\$" "$PANDO_TEST_DIR/refused" || fail "refused: $(cat "$PANDO_TEST_DIR/refused")"
p why "$pid" | grep -q 'because descriptor [0-9]* is a socket' || fail "why: $(p why "$pid")"
exec 9>&-
wait $session
[ $? = 3 ] || fail "the one that stays"
p migrate 4194000 n2 2>&1 | grep -q 'there is no process 4194000; try: pando ps' || fail "migrate of nobody"

# ---- by itself: a shell, and a thread that is not the first
out=$(as_on n1 alice bash -c 'for k in n2 n3 n1 n3 n3; do echo $k >/proc/$$/node && read -r at </proc/$$/node && echo $at; done; exit 3')
code=$?
[ "$code $out" = "3 $(printf 'n2\nn3\nn1\nn3\nn3')" ] || fail "a shell that moves itself: status $code: $out"
out=$(as_on n1 alice python3 -c 'import os, threading
def go():
    for k in ("n3", "n2", "n1"):
        os.write(os.open(f"/proc/{os.getpid()}/node", os.O_WRONLY), k.encode())
        print(open(f"/proc/{os.getpid()}/node").read(), end="")
t = threading.Thread(target=go)
t.start()
t.join()')
[ "$out" = "$(printf 'n3\nn2\nn1')" ] || fail "a thread that moves its process: $out"
out=$(as_on n1 alice python3 -c 'import os, socket
s = socket.socket()
try:
    os.write(os.open(f"/proc/{os.getpid()}/node", os.O_WRONLY), b"n2")
except OSError as e:
    print(e.strerror)')
[ "$out" = "Operation not supported" ] || fail "what cannot move is told: $out"
nothing_left
exit 0
