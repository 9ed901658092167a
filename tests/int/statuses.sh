#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program waits for its own children alone, wherever it comes to, and sees how they ended, not how what stood for them did.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"

# One of a group whose leader has ended: on its way there somebody stands for that for a moment.
as_on n1 alice sh -c 'cat >group.py' <<'PY' || fail "group.py"
import os, sys
r, w = os.pipe()
leader = os.fork()
if leader == 0:
    os.setpgid(0, 0)
    os._exit(0)
os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
member = os.fork()
if member == 0:
    os.close(w)
    os.setpgid(0, leader)
    os.read(r, 1)
    os.execvp("on", ["on", "n2", "python3", "-c", """
import os, sys
assert open('/proc/%d/node' % os.getpid()).read().strip() == 'n2'
try:
    print('a child that is not its own:', os.waitpid(-1, 0), flush=True)
except ChildProcessError:
    sys.exit(6)"""])
while os.getpgid(member) != leader:
    pass
os.waitpid(leader, 0)
os.close(w)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(member, 0)[1]))
PY
as_on n1 alice python3 group.py
status=$?
[ $status = 6 ] || fail "a member of a group whose leader has ended: status $status"

# A child ends beside its parent, and is not waited for before that goes back; its home hears of the end only when the
# parent is on its way, for a pipe is full.
as_on n1 alice sh -c 'cat >back.py' <<'PY' || fail "back.py"
import os, sys, time
def await_file(name):
    while not os.path.exists(name):
        time.sleep(0.02)
def drain(fd, name):
    await_file(name)
    while os.read(fd, 65536):
        pass
out, mine = os.pipe()
childs, its = os.pipe()
reader = os.fork()
if reader == 0:
    os.close(mine)
    os.close(its)
    drain(childs, "drain.child")
    drain(out, "drain.parent")
    os._exit(0)
os.close(out)
os.close(childs)
os.write(mine, bytes(60000))
os.write(its, bytes(60000))
child = os.fork()
if child == 0:
    os.close(mine)
    os.dup2(its, 1)
    os.close(its)
    os.execvp("on", ["on", "n3", "sh", "-c", "until [ -e end ]; do sleep 0.02; done; head -c 50000 /dev/zero; exit 7"])
os.close(its)
with open("pids.new", "w") as f:
    f.write("%d %d" % (os.getpid(), child))
os.rename("pids.new", "pids")
await_file("came")
os.write(mine, bytes(50000))
os.close(os.open("wrote", os.O_CREAT | os.O_WRONLY))
await_file("reap")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
PY
as_on n2 alice sh -c 'exec python3 back.py </dev/null >/dev/null 2>&1' &
session=$!
home=$(dirname "$(find "$CLUSTER_DIR/vol" -name back.py)")
wait_for 20 test -e "$home/pids" || fail "it does not begin"
read -r parent child <"$home/pids"
at() { [ "$(p ps alice -o csv | awk -F, -v pid="$2" '$2 == pid { print $4 }')" = "$1" ]; }
wait_for 20 at n3 "$child" || fail "its child is elsewhere: $(p ps alice)"
p migrate "$parent" n3 >/dev/null || fail "it does not move"
touch "$home/came"
wait_for 20 test -e "$home/wrote" || fail "it does not go on"
parent_there=$(host_pid n3 "$parent") child_there=$(host_pid n3 "$child") child_here=$(host_pid n2 "$child")
[ -n "$parent_there" ] && [ -n "$child_there" ] && [ -n "$child_here" ] || fail "who is where: $(p ps alice)"
touch "$home/end"
is_dead() { case "$(awk '/^State/ { print $2 }' "/proc/$1/status" 2>/dev/null)" in Z | '') ;; *) return 1 ;; esac; }
wait_for 20 is_dead "$child_there" || fail "the child does not end"
is_dead "$child_here" && fail "its end was told too early"
p migrate "$parent" n2 >"$PANDO_TEST_DIR/moved" 2>&1 &
mover=$!
is_frozen() { grep -q '^21776 ' "/proc/$parent_there/syscall" || ! kill -0 $mover 2>/dev/null; }
wait_for 20 is_frozen || fail "it is not frozen"
touch "$home/drain.child"
wait_for 20 is_dead "$child_here" || fail "the end of the child is not told"
touch "$home/drain.parent"
# Where that took too long the move was given up, and nothing is lost by another try.
wait $mover || wait_for 20 p migrate "$parent" n2 >/dev/null 2>"$PANDO_TEST_DIR/moved" ||
	fail "it does not go back: $(tail -n 1 "$PANDO_TEST_DIR/moved")"
touch "$home/reap"
wait $session
status=$?
[ $status = 7 ] || fail "of a child that ended with 7 its parent sees $status"

