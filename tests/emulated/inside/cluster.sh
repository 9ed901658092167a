#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the emulated machine: two nodes on Debian's stock kernel with control groups of version 2, from the first look at the
# host to nothing left. What the larger tests of tests/int try besides goes through here too, by hand or in `make soak`.
. tests/lib/cluster.sh
echo "on Linux $(uname -r)"
p doctor >"$PANDO_TEST_DIR/doctor" || fail "pando doctor: $(grep -v ' ok *$' "$PANDO_TEST_DIR/doctor")"
did() { echo "$SECONDS s: $*"; }
cluster_up 2
did "two nodes are up"
p tenant add alice --procs 40 --memory 128M >/dev/null || fail "tenant add"
for n in n1 n2; do
	# shellcheck disable=SC2016
	[ "$(as_on $n alice sh -c 'cat /proc/$$/node')" = $n ] || fail "no login on $n"
done
inits=$(init_pid n1 alice)\ $(init_pid n2 alice)
[[ $inits == [0-9]*\ [0-9]* ]] || fail "alice has not a pando-init on each node: $inits"

# A program elsewhere, its exit status, and a move there and back.
# shellcheck disable=SC2016
got=$(as_on n1 alice on n2 sh -c 'cat /proc/$$/node; exit 7')
status=$?
[ "$got" = n2 ] && [ $status = 7 ] || fail "on n2: $got, exit status $status instead of 7"
# shellcheck disable=SC2016
got=$(as_on n1 alice sh -c 'sleep 100 & for n in n2 n1; do migrate $! $n >&2 || exit; cat /proc/$!/node; done; kill $!; wait $!; echo $?') ||
	fail "a move ends with $?"
[ "$got" = $'n2\nn1\n143' ] || fail "moved: $got"
did "a program has gone to n2 and back"

# Two fork bombs are refused with EAGAIN, and never have more than the limit together.
group() { cat /sys/fs/cgroup/pando-"$(basename "$CLUSTER_DIR")"-*/"$1"/alice/guests/"$2"; }
bomb='
import errno, os, time
n = refused = 0
while refused < 5 and n < 100:
    try:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
        n += 1
        refused = 0
    except OSError as e:
        why = errno.errorcode[e.errno]
        refused += 1
        time.sleep(0.1)
print(why, n, flush=True)
while not os.path.exists("/tmp/stop"):
    time.sleep(0.05)
os.killpg(0, 9)
'
for n in n1 n2; do
	"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node $n alice -- python3 -c "$bomb" >"$PANDO_TEST_DIR/bomb.$n" 2>&1 &
done
until [ -s "$PANDO_TEST_DIR/bomb.n1" ] && [ -s "$PANDO_TEST_DIR/bomb.n2" ]; do
	sum=$(($(group n1 pids.current) + $(group n2 pids.current)))
	[ $sum -le 40 ] || fail "both nodes have $sum tasks, the limit is 40"
	[ $SECONDS -lt 100 ] || fail "the bombs do not end: $sum tasks"
	sleep 0.05
done
for n in n1 n2; do grep -q EAGAIN "$PANDO_TEST_DIR/bomb.$n" || fail "the bomb on $n: $(cat "$PANDO_TEST_DIR/bomb.$n")"; done
[ "$sum" -ge 28 ] || fail "the bombs were stopped at $sum of 40"
as_on n1 alice touch /tmp/stop || fail "nobody gets in beside a bomb"
wait
did "two fork bombs are refused more than 40 tasks"

# A memory hog is told ENOMEM, or is killed itself.
hog='
a = []
try:
    while True: a.append(bytearray(1 << 20))
except MemoryError:
    print("told at", len(a))
'
for n in n1 n2; do
	got=$(timeout 90 "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node $n alice -- python3 -c "$hog")
	status=$?
	[ $status != 124 ] || fail "the hog on $n waits for memory for ever"
	[ $status = 137 ] || [[ $status = 0 && $got == "told at "* && ${got#told at } -lt 128 ]] || fail "the hog on $n: status $status, $got"
	did "the hog on $n: status $status $got"
done
as_on n1 alice true && as_on n2 alice true || fail "no login after the hogs"
[ "$(init_pid n1 alice) $(init_pid n2 alice)" = "$inits" ] || fail "a pando-init was the victim"

# Nothing is left.
p down --purge || fail "down"
trap - EXIT
left=$(find /sys/fs/cgroup -name 'pando-*'; pgrep -a pando; grep -F "$CLUSTER_DIR" /proc/self/mountinfo; ip -o link | grep -v ' lo: '; losetup -a; ls "$CLUSTER_DIR" 2>/dev/null)
[ -z "$left" ] || fail "left behind: $left"
