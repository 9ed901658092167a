#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node dies under waits, pipelines and a build: parents elsewhere see SIGKILL, all else goes on, it comes back empty.
# Its links are cut, both ways and one way: it freezes and then kills what it runs, by itself, before its death is
# announced. The node that leads naming dies: naming goes on in 3 s, programs do not notice. The lease is short here.
. tests/lib/cluster.sh
LEASE="2:6"
work=$PANDO_TEST_DIR
cluster_up 3 --lease $LEASE
p tenant add alice --memory 1G --procs 500 >/dev/null || fail "tenant add"
for k in 1 2 3; do
	as_on n$k alice true || fail "no login on n$k"
done
now() { date +%s%N; }
ms_since() { echo $((($(now) - $1) / 1000000)); }
row() { p nodes --node "$2" -o csv 2>/dev/null | grep "^$1,"; }     # NODE SEEN_FROM
state_is() { row "$1" "$3" | grep -q "^$1,[0-9]*,$2,"; }            # NODE STATE SEEN_FROM
epoch_of() { row "$1" "$2" | cut -d, -f5; }                        # NODE SEEN_FROM
kill_node() { kill -9 "$(cat "$CLUSTER_DIR/$1/run/guard.pid")"; } # NODE
lent_to() { p quota --node n1 --json | grep -q "\"node\": \"$1\""; }
# A busy node gives away what is not told to stay: begun again until it is as it should be.
placed() { # ARGS: executes on n3, and its parent on n1
	p ps alice --node n1 -o json | python3 -c 'import json, sys
rows = json.load(sys.stdin)
node = {q["pid"]: q["node"] for q in rows}
sys.exit(not any(q["args"] == sys.argv[1] and q["node"] == "n3" and node.get(q["ppid"]) == "n1" for q in rows))' "$1"
}
begin() { # FILE ARGS command...
	local file=$work/$1 args=$2
	shift 2
	for _ in 1 2 3; do
		"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- on n1 "$@" >"$file" 2>&1 &
		wait_for 15 placed "$args" && return
		kill -9 $!
	done
	fail "$args is not on n3 with its parent on n1: $(p ps alice)"
}

# ---- what runs when n3 dies ----
begin wait "sleep 1001" sh -c 'on n3 sleep 1001; echo "waited: $?"'
begin read "sleep 1002" bash -c 'on n3 sleep 1002 | wc -c; echo "read: ${PIPESTATUS[*]}"'
begin written "sleep 1003" bash -c 'yes | on n3 sleep 1003; echo "written: ${PIPESTATUS[*]}"'
begin pidfd "sleep 1004" python3 -c '
import os, signal, subprocess
p = subprocess.Popen(["on", "n3", "sleep", "1004"])
fd = os.pidfd_open(p.pid)
info = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)
print("pidfd:", info.si_code == os.CLD_KILLED, info.si_status == signal.SIGKILL, p.wait() == -signal.SIGKILL)'
begin make "sleep 1005" sh -c 'mkdir -p b && cd b && printf "all: one two three\none:\n\ton n1 sh -c \"echo 1 >one\"\ntwo:\n\ton n2 sh -c \"echo 2 >two\"\nthree:\n\ton n3 sleep 1005\n" >Makefile && on n1 make -k -j3; echo "make: $?"'
as_on n1 alice on n2 sh -c 'i=0; while [ ! -e enough ]; do echo $i; i=$((i + 1)); sleep 0.1; done; exit 9' >"$work/count" 2>&1 &
counter=$!
# What began on n3 and executes on n1.
as_on n3 alice sh -c 'on n1 sh -c "while [ ! -e enough ]; do date +%s%N >tick; sleep 0.1; done; echo well >after"' >/dev/null 2>&1 &
wait_for 20 as alice test -e tick || fail "what began on n3 does not run on n1"
# The same with a file that it shares with its parent.
as_on n3 alice sh -c 'exec 8>shared; on n1 sh -c "echo \$\$ >sharer; while [ ! -e enough ]; do sleep 0.1; done"; exit' >/dev/null 2>&1 &
wait_for 20 as alice test -s sharer || fail "what shares a file with n3 does not run on n1"
# What n3 has sent on to n2: its record has followed it.
as_on n1 alice on n3 sh -c 'exec on n2 sh -c "exec >/dev/null 2>&1; echo \$\$ >sent; while [ ! -e enough ]; do sleep 0.1; done; exit 6"' >"$work/sent" 2>&1 &
sent=$!
followed() {
	sent_pid=$(as_on n1 alice cat sent 2>/dev/null) && [ -n "$sent_pid" ] && p why "$sent_pid" 2>/dev/null | grep -q 'it can move'
}
wait_for 20 followed || fail "what n3 sends on to n2 is still its"

