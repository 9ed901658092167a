#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs alone: how busy the machine is matters.
# Limits of a tenant on two nodes at once: the sum is what counts. Fork bomb, memory hog, disk hog, weights, usage.
. tests/lib/cluster.sh
cluster_up 2
p tenant add alice --procs 60 --memory 192M --storage 48M >/dev/null || fail "tenant add"
p tenant add bob >/dev/null || fail "tenant add bob"

# What makes no sense is refused, and says what does.
refused() { # code text command...
	local code=$1 text=$2 out
	shift 2
	out=$("$@" 2>&1)
	[ $? = "$code" ] || fail "$*: $out"
	[[ $out == *"$text"*"try: "* ]] || fail "$* says: $out"
}
refused 2 "'x' is no amount" p tenant set alice procs=x
refused 2 "is no setting" p tenant set alice speed=3
refused 1 "not yet" p tenant set alice network=1M
refused 3 "no tenant nobody" p tenant set nobody procs=3
refused 2 "is no time" p usage --since soon
p tenant set alice cpus=1 weight=100 detached=hangup || fail "tenant set"

# The machine tells its guests of the limits.
[ "$(as_on n1 alice nproc)" = 1 ] || fail "nproc with cpus=1"
[ "$(as_on n1 alice awk '/MemTotal/ { print $2 }' /proc/meminfo)" = 196608 ] || fail "MemTotal with mem=192M"
as_on n1 alice quota | grep -q '^alice *processes *60 ' || fail "quota inside: $(as_on n1 alice quota)"

group() { # node controller file
	cat /sys/fs/cgroup/"$2"/pando-"$(basename "$CLUSTER_DIR")"-*/"$1"/alice/guests/"$3" 2>/dev/null ||
		cat /sys/fs/cgroup/pando-"$(basename "$CLUSTER_DIR")"-*/"$1"/alice/guests/"$3"
}
quick() { # command...: answers although a hog runs; a second is meant, this machine may be busy
	timeout 20 "$BIN/pando" --dir "$CLUSTER_DIR" "$@" >/dev/null || fail "'$*' does not answer beside a hog"
}
init_pids() { pgrep -f "^/[^ ]*pando-init alice" | sort | tr '\n' ' '; }

# A fork bomb on both nodes ends in EAGAIN, and both together have no more than the limit.
cat >"$PANDO_TEST_DIR/bomb.py" <<'BOMB'
import errno, os, time
n = refused = 0
while refused < 15 and n < 500:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        n += 1
        refused = 0
    except OSError as e:
        why = errno.errorcode[e.errno]
        refused += 1
        time.sleep(0.1)  # what the other node does not use may still come
print(why, n, flush=True)
while not os.path.exists("/tmp/stop"):
    time.sleep(0.05)
os.killpg(0, 9)
BOMB
as_on n2 alice true || fail "login on n2"
inits=$(init_pids)
for n in n1 n2; do
	"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node $n alice -- python3 -c "$(cat "$PANDO_TEST_DIR/bomb.py")" >"$PANDO_TEST_DIR/bomb.$n" 2>&1 &
done
end=$((SECONDS + 60))
while [ $SECONDS -lt $end ]; do
	sum=$(($(group n1 pids pids.current) + $(group n2 pids pids.current)))
	[ $sum -le 60 ] || fail "both nodes have $sum tasks, the limit is 60"
	[ -s "$PANDO_TEST_DIR/bomb.n1" ] && [ -s "$PANDO_TEST_DIR/bomb.n2" ] && break
	sleep 0.05
done
grep -q EAGAIN "$PANDO_TEST_DIR/bomb.n1" || fail "bomb on n1: $(cat "$PANDO_TEST_DIR/bomb.n1")"
grep -q EAGAIN "$PANDO_TEST_DIR/bomb.n2" || fail "bomb on n2: $(cat "$PANDO_TEST_DIR/bomb.n2")"
[ "$sum" -ge 45 ] || fail "the bombs were stopped at $sum of 60"
quick ps alice
quick login -T --node n1 alice -- true
quick login -T --node n2 alice -- true
quick login -T --node n1 bob -- true
p quota alice | grep '^alice *processes' | grep -q full || fail "quota does not say which limit: $(p quota alice)"
as_on n1 alice touch /tmp/stop || fail "touch"
wait
[ "$(init_pids)" = "$inits" ] || fail "a pando-init was the victim"

