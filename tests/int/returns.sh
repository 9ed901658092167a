#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Processes go away and come back, more than once over the same node: where their pipes are they have the very pipes
# again (the host tells by inode), elsewhere the newest relay alone, and what they write last comes before their end.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"

pipes_of() { # node pid
	local q
	q=$(host_pid "$1" "$2")
	readlink "/proc/$q/fd/0" "/proc/$q/fd/1" "/proc/$q/fd/2" | tr '\n' ' '
}

moved_to() { # node
	p migrate "$pid" "$1" >"$PANDO_TEST_DIR/moved" 2>&1 || fail "migrate $pid $1: $(cat "$PANDO_TEST_DIR/moved")"
}

lines() { wc -l <"$PANDO_TEST_DIR/got"; }
more_than() { [ "$(lines)" -gt "$1" ]; }
writes_on() { more_than "$1" || wait_for 20 more_than "$1" || fail "it stands still on $2, after $(lines) lines"; }

as alice sh -c 'cat >count.py' <<'PY'
import os, sys, threading, time
n = 0
def read():
    global n
    while byte := sys.stdin.buffer.read(1):
        n += 1
threading.Thread(target=read).start()
print(os.getpid(), flush=True)
i = 0
while threading.active_count() > 1:
    print(i, flush=True)
    i += 1
    time.sleep(0.005)
print("read", n, flush=True)
sys.exit(5)
PY

# Everything that it reads and writes is a pipe of n2. Three times over each other node, and back to it.
mkfifo "$PANDO_TEST_DIR/in" || fail "mkfifo"
as_on n2 alice python3 count.py <"$PANDO_TEST_DIR/in" >"$PANDO_TEST_DIR/got" &
session=$!
exec 9>"$PANDO_TEST_DIR/in"
wait_for 20 grep -qs '^5$' "$PANDO_TEST_DIR/got" || fail "the counter does not start"
pid=$(head -n 1 "$PANDO_TEST_DIR/got")
before=$(pipes_of n2 "$pid")
for node in n1 n3 n1 n3 n2 n3 n2 n1 n2; do
	moved_to $node
	echo -n 12345 >&9
	writes_on "$(lines)" $node
	now=$(pipes_of $node "$pid")
	if [ $node = n2 ]; then
		[ "$now" = "$before" ] || fail "back on n2 it has $now, and had $before"
	else
		[ "$now" != "$before" ] || fail "on $node it has the pipes of n2"
	fi
done
exec 9>&-
wait $session
code=$?
[ $code = 5 ] || fail "it ended with $code"
[ "$(tail -n 1 "$PANDO_TEST_DIR/got")" = "read 45" ] || fail "$(tail -n 1 "$PANDO_TEST_DIR/got") of 45"
sed '1d;$d' "$PANDO_TEST_DIR/got" >"$PANDO_TEST_DIR/numbers"
seq 0 "$(($(wc -l <"$PANDO_TEST_DIR/numbers") - 1))" | cmp - "$PANDO_TEST_DIR/numbers" || fail "a gap or a repetition"