# ---- it dies ----
t0=$(now)
kill_node n3
wait_for 30 state_is n3 dead n2 || fail "n3 is not announced dead: $(p nodes --node n2)"
announced=$(ms_since "$t0")
[ "$announced" -ge 6000 ] || fail "announced dead after $announced ms, before its lease was over"
[ "$(epoch_of n3 n2)" = 2 ] || fail "its epoch: $(row n3 n2)"
has() { grep -qs "$2" "$work/$1"; }
wait_for 15 has wait '^waited: 137$' || fail "a wait: $(cat "$work/wait")"
wait_for 15 has read '^read: 137 \(0\|137\)$' || fail "a reader: $(cat "$work/read")"
wait_for 15 has written '^written: \(141\|137\) 137$' || fail "a writer: $(cat "$work/written")"
wait_for 15 has pidfd '^pidfd: True True True$' || fail "a pidfd: $(cat "$work/pidfd")"
wait_for 15 has make '^make: 2$' || fail "the build: $(cat "$work/make")"
as_on n1 alice sh -c 'cat b/one b/two' | tr '\n' . | grep -q '^1.2.$' || fail "the rest of the build: $(cat "$work/make")"
told=$(ms_since "$t0")
p status --node n1 | grep -q "^n3  *dead" || fail "status: $(p status --node n1)"
lent_to n3 && fail "its loan is not back: $(p quota)"
as_on n1 alice on n3 true 2>"$work/err"
[ $? = 125 ] || fail "a dead node takes programs: $(cat "$work/err")"
tick=$(as_on n1 alice cat tick)
ticks() { [ "$(as_on n1 alice cat tick)" != "$tick" ]; }
wait_for 10 ticks || fail "what began on n3 does not go on on n1"
# The file is lost, and who shares it is told which it is when it cannot move.
sharer=$(as_on n1 alice cat sharer)
p why "$sharer" | grep -qx 'it cannot move because descriptor 8 is a file that node n3 had opened, and has lost' || fail "why: $(p why "$sharer")"
refused() { ! p migrate --node n1 "$sharer" n2 >"$work/err" 2>&1 && grep -q "$1" "$work/err"; }
refused 'descriptor 8 is a file that node n3 had opened, and has lost' || fail "a move with a lost file: $(cat "$work/err")"

# ---- it comes back ----
p up -n 3 --lease $LEASE >/dev/null || fail "n3 does not come back"
epoch_is() { [ "$(epoch_of n3 n1)" = "$1" ]; }
wait_for 10 epoch_is 3 || fail "its new epoch: $(row n3 n1)"
as_on n1 alice on n3 true || fail "n3 takes no program"
wait_for 10 refused 'descriptor 8 is a file that node n3 had opened, and has lost' || fail "a move with a file of an earlier life: $(cat "$work/err")"
as_on n3 alice on n2 true || fail "n3 sends no program"
# And at once, inside of its lease.
kill_node n3
p up -n 3 --lease $LEASE >/dev/null || fail "n3 does not come back at once"
wait_for 10 epoch_is 4 || fail "its epoch after a quick return: $(row n3 n1)"
as_on n1 alice on n3 true || fail "n3 takes no program after a quick return"