# What stands for a child has been told to go, and does not come to it before the parent comes: that one waits.
as_on n1 alice sh -c 'cat >slow.py' <<'PY' || fail "slow.py"
import os, sys, time
def await_file(name):
    while not os.path.exists(name):
        time.sleep(0.02)
def start(node, status):
    child = os.fork()
    if child == 0:
        os.execvp("on", ["on", node, "sh", "-c", "until [ -e end.slow ]; do sleep 0.02; done; exit %d" % status])
    return child
child, other = start("n3", 8), start("n1", 9)
with open("slow.new", "w") as f:
    f.write("%d %d %d" % (os.getpid(), child, other))
os.rename("slow.new", "slow")
await_file("reap.slow")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
PY
as_on n2 alice sh -c 'exec python3 slow.py </dev/null >/dev/null 2>&1' &
session=$!
wait_for 20 test -e "$home/slow" || fail "it does not begin"
read -r parent child other <"$home/slow"
wait_for 20 at n3 "$child" || fail "its child is elsewhere: $(p ps alice)"
wait_for 20 at n1 "$other" || fail "its other child is elsewhere: $(p ps alice)"
p migrate "$parent" n1 >/dev/null || fail "it does not move"
stub=$(host_pid n1 "$child")
gdb -q -p "$stub" -batch -ex "shell until [ -e '$PANDO_TEST_DIR/go' ]; do sleep 0.05; done" >"$PANDO_TEST_DIR/gdb" 2>&1 &
gdb=$!
is_held() { grep -q '^State:.t' "/proc/$stub/status"; }
wait_for 20 is_held || fail "gdb: $(cat "$PANDO_TEST_DIR/gdb")"
p migrate "$parent" n2 >/dev/null || fail "it does not go back"
is_told() { grep -q '^ShdPnd:.[89a-f]' "/proc/$stub/status"; }
wait_for 20 is_told || fail "what stood for its child stays"
p migrate "$parent" n1 >"$PANDO_TEST_DIR/moved" 2>&1
moved=$?
touch "$PANDO_TEST_DIR/go"
wait $gdb
[ $moved != 0 ] || fail "it comes beside what stands for its child and is about to go"
grep -q 'is about to go' "$PANDO_TEST_DIR/moved" || fail "it says: $(cat "$PANDO_TEST_DIR/moved")"
wait_for 20 p migrate "$parent" n1 >/dev/null 2>"$PANDO_TEST_DIR/moved" || fail "it does not come: $(tail -n 1 "$PANDO_TEST_DIR/moved")"
touch "$home/end.slow" "$home/reap.slow"
wait $session
status=$?
[ $status = 8 ] || fail "of a child that ended with 8 its parent sees $status"

# The same of one that executes a program elsewhere while a child of it ends, of which the node that began it hears late.
as_on n1 alice sh -c 'cat >late.py' <<'PY' || fail "late.py"
import os, sys, time
def await_file(name):
    while not os.path.exists(name):
        time.sleep(0.02)
def tell(name, text):
    with open(name + ".new", "w") as f:
        f.write(text)
    os.rename(name + ".new", name)
tell("late", str(os.getpid()))
await_file("born.late")
child = os.fork()
if child == 0:
    await_file("end.late")
    os._exit(10)
tell("child.late", str(child))
await_file("exec.late")
os.execvp("on", ["on", "n2", "python3", "-c", """
import os, sys
sys.exit(os.waitstatus_to_exitcode(os.waitpid(%d, 0)[1]))""" % child])
PY
as_on n1 alice sh -c 'exec python3 late.py </dev/null >/dev/null 2>&1' &
session=$!
wait_for 20 test -e "$home/late" || fail "it does not begin"
parent=$(cat "$home/late")
p migrate "$parent" n3 >/dev/null || fail "it does not move"
touch "$home/born.late"
wait_for 20 test -e "$home/child.late" || fail "it has no child"
child=$(cat "$home/child.late")
p migrate "$parent" n1 >/dev/null || fail "it does not go back"
stopped=$(kernel_pid n3 alice) child_there=$(host_pid n3 "$child")
kill -STOP "$stopped"
touch "$home/exec.late"
asked() { [ -n "$(host_pid n2 "$child")" ]; }
wait_for 20 asked || fail "its child has nobody who stands for it on n2"
touch "$home/end.late"
wait_for 20 is_dead "$child_there" || fail "the child does not end"
kill -CONT "$stopped"
wait $session
status=$?
[ $status = 10 ] || fail "of a child that ended with 10 a program that came sees $status"
rm -f "$PANDO_TEST_DIR"/{gdb,go,moved}
