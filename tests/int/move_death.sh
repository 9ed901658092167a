#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A whole node dies at named steps of a move: the target's, the source's, that of who keeps the record. The process
# executes once or has died with its node (K1), counts no number twice, its parent elsewhere is told once and truly
# (K4), no stub stays (K3). Three tenants are at different steps when the node dies. The lease is short.
. tests/lib/cluster.sh
work=$PANDO_TEST_DIR
LEASE=2:6
cluster_up 3 --lease $LEASE

cat >"$work/count.py" <<'PY'
import os, sys, time
out = os.open("count", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
i = 0
while not os.path.exists("enough"):
    os.write(out, b"%d\n" % i)
    i += 1
    time.sleep(0.02)
sys.exit(5)
PY
cat >"$work/parent" <<'PARENT'
python3 count.py &
echo $$ $! >pids.new
mv pids.new pids
wait $!
echo $? >>seen
PARENT

home() { echo "$CLUSTER_DIR/vol/$1/home"; } # TENANT
lines() { wc -l <"$(home "$1")/count"; }
more_than() { [ "$(lines "$1")" -gt "$2" ]; } # TENANT NUMBER
seen() { cat "$(home "$1")/seen" 2>/dev/null; }
is_seen() { [ "$(seen "$1")" = "$2" ]; } # TENANT STATUS
kill_node() { kill -9 "$(cat "$CLUSTER_DIR/$1/run/guard.pid")"; }
child() { cut -d' ' -f2 "$(home "$1")/pids"; }
parent() { cut -d' ' -f1 "$(home "$1")/pids"; }

# A tenant's tasks on a node, as the host has them: state, number in the tenant, program.
tasks() { # TENANT NODE
	local procs pid
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/$2/$1/guests/*" -name cgroup.procs 2>/dev/null |
		while read -r procs; do
			while read -r pid; do
				awk '/^Name/ { name = $2 } /^State/ { state = $2 } /^NSpid/ { print state, $NF, name }' "/proc/$pid/status" 2>/dev/null
			done <"$procs"
		done | grep -v '^[ZX]' | sort -u
}
# The nodes on which the host has a task of the counter that is no stub.
runs_on() { # TENANT
	local node
	for node in n1 n2 n3; do
		tasks "$1" $node | awk -v pid="$(child "$1")" '$2 == pid && $3 != "pando-stub" { found = 1 } END { exit !found }' && echo $node
	done
	true
}
runs_once() { [ "$(runs_on "$1" | wc -l)" = 1 ]; }
runs_at() { [ "$(runs_on "$1")" = "$2" ]; }
goes_on() { # TENANT
	local before
	before=$(lines "$1")
	wait_for 40 more_than "$1" $((before + 5)) || fail "$1 stands still at $before, on '$(runs_on "$1")', seen '$(seen "$1")'"
	wait_for 20 runs_once "$1" || fail "$1 runs on '$(runs_on "$1")'"
}
# It has died with its node, is nowhere, and its parent knows.
is_over() { # TENANT
	wait_for 40 is_seen "$1" 137 || fail "$1: its parent has seen '$(seen "$1")', it is on '$(runs_on "$1")'"
	wait_for 20 runs_at "$1" "" || fail "$1 died and runs on '$(runs_on "$1")'"
}
counts_once() { # TENANT
	cp "$(home "$1")/count" "$work/counted" # at once, for it goes on
	[ "$(cat "$work/counted")" = "$(seq 0 $(($(wc -l <"$work/counted") - 1)))" ] || fail "$1 counts twice, or not: $(uniq -d "$work/counted" | head)"
}
ends() { # TENANT SEEN
	touch "$(home "$1")/enough"
	wait_for 20 is_seen "$1" "$2" || fail "$1 ended with 5, and its parent has seen '$(seen "$1")'"
	counts_once "$1"
}

# What refuses for a moment (a fork, a signal on its way) is asked again.
moves() { # TENANT PID FROM TO
	for _ in $(seq 50); do
		p migrate --node "$3" --tenant "$1" "$2" "$4" >"$work/moved.$1" 2>&1 && return
		sleep 0.1
	done
	fail "$1: $2 does not move from $3 to $4: $(cat "$work/moved.$1")"
}
logins= clients=
begin() { # TENANT: a counter begins on n1
	rm -f "$(home "$1")"/{count,seen,pids,enough}
	"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 "$1" -- sh -c 'exec sh parent >/dev/null 2>&1 </dev/null' >/dev/null 2>&1 &
	logins="$logins $!"
}
goes_to_n2() { # TENANT
	wait_for 20 test -s "$(home "$1")/pids" || fail "$1 does not begin"
	wait_for 20 test -s "$(home "$1")/count" || fail "$1 does not count"
	moves "$1" "$(child "$1")" n1 n2
}
# Begins to move it from n2 to n3; NODE's guest kernel stops at POINT of that.
stops() { # TENANT NODE POINT
	wait_for 20 arms "$@" || fail "arm $3 at $2"
	timeout 30 "$BIN/pando" --dir "$CLUSTER_DIR" migrate --node n2 --tenant "$1" "$(child "$1")" n3 >"$work/moved.$1" 2>&1 &
	clients="$clients $!"
	wait_for 20 stands "$2" "$1" || fail "$1 does not come to $3: $(cat "$work/moved.$1")"
}
arms() { p debug fault "$2" "$1" "$3:1:stop" 2>/dev/null; }
stands() { grep -qs '^State:.T' "/proc/$(kernel_pid "$1" "$2")/status"; }
comes_back() { # NODE
	p up -n 3 --lease $LEASE >/dev/null || fail "$1 does not come back"
	for tenant in a b c; do
		wait_for 20 as_on "$1" $tenant true 2>/dev/null || fail "no login of $tenant on $1"
	done
}

for tenant in a b c; do
	p tenant add $tenant >/dev/null || fail "tenant add"
	for node in n1 n2 n3; do
		as_on $node $tenant true || fail "no login of $tenant on $node"
	done
	as $tenant sh -c 'cat >count.py' <"$work/count.py" && as $tenant sh -c 'cat >parent' <"$work/parent" || fail "no files"
	begin $tenant
done
for tenant in a b c; do goes_to_n2 $tenant; done

# ---- the target's node: its stubs are made; all of the image is there; the record says that it is there ----
stops a n3 kernel.move.send
stops b n3 kernel.move.note
stops c n3 kernel.come.guest
kill_node n3
goes_on a
goes_on b
comes_back n3
is_over c
for tenant in a b; do
	goes_on $tenant
	runs_at $tenant n2 || fail "$tenant was on n2, and is on $(runs_on $tenant)"
	is_seen $tenant "" || fail "$tenant goes on, and its parent has seen $(seen $tenant)"
done
for tenant in a b c; do counts_once $tenant; done

# ---- the source's: its target is ready; the image has left, without an end; the target has won ----
begin c
goes_to_n2 c
stops a n2 kernel.move.note
stops b n2 kernel.leave.sent
stops c n2 kernel.leave.stub
kill_node n2
goes_on c
comes_back n2
is_over a
is_over b
goes_on c
runs_at c n3 || fail "c won n3, and is on $(runs_on c)"
for tenant in a b c; do counts_once $tenant; done
ends c 5

# ---- the authority's: it has not said where it is; it has granted a claim and told nobody; the source has not heard ----
for tenant in a b c; do begin $tenant; done
for tenant in a b c; do goes_to_n2 $tenant; done
for tenant in a b c; do moves $tenant "$(parent $tenant)" n1 n3; done
stops a n1 kernel.move.send
stops b n1 kernel.record.kept
stops c n3 kernel.come.went
before=$(lines b)
kill_node n1
is_dead() { p nodes --node n3 -o csv 2>/dev/null | grep -q '^n1,[0-9]*,dead,'; }
wait_for 40 is_dead || fail "n1 is not announced dead: $(p nodes --node n3)"
# It ends before anybody has granted anything, at its source. Its target has been made its stub for the parent, whose home is dead.
knows() { grep -qs 'life 1 of node n1 is over' "$CLUSTER_DIR/n2/log/kernel-a.log"; }
wait_for 20 knows || fail "n2 does not know of n1's death"
touch "$(home a)/enough"
wait_for 20 runs_at a "" || fail "a does not end on '$(runs_on a)'"
# Its source is the first to ask the heir: it ends there while the target still has it built.
wait_for 40 more_than b "$before" || fail "b stands still on '$(runs_on b)'"
ends b 5
kill -CONT "$(kernel_pid n3 c)"
goes_on c
runs_at c n3 || fail "c won n3, and is on $(runs_on c)"
ends a 5
ends c 5

# ---- nothing stays but a zygote on each node ----
rest() { for tenant in a b c; do for node in n2 n3; do tasks $tenant $node | awk '$2 > 2' | tail -n +2 | sed "s/^/$tenant $node: /"; done; done; }
clean() { [ -z "$(rest)" ]; }
wait_for 40 clean || fail "it stays: $(rest)"
# Logins whose gate has died ask the next one for a minute.
kill -9 $logins 2>/dev/null
wait $clients
exit 0