# A memory hog gets ENOMEM and is not killed, also where most of the memory was lent to the other node. One that outgrows what is
# left while nobody looks (a second; longer where the machine is busy) may be: once, not again.
hog='
a = []
try:
    while True: a.append(bytearray(1 << 20))
except MemoryError:
    print(len(a))
'
# What one left is known to the other node within a second or so.
hogs() { # node: what the other one told when it was full may come after its hog has ended
	local code
	got=$(as_on "$1" alice python3 -c "$hog")
	code=$?
	[ $code = 137 ] && [ $((killed += 1)) = 1 ] && return 1
	[ $code = 0 ] || fail "the hog on $1 ends with status $code"
	[ "$got" -lt 192 ] || fail "the hog on $1 got $got MB of 192"
	[ "$got" -gt 60 ]
}
killed=0
roomy() { [ "$(as_on "$1" alice sh -c 'ulimit -d')" -gt 100000 ]; }
for n in n1 n2; do
	wait_for 10 roomy $n || fail "there is no memory left on $n: $(p quota alice)"
	wait_for 20 hogs $n || fail "the hog on $n got $got MB of 192"
done
# Both at once: what they have together is never more than the limit. (Who outgrows what is left while nobody looks is killed.)
python3 - "$CLUSTER_DIR" "$PANDO_TEST_DIR/hogged" >"$PANDO_TEST_DIR/top" <<'PY' &
import glob, os, sys
name = f"pando-{os.path.basename(sys.argv[1])}-*/n[12]/alice/guests"
files = [open(f) for at in ("memory/" + name + "/memory.usage_in_bytes", name + "/memory.current") for f in glob.glob("/sys/fs/cgroup/" + at)]
top = 0
while len(files) == 2 and not os.path.exists(sys.argv[2]):
    now = 0
    for f in files:
        f.seek(0)
        now += int(f.read())
    top = max(top, now)
print(top)
PY
looking=$!
hogging=()
for n in n1 n2; do
	wait_for 10 roomy $n || fail "there is no memory left on $n: $(p quota alice)"
done
for n in n1 n2; do
	as_on $n alice python3 -c "$hog" >/dev/null &
	hogging+=($!)
done
wait "${hogging[@]}"
: >"$PANDO_TEST_DIR/hogged"
wait $looking
top=$(cat "$PANDO_TEST_DIR/top")
[ "$top" -gt 100000000 ] && [ "$top" -le $((193 << 20)) ] || fail "two hogs had $top bytes of 192M together"
[ "$(init_pids)" = "$inits" ] || fail "a pando-init was the victim of two hogs"

# A disk hog fills its own tree and nobody else's; the limit may grow, at once, on both nodes.
as_on n1 alice sh -c 'dd if=/dev/zero of=big bs=1M count=100' 2>&1 | grep -q 'No space left' || fail "no end of the disk"
as_on n2 alice dd if=/dev/zero of=y bs=1M count=2 2>/dev/null && fail "the disk is full on one node only"
as_on n1 bob sh -c 'dd if=/dev/zero of=big bs=1M count=100 && rm big' 2>/dev/null || fail "bob has no room"
refused 1 "only grow: it has 48M, of which" p tenant set alice disk=20M
# Growing a mounted file system takes CAP_SYS_RESOURCE, which some containers have not.
if ((0x$(awk '/CapEff/ { print $2 }' /proc/self/status) >> 24 & 1)); then
	p tenant set alice disk=80M || fail "the disk does not grow"
	as_on n2 alice sh -c 'dd if=/dev/zero of=y bs=1M count=20 && rm y' 2>/dev/null || fail "no room after the disk has grown"
else
	refused 1 "CAP_SYS_RESOURCE" p tenant set alice disk=80M
fi
as_on n2 alice sh -c 'rm -f y big'

