#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guest kernels die at named points of a move, at the source and at the target: the process lives exactly once
# (K1), on one of the two nodes, and loses and repeats nothing.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
for node in n2 n3; do
	as_on $node alice true || fail "login on $node"
done

as alice sh -c 'cat >count.py' <<'PY'
import hashlib, os, sys, time
h = hashlib.sha256()
i = 0
while not os.path.exists("enough"):
    h.update(str(i).encode())
    print(i, h.hexdigest(), flush=True)
    time.sleep(0.01)
    i += 1
sys.exit(5)
PY
as alice bash -c 'python3 count.py | tee copy; exit ${PIPESTATUS[0]}' >"$PANDO_TEST_DIR/got" &
session=$!
wait_for 20 grep -qs '^5 ' "$PANDO_TEST_DIR/got" || fail "the counter does not start"
pid=$(p ps alice -o csv | awk -F, '$10 == "python3 count.py" { print $2 }')

# The nodes on which the host runs it, by control group: no stub.
runs_on() {
	local procs q
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/n*/alice/guests/*" -name cgroup.procs 2>/dev/null |
		while read -r procs; do
			while read -r q; do
				[ "$(awk '/^NSpid/ { print $NF }' "/proc/$q/status" 2>/dev/null)" = "$pid" ] || continue
				# What dies between two looks has no name any more.
				comm=$(cat "/proc/$q/comm" 2>/dev/null) && [ "$comm" != pando-stub ] && echo "$procs" | grep -oE '/n[0-9]+/' | tr -d /
			done <"$procs"
		done | sort -u
}

lines() { wc -l <"$PANDO_TEST_DIR/got"; }
more_than() { [ "$(lines)" -gt "$1" ]; }
once() { [ "$(runs_on | wc -l)" = 1 ]; }
answers() { # every node's kernel has a successor that is ready
	local node
	for node in n1 n2 n3; do
		as_on $node alice true 2>/dev/null || return 1
	done
}

die_at() { # source|target point
	local from to node before
	wait_for 20 once || fail "$pid runs on '$(runs_on)'"
	from=$(runs_on)
	case $from in n1) to=n2 ;; n2) to=n3 ;; *) to=n1 ;; esac
	node=$from
	[ "$1" = source ] || node=$to
	wait_for 20 answers || fail "before $2: no login"
	p debug fault "$node" alice "$2" || fail "arm $2 at $node"
	p migrate "$pid" "$to" >"$PANDO_TEST_DIR/moved" 2>&1
	before=$(lines)
	wait_for 30 more_than $((before + 5)) || fail "$1 $2: it stands still on '$(runs_on)'"
	wait_for 20 once || fail "$1 $2: it runs on '$(runs_on)'"
	echo "$1 $2: $from to $to, now on $(runs_on)"
}

for point in image.dump.state kernel.leave.sent kernel.move.noted kernel.leave.stub kernel.leave.kept \
	kernel.move.unnote; do
	die_at source $point
done
for point in image.build.cleared image.build.ready kernel.move.noted kernel.come.guest kernel.come.taken \
	image.go.unparked kernel.come.went; do
	die_at target $point
done

# One that an exec has sent on: wherever a guest kernel dies while its record follows it, it moves in the end.
sent_on() { # node point
	local sent
	wait_for 20 answers || fail "before $2: no login"
	p debug fault "$1" alice "$2" || fail "arm $2 at $1"
	: >"$PANDO_TEST_DIR/sent"
	as_on n1 alice bash -c 'on n2 bash -c "exec on n3 bash -c \"echo \\\$\\\$; exec sleep 3603\""; echo status $?' >"$PANDO_TEST_DIR/sent" &
	sent_by=$!
	wait_for 20 test -s "$PANDO_TEST_DIR/sent" || fail "$2 at $1: it is not sent on"
	sent=$(cat "$PANDO_TEST_DIR/sent")
	wait_for 30 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' migrate $sent n1 >'$PANDO_TEST_DIR/moved' 2>&1" ||
		fail "$2 at $1: it does not move: $(cat "$PANDO_TEST_DIR/moved")"
	as_on n1 alice kill "$sent" || fail "$2 at $1: kill"
	wait $sent_by
	[ "$(tail -n 1 "$PANDO_TEST_DIR/sent")" = "status 143" ] || fail "$2 at $1: $(cat "$PANDO_TEST_DIR/sent")"
	echo "sent on $1 $2"
}
for point in kernel.follow.answered kernel.remote.both kernel.follow.let_go; do sent_on n2 $point; done
for point in kernel.follow.heard kernel.follow.claimed; do sent_on n3 $point; done

# A source that has not said that this was all may let its process go on: whatever the target has by then may not run.
built() { [ "$(runs_on | wc -l)" = 2 ]; }
for _ in 1 2 3; do
	wait_for 20 once || fail "$pid runs on '$(runs_on)'"
	wait_for 20 answers || fail "before an image without end: no login"
	from=$(runs_on)
	case $from in n1) to=n2 ;; n2) to=n3 ;; *) to=n1 ;; esac
	p debug fault "$from" alice kernel.leave.ending:1:fail || fail "arm at $from"
	p migrate "$pid" "$to" >"$PANDO_TEST_DIR/moved" 2>&1 &
	move=$!
	wait_for 20 built || fail "without an end it does not arrive: it is on '$(runs_on)'"
	sleep 0.3 # for a target that would not wait
	kill -9 "$(kernel_pid "$from" alice)"
	wait $move
	before=$(lines)
	wait_for 30 more_than $((before + 5)) || fail "an image without end: it stands still on '$(runs_on)'"
	wait_for 20 once || fail "an image without end: it runs on '$(runs_on)'"
	[ "$(runs_on)" = "$from" ] || fail "an image without end: it runs on $(runs_on), not on $from"
	echo "image without end: $from to $to, now on $(runs_on)"
	wait_for 20 answers || fail "after an image without end: no login"
	p migrate "$pid" "$to" >"$PANDO_TEST_DIR/moved" 2>&1 || fail "it does not move: $(cat "$PANDO_TEST_DIR/moved")"
done

as alice touch enough
wait $session
code=$?
[ $code = 5 ] || fail "it ended with $code"
python3 - "$(lines)" >"$PANDO_TEST_DIR/want" <<'PY'
import hashlib, sys
h = hashlib.sha256()
for i in range(int(sys.argv[1])):
    h.update(str(i).encode())
    print(i, h.hexdigest())
PY
cmp "$PANDO_TEST_DIR/got" "$PANDO_TEST_DIR/want" || fail "a gap or a repetition"
wait_for 10 sh -c "[ -z \"\$('$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | tail -n +2)\" ]" || fail "left: $(p ps alice)"
exit 0
