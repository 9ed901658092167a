#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Parents whose children are on another node: in a debugger, timed by a shell, and moved while they wait for usage.
set -u
. tests/lib/cluster.sh

cluster_up 2
p tenant add alice >/dev/null || fail "cannot add alice"

# gdb follows the parent: one that forks, one in vfork.
as_on n1 alice gdb -batch -ex run --args bash -c 'on n2 sh -c "exit 3"; echo status $?' >"$PANDO_TEST_DIR/gdb" 2>&1
if ! grep -q 'status 3' "$PANDO_TEST_DIR/gdb" || ! grep -q 'exited normally' "$PANDO_TEST_DIR/gdb"; then
	fail "bash in gdb: $(cat "$PANDO_TEST_DIR/gdb")"
fi
as_on n1 alice gdb -batch -ex run --args python3 -c \
	'import subprocess; print("status", subprocess.run(["on", "n2", "sh", "-c", "exit 4"]).returncode)' >"$PANDO_TEST_DIR/gdb" 2>&1
if ! grep -q 'status 4' "$PANDO_TEST_DIR/gdb" || ! grep -q 'exited normally' "$PANDO_TEST_DIR/gdb"; then
	fail "python in gdb: $(cat "$PANDO_TEST_DIR/gdb")"
fi

# What `time` says of a program that ran elsewhere: more than a tenth of a second, in milliseconds.
spent=$(as_on n1 alice bash -c 'TIMEFORMAT=%U; time on n2 python3 -c "
import time
while time.process_time() < 0.3: sum(range(100000))"' 2>&1)
[ "${spent/./}" -ge 100 ] || fail "bash's time says $spent s"

# Its wait is seized, for its child has had a child elsewhere; it moves all the same, and waits on.
spawn_as alice python3 -c '
import os, time
open("pid", "w").write(str(os.getpid()))
p = os.spawnlp(os.P_NOWAIT, "bash", "bash", "-c", "on n2 true; touch began; until [ -e go ]; do sleep 0.02; done; exit 5")
os._exit(os.WEXITSTATUS(os.wait4(p, 0)[1]))'
began() { find "$CLUSTER_DIR/vol" -name began | grep .; }
wait_for 20 began >/dev/null || fail "the parent that waits does not begin"
home=$(dirname "$(began)")
p migrate "$(cat "$home/pid")" n2 >/dev/null || fail "a parent that waits for usage does not move"
touch "$home/go"
wait "$SPAWNED"
status=$?
[ $status = 5 ] || fail "a parent that has moved while it waited for usage: status $status"
rm -f "$PANDO_TEST_DIR/gdb"