# A limit of the disk that cannot be is refused when it is asked for, and never just not so; also where nobody has the files.
refused 1 "only grow: it has" p tenant set alice disk=none
refused 1 "only grow: it has" p tenant set alice disk=1M
refused 1 "in a plain directory already" p tenant set bob disk=20M
refused 2 "less than 16M holds no file system" p tenant add carol --storage 1M
p tenant add carol --storage 30M >/dev/null && p tenant set carol disk=20M || fail "a limit before the first login"
as_on n1 carol true || fail "login of carol"
if ((0x$(awk '/CapEff/ { print $2 }' /proc/self/status) >> 24 & 1)); then
	p tenant set carol disk=40M --node n2 || fail "carol's disk does not grow by a node that has not mounted it"
	[ "$(as_on n1 carol df --output=size -m . | tail -n 1)" -gt 30 ] || fail "carol's disk has not grown"
	has=40M
else
	refused 1 "CAP_SYS_RESOURCE" p tenant set carol disk=40M --node n2
	has=20M
fi
p tenant rm carol || fail "tenant rm"
refused 1 "only grow: it has $has" p tenant add carol --storage 16M
p tenant add carol >/dev/null || fail "carol comes back"
p tenant ls | grep -q "^carol .* $has " || fail "carol's files have another limit than she has: $(p tenant ls)"
p tenant rm carol || fail "tenant rm"
p tenant add bobby >/dev/null && as_on n2 bobby true && p tenant rm bobby || fail "bobby"
refused 1 "in a plain directory already" p tenant add bobby --storage 20M

# A busy node is shared by weight; alone, a tenant may use all of it. Ratios of the same seconds.
p tenant set alice cpus=none weight=100 || fail "tenant set"
p tenant set bob weight=400 || fail "tenant set"
cpu_ns() { # tenant
	cat /sys/fs/cgroup/cpuacct/pando-"$(basename "$CLUSTER_DIR")"-*/n1/"$1"/cpuacct.usage 2>/dev/null ||
		awk '/usage_usec/ { print $2 * 1000 }' /sys/fs/cgroup/pando-"$(basename "$CLUSTER_DIR")"-*/n1/"$1"/cpu.stat
}
# Shells that execute nothing and are told where to be: the second would else be placed where the first is not.
burn='for i in $(seq 1 '"$(($(nproc) * 2))"'); do (while [ ! -e /tmp/burned ]; do :; done) & done; echo burning; wait'
for t in alice bob; do
	"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 $t -- on n1 bash -c "$burn" >"$PANDO_TEST_DIR/burn.$t" &
	wait_for 20 grep -qs burning "$PANDO_TEST_DIR/burn.$t" || fail "$t does not burn"
done
enough() { [ $(($(cpu_ns alice) - a0 + $(cpu_ns bob) - b0)) -gt 1500000000 ]; }
# Whoever else is busy on the host takes more of one CPU than of the other, for a while.
by_weight() {
	a0=$(cpu_ns alice) b0=$(cpu_ns bob)
	wait_for 60 enough || fail "nobody burns"
	a=$(($(cpu_ns alice) - a0)) b=$(($(cpu_ns bob) - b0))
	[ $b -gt $((a * 2)) ] && [ $b -lt $((a * 8)) ]
}
wait_for 20 by_weight || fail "weights 100 and 400 got $((a / 1000000)) and $((b / 1000000)) ms"
for t in alice bob; do as_on n1 $t sh -c ': >/tmp/burned' || fail "the burning of $t does not end"; done
wait

# Who has more to do than her limit allows needs no weight for that, and so has less; the whole of it again afterwards, which
# a successor of the daemon that lowered it knows too.
weight() { # percent of what she was given
	local v
	v=$(cat /sys/fs/cgroup/cpu/pando-"$(basename "$CLUSTER_DIR")"-*/n1/alice/cpu.shares 2>/dev/null) && echo $((v * 100 / 1024)) && return
	cat /sys/fs/cgroup/pando-"$(basename "$CLUSTER_DIR")"-*/n1/alice/cpu.weight
}
weighs_less() { [ "$(weight)" -lt 80 ]; }
weighs_all() { [ "$(weight)" = 100 ]; }
weighs_all || fail "without a limit alice weighs $(weight)"
p tenant set alice cpus=0.2 || fail "tenant set"
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- on n1 bash -c 'while [ ! -e /tmp/stop-burning ]; do :; done' &
wait_for 60 weighs_less || fail "beside her limit alice weighs $(weight)"