# Back where it began it ends at once: its shell, which waits for it there, writes to the same pipe.
as alice sh -c 'cat >last.py' <<'PY'
import os, sys, time
for i in range(8):
    pid = os.fork()
    if pid == 0:
        print("pid", os.getpid(), flush=True)
        while not os.path.exists(f"go{i}"):
            time.sleep(0.002)
        for k in range(20):
            print("in", i, k, flush=True)
        os._exit(i)
    print("over", i, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
PY
as_on n1 alice python3 last.py >"$PANDO_TEST_DIR/got" &
session=$!
for i in 0 1 2 3 4 5 6 7; do
	wait_for 20 sh -c "[ \$(grep -cs ^pid '$PANDO_TEST_DIR/got') = $((i + 1)) ]" || fail "child $i does not start"
	pid=$(awk '/^pid/ { p = $2 } END { print p }' "$PANDO_TEST_DIR/got")
	moved_to n2
	moved_to n1
	[ $((i % 2)) = 0 ] || { moved_to n2 && moved_to n1; }
	as alice touch "go$i"
done
wait $session
for i in 0 1 2 3 4 5 6 7; do
	for k in $(seq 0 19); do echo "in $i $k"; done
	echo "over $i $i"
done >"$PANDO_TEST_DIR/want"
grep -v ^pid "$PANDO_TEST_DIR/got" | cmp - "$PANDO_TEST_DIR/want" || fail "what it wrote last comes after its end"
# The same of an exec that comes back, behind what was written where it has been.
as_on n1 alice bash -c 'readlink /proc/$$/fd/1; for i in $(seq 12); do
	on n2 sh -c "echo there $i; exec on n1 sh -c \"echo back $i; readlink /proc/\\\$\\\$/fd/1\""; echo over $i; done' >"$PANDO_TEST_DIR/got"
pipe=$(head -n 1 "$PANDO_TEST_DIR/got")
for i in $(seq 12); do printf 'there %s\nback %s\n%s\nover %s\n' "$i" "$i" "$pipe" "$i"; done >"$PANDO_TEST_DIR/want"
tail -n +2 "$PANDO_TEST_DIR/got" | cmp - "$PANDO_TEST_DIR/want" || fail "an exec that comes back: $(head -n 8 "$PANDO_TEST_DIR/got")"
# And of one that goes on to a third node, whose end its home hears of at once.
as_on n1 alice bash -c 'for i in $(seq 12); do
	on n2 sh -c "echo there $i; exec on n3 sh -c \"echo on $i; head -c 60000 /dev/zero; echo end $i\""; echo over $i; done' |
	tr -d '\0' >"$PANDO_TEST_DIR/got"
for i in $(seq 12); do printf 'there %s\non %s\nend %s\nover %s\n' "$i" "$i" "$i" "$i"; done >"$PANDO_TEST_DIR/want"
cmp "$PANDO_TEST_DIR/got" "$PANDO_TEST_DIR/want" || fail "an exec that goes on: $(head -n 8 "$PANDO_TEST_DIR/got")"
# The same where somebody has a file of our /proc open: who looks there for others that have the output too is
# the one that would be asked about that file.
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n2 alice -- sh -c 'exec sleep 2002 3</proc/$$/node' &
session=$!
wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' ps alice | grep -q 'sleep 2002'" || fail "nobody has /proc/PID/node open"
got=$(timeout 60 "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- on n2 on n3 echo on)
[ "$got" = on ] || fail "an exec that goes on from where a file of /proc is open says '$got'"
as_on n2 alice pkill -f 'sleep 2002' || fail "who has /proc/PID/node open is not there any more"
wait $session
# Nobody reads for a while what was written there: who comes back waits, or what is run next would be read before its last words.
as_on n1 alice bash -c '{ on n2 sh -c "head -c 120000 /dev/zero; exec on n1 sh -c \"head -c 60000 /dev/zero; echo end\""; echo over $?; } |
	{ sleep 2; cat; }' >"$PANDO_TEST_DIR/got"
[ "$(tr -d '\0' <"$PANDO_TEST_DIR/got" | tr '\n' ' ')" = "end over 0 " ] || fail "who waits for a reader: $(tr -d '\0' <"$PANDO_TEST_DIR/got")"
[ "$(wc -c <"$PANDO_TEST_DIR/got")" = 180011 ] || fail "$(wc -c <"$PANDO_TEST_DIR/got") bytes of 180011"
# For too long: it does not go, and says why.
as_on n1 alice bash -c '{ on n2 sh -c "head -c 120000 /dev/zero; exec on n1 echo end" 2>unread; echo over $?; } |
	{ until [ -s unread ]; do sleep 0.05; done; cat; }' >"$PANDO_TEST_DIR/got"
[ "$(tr -d '\0' <"$PANDO_TEST_DIR/got")" = "over 126" ] || fail "whose reader does not come: $(tr -d '\0' <"$PANDO_TEST_DIR/got")"
[ "$(wc -c <"$PANDO_TEST_DIR/got")" = 120009 ] || fail "$(wc -c <"$PANDO_TEST_DIR/got") bytes of 120009"
as_on n1 alice grep -q 'nobody there has read what it has written' unread || fail "it says: $(as_on n1 alice cat unread)"
wait_for 10 sh -c "[ -z \"\$('$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | tail -n +2)\" ]" || fail "left: $(p ps alice)"
# What goes on from n1 to n3 while n2, whose its pipes are, cannot hear of it. n1, whom n2 asks first when it wakes, has nothing
# of them any more, and that is not their end.
p tenant add bob >/dev/null || fail "tenant add"
as_on n2 bob true || fail "no login on n2"
stopped=$(kernel_pid n2 bob)
is_stopped() { grep -q "^State:.*T" "/proc/$stopped/status"; }
sleeps_on() { # node
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/$1/bob/guests/*" -name cgroup.procs -exec cat {} + |
		while read -r q; do tr '\0' ' ' <"/proc/$q/cmdline"; done 2>/dev/null | grep -q "sleep 2001"
}
p debug fault n2 bob kernel.place.ran:1:stop || fail "no such point"
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n2 bob -- \
	sh -c 'on n1 on n3 sh -c "echo said; exec sleep 2001"' >"$PANDO_TEST_DIR/got" &
session=$!
wait_for 20 is_stopped || fail "the guest kernel of n2 does not stop"
wait_for 20 sleeps_on n3 || fail "it does not go on to n3"
kill -CONT "$stopped"
wait_for 20 grep -qx said "$PANDO_TEST_DIR/got" || fail "what it wrote on n3 is lost"
as_on n3 bob pkill sleep || fail "it is not there any more"
wait $session
code=$?
[ $code = 143 ] || fail "it ended with $code"
exit 0