# ---- its links are cut ----
switch=$(cat "$CLUSTER_DIR/switch.pid")
sleeps() { pgrep -xf "sleep $1" >/dev/null; } # any of the host's
cut_both() { nsenter --net="/proc/$switch/ns/net" ip link set v3 down; }
mend_both() { nsenter --net="/proc/$switch/ns/net" ip link set v3 up; }
# n3 hears and is not heard: what it sends to the others goes to nobody's address.
in_n3() { nsenter --net="/proc/$(cat "$CLUSTER_DIR/n3/run/guard.pid")/ns/net" "$@"; }
cut_out() { in_n3 ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:99 dev eth0 nud permanent && in_n3 ip neigh replace 10.77.0.3 lladdr 02:00:00:00:00:99 dev eth0 nud permanent; }
mend_out() { in_n3 ip neigh del 10.77.0.2 dev eth0 && in_n3 ip neigh del 10.77.0.3 dev eth0; }
# What the host's kernel says of the guests of n3; nothing where the only tree that freezes is the daemons' own.
events() { find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/n3/alice/guests/cgroup.events"; }
frozen() { grep -qx 'frozen 1' $(events); }
epoch=4
for way in both out; do
	nap=$([ $way = both ] && echo 2001 || echo 2002)
	begin "cut.$way" "sleep $nap" sh -c "on n3 sleep $nap; echo \"waited: \$?\""
	cut_$way || fail "cannot cut its links"
	t0=$(now)
	wait_for 20 state_is n3 cut-off n3 || fail "n3 does not know that it is cut off: $(p nodes --node n3)"
	if [ -n "$(events)" ]; then
		wait_for 20 frozen || fail "n3 does not freeze what it runs: $(p nodes --node n3)"
		sleeps $nap || fail "n3 has ended what it runs, which it had to freeze first"
		stands=$(ms_since "$t0")
	fi
	gone() { ! sleeps $nap; }
	wait_for 30 gone || fail "n3 does not end what it runs: $(ms_since "$t0") ms"
	ended=$(ms_since "$t0")
	echo "cut ($way): frozen after ${stands:-?} ms, ended after $ended ms"
	wait_for 30 state_is n3 dead n1 || fail "a cut-off node is not announced dead: $(p nodes --node n1)"
	[ "$(ms_since "$t0")" -ge "$ended" ] || fail "announced before it was over"
	wait_for 15 has "cut.$way" '^waited: 137$' || fail "a wait over the cut: $(cat "$work/cut.$way")"
	mend_$way || fail "cannot mend its links"
	epoch=$((epoch + 2))
	wait_for 30 state_is n3 alive n1 || fail "n3 does not come back: $(p nodes --node n1)"
	[ "$(epoch_of n3 n1)" = $epoch ] || fail "its epoch after the cut: $(row n3 n1)"
	wait_for 20 as_on n3 alice true || fail "no login on n3 after the cut"
done

# ---- who leads naming dies ----
leads() { p nodes --node n3 -o csv | grep ',leader,' | cut -d, -f1; }
led() { [ -n "$(leads)" ]; }
wait_for 20 led || fail "nobody leads"
leader=$(leads)
other=$([ "$leader" = n1 ] && echo n3 || echo n1)
seen=$(tail -n 1 "$work/count")
t0=$(now)
kill -9 "$(pandod_pid "$leader")"
p tenant add carol --node "$other" >/dev/null || fail "naming does not go on without $leader"
naming=$(ms_since "$t0")
counts() { [ "$(tail -n 1 "$work/count")" -gt $((seen + 5)) ]; }
wait_for 10 counts || fail "the counter stands: $seen, $(tail -n 3 "$work/count")"

# ---- nothing was lost, nothing stays ----
as_on n2 alice touch enough || fail "no login on n2"
wait $counter
code=$?
[ $code = 9 ] || fail "the counter ended with $code"
[ "$(cat "$work/count")" = "$(seq 0 $(($(wc -l <"$work/count") - 1)))" ] || fail "the counter has gaps"
wait $sent
code=$?
[ $code = 6 ] || fail "what n3 had sent on ended with $code: $(cat "$work/sent")"
wait_for 10 as_on n1 alice test -e after || fail "what began on n3 did not go on to its end"
left() { [ "$(p ps alice -o csv | tail -n +2 | wc -l)" = 0 ]; }
wait_for 20 left || fail "processes stay: $(p ps alice)"

# ---- the whole node of who leads dies, and a program elsewhere goes on ----
wait_for 20 led || fail "nobody leads"
leader=$(leads)
other=$([ "$leader" = n1 ] && echo n2 || echo n1)
as_on $other alice sh -c 'while [ ! -e stop ]; do date +%s%N >beat; sleep 0.1; done; exit 3' </dev/null >/dev/null 2>&1 &
beating=$!
wait_for 20 as_on $other alice test -s beat || fail "the program does not start"
t0=$(now)
kill_node "$leader"
p tenant add dave --node $other >/dev/null || fail "naming does not go on without the node $leader"
whole=$(ms_since "$t0")
beats() { [ "$(as_on $other alice cat beat 2>/dev/null || echo 0)" -gt "$t0" ]; }
wait_for 10 beats || fail "the program stands still"
as_on $other alice touch stop || fail "no login on $other"
wait $beating
code=$?
[ $code = 3 ] || fail "the program ended with $code"
echo "announced after $announced ms, all parents told after $told ms; naming went on $naming ms after the death of who led, $whole ms
	after that of its node"
# 3 s where nobody else wants the processors: tests/bench/death.sh
[ "$naming" -lt 10000 ] && [ "$whole" -lt 10000 ] || fail "naming went on too late"
exit 0