# On the other node too: together they use what she may. Ratios of the same seconds.
cpu_ns_of() { # node
	cat /sys/fs/cgroup/cpuacct/pando-"$(basename "$CLUSTER_DIR")"-*/"$1"/alice/guests/cpuacct.usage 2>/dev/null ||
		awk '/usage_usec/ { print $2 * 1000 }' /sys/fs/cgroup/pando-"$(basename "$CLUSTER_DIR")"-*/"$1"/alice/guests/cpu.stat
}
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n2 alice -- on n2 bash -c 'while [ ! -e /tmp/stop-burning ]; do :; done' &
on_both() {
	a=$(cpu_ns_of n2)
	[ "$a" -gt $((b + 100000000)) ]
}
b=$(cpu_ns_of n2)
wait_for 30 on_both || fail "nothing of hers burns on n2"
t0=$(date +%s%N) a=$(($(cpu_ns_of n1) + $(cpu_ns_of n2)))
sleep 2
used=$(($(cpu_ns_of n1) + $(cpu_ns_of n2) - a)) took=$(($(date +%s%N) - t0))
[ $used -le $((took * 26 / 100)) ] || fail "on both nodes she used $((used * 100 / took)) % of a core, and may use 20"

# What was used is on disk: a daemon's death loses none of it, and the next one holds the limits.
used() { p usage -o csv | awk -F, -v t="$1" '$1 == t { print int($2 * 1000) }'; }
burned() { [ "$(used bob)" -ge 600 ] && [ "$(used alice)" -ge 100 ]; }
wait_for 10 burned || fail "usage: $(p usage)"
before=$(used bob)
kill -9 "$(pandod_pid n1)"
again() { [ "$(used bob)" -ge "$before" ]; }
wait_for 15 again || fail "usage after a death: $(p usage), before: $before"
as_on n1 alice sh -c ': >/tmp/stop-burning' || fail "alice's burning does not end"
wait
wait_for 30 weighs_all || fail "with nothing to do alice weighs $(weight)"
pids=$(group n1 pids pids.max)
[ "$pids" != max ] && [ "$pids" -le 60 ] || fail "after the death of pandod n1 is held to $pids processes"
p tenant set alice procs=20 || fail "tenant set after the death"
lowered() { [ $(($(group n1 pids pids.max) + $(group n2 pids pids.max))) -le 20 ]; }
wait_for 15 lowered || fail "a lowered limit is not in force: $(p quota alice)"

# A move is in the usage, with the bytes that it took.
spawn_as bob sleep 100
sleeper() { pid=$(p ps bob -o csv | awk -F, '/,sleep 100/ { print $2 }') && [ -n "$pid" ]; }
wait_for 15 sleeper || fail "nothing to move"
from=$(p ps bob -o csv | awk -F, '/,sleep 100/ { print $4 }')
to=n1
[ "$from" = n1 ] && to=n2
# Right after a daemon's death its kernels may not have met again.
move() { p migrate "$pid" $to >/dev/null 2>&1; }
wait_for 20 move || fail "migrate: $(p migrate "$pid" $to 2>&1)"
moved() { p usage bob -o csv | awk -F, '$1 == "bob" && $4 >= 1 && $5 > 0 { f = 1 } END { exit !f }'; }
wait_for 10 moved || fail "the move is not in the usage: $(p usage bob)"

# Who ends gives back.
kill -9 "$SPAWNED"
# A guest kernel that dials its peer just then starts the world anew: asked again, it goes on.
wait_for 20 p tenant rm bob 2>/dev/null || fail "tenant rm: $(p tenant rm bob 2>&1)"
p quota -o csv | grep -q '^bob,' && fail "bob is gone and has a quota"
waited() { ! ps --ppid "$(pandod_pid "$1")" -o stat= | grep -q '^Z'; }
for n in n1 n2; do
	wait_for 10 waited $n || fail "the daemon of $n has not waited for what ended with bob"
done
exit 0
