#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sessions: exit statuses, pipes with much in them, the end of input, terminals, signals.
. tests/lib/cluster.sh
cluster_up 1
p tenant add alice >/dev/null || fail "tenant add"

status() { # want command...
	local want=$1 got
	shift
	"$@" >/dev/null 2>&1
	got=$?
	[ $got = "$want" ] || fail "$*: exit status $got, not $want"
}
status 0 as alice true
status 1 as alice false
status 42 as alice sh -c 'exit 42'
status 137 as alice sh -c 'kill -9 $$'
status 143 as alice sh -c 'kill $$'
status 127 as alice /no/such/program
status 127 as alice no-such-program
status 126 as alice /etc/passwd
status 126 as alice /tmp
out=$(as alice /no/such/program 2>&1)
[ "$out" = "pando: cannot log in as alice: /no/such/program: No such file or directory; try: pando login alice" ] || fail "no such program: $out"
out=$(p attach alice 7 2>&1)
[ $? = 3 ] && [ "$out" = "pando: cannot attach 7: there is no such session; try: pando attach alice -l" ] || fail "no such session: $out"
status 125 as nobody-here true

# Arguments and environment arrive as they are; nothing of ours leaks in.
[ "$(as alice printf '%s|' 'a b' '' '*' '"')" = 'a b||*|"|' ] || fail "arguments"
[ "$(SECRET=1 as alice sh -c 'echo "$SECRET|$HOME|$USER|$(id -u)"')" = '|/home/alice|alice|1000' ] || fail "environment"
[ "$(p login -T -C /tmp alice -- pwd)" = /tmp ] || fail "cwd"
fds=$(as alice sh -c 'ls /proc/self/fd | tr "\n" " "')
[ "$fds" = "0 1 2 3 " ] || fail "the program has descriptors $fds"
for fd in 0 1 2; do
	[[ $(as alice readlink /proc/self/fd/$fd) == pipe:* ]] || fail "descriptor $fd is none of its own pipes"
done

# 100 MB through, both ways at once, unchanged; stderr apart.
head -c 100000000 /dev/urandom >"$PANDO_TEST_DIR/big"
want=$(sha256sum <"$PANDO_TEST_DIR/big")
[ "$(as alice cat <"$PANDO_TEST_DIR/big" | sha256sum)" = "$want" ] || fail "100 MB through cat differ"
[ "$(as alice sha256sum <"$PANDO_TEST_DIR/big")" = "$want" ] || fail "100 MB in differ"
rm "$PANDO_TEST_DIR/big"
as alice sh -c 'echo out; echo err >&2' >"$PANDO_TEST_DIR/out" 2>"$PANDO_TEST_DIR/err"
[ "$(cat "$PANDO_TEST_DIR/out" "$PANDO_TEST_DIR/err")" = $'out\nerr' ] || fail "stderr"

# The end of input arrives; output after it still comes; a reader who leaves is noticed.
[ "$(echo hello | as alice sh -c 'cat; echo end')" = $'hello\nend' ] || fail "end of input"
[ "$(as alice sh -c 'cat; echo end' </dev/null)" = end ] || fail "empty input"
[ "$(timeout 20 "$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- yes | head -n 1)" = y ] || fail "yes | head"
wait_for 10 sh -c "! $BIN/pando --dir $CLUSTER_DIR ps alice -o csv | grep -q ',yes'" || fail "yes did not die of its lost reader"

# A signal to pando goes to the program.
"$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- sh -c 'trap "echo got it; exit 9" TERM; echo ready; while :; do sleep 0.05; done' \
	>"$PANDO_TEST_DIR/sig" &
wait_for 10 grep -qs ready "$PANDO_TEST_DIR/sig" || fail "the signal test does not start"
kill -TERM $!
wait $!
code=$?
[ "$code $(tail -n 1 "$PANDO_TEST_DIR/sig")" = "9 got it" ] || fail "SIGTERM: status $code, $(cat "$PANDO_TEST_DIR/sig")"
# It has ended, and somebody that it started still has its output: a signal is ours then.
"$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- sh -c 'sleep 100 & echo ended' >"$PANDO_TEST_DIR/sig" </dev/null &
wait_for 20 grep -q ended "$PANDO_TEST_DIR/sig" || fail "it does not begin"
ends() { kill -TERM $! 2>/dev/null; [ "$(awk '/^State/ { print $2 }' "/proc/$!/status" 2>/dev/null)" != S ]; }
wait_for 20 ends || fail "a login whose program has ended cannot be ended"

# On a terminal: a pty of the tenant's own, size and changes of it, ctrl-C as a byte, status through.
python3 tests/lib/terminal.py "$BIN/pando" --dir "$CLUSTER_DIR" login alice || fail "terminal"

# A caller who vanishes hangs the session up.
"$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- sh -c 'echo $$; exec sleep 1000' >"$PANDO_TEST_DIR/gone" &
wait_for 10 test -s "$PANDO_TEST_DIR/gone" || fail "the hang-up test does not start"
kill -KILL $!
wait $! 2>/dev/null
wait_for 10 sh -c "! $BIN/pando --dir $CLUSTER_DIR ps alice -o csv | grep -q 'sleep 1000'" || fail "the session outlived its caller"

# Its pid comes back soon, while its end is still kept for the caller: the next end under that pid is another's.
pid=$(cat "$PANDO_TEST_DIR/gone")
as alice python3 -c '
import os, sys
for _ in range(20000):
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    if pid == int(sys.argv[1]) - 1: sys.exit(0)
sys.exit(1)' "$pid" || fail "pids do not come back to $pid"
got=$(timeout -s KILL 20 "$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- sh -c 'echo $$; exit 7')
[ "$? $got" = "7 $pid" ] || fail "whoever has pid $pid again ends otherwise: $got"
exit 0
