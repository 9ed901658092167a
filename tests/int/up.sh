#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A cluster comes up, tells what it is, and goes without a trace; its data comes back with it.
. tests/lib/cluster.sh

# Everything a cluster makes on a host, by its own names.
traces() {
	local pid
	for pid in /proc/[0-9]*; do
		tr '\0' ' ' 2>/dev/null <"$pid/cmdline" | grep -F "$CLUSTER_DIR" | sed 's/^/process /'
	done | grep -v grep
	grep -F "$CLUSTER_DIR" /proc/self/mountinfo | sed 's/^/mount /'
	find /sys/fs/cgroup -type d -name "pando-$(basename "$CLUSTER_DIR")-*" -newer "$PANDO_TEST_DIR/start" |
		sed 's/^/cgroup /'
}

touch "$PANDO_TEST_DIR/start"
links=$(ip -o link | wc -l)
nodes=${NODES:-3}

# An up that dies anywhere is gone on with by the next: here when there is no bridge yet, a node without a plug, or
# when nodes join.
broken_off() { # file that it has made then
	local up
	"$BIN/pando" --dir "$CLUSTER_DIR" up -n "$nodes" --no-balance --lease 11:31 >/dev/null 2>&1 &
	up=$!
	until [ -e "$CLUSTER_DIR/$1" ] || ! kill -0 $up 2>/dev/null; do :; done
	kill -9 $up 2>/dev/null
	wait $up 2>/dev/null
}
trap cluster_down EXIT
exec 9<"$PANDO_TEST_DIR/start" # nobody's business but ours
broken_off switch.pid
broken_off n1/run/guard.pid
broken_off n1/data/peers
timeout -s INT 0.3 "$BIN/pando" --dir "$CLUSTER_DIR" up -n "$nodes" >/dev/null 2>&1

# What starts later runs with what the first one runs with.
t0=$(date +%s%N)
cluster_up "$nodes"
ms=$((($(date +%s%N) - t0) / 1000000))
echo "$nodes nodes up in $ms ms"
exec 9<&-
for pid in $(pgrep -f "pandod .*--dir $CLUSTER_DIR "); do
	ls -l "/proc/$pid/fd" | grep -F "$PANDO_TEST_DIR/start" && fail "a daemon has what its starter had open: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
done

# On a busy machine one may be suspected for a moment: it answers and is alive again.
all_alive() { [ "$(p nodes -o csv | tail -n +2 | cut -d, -f1,3 | sort)" = "$(seq "$nodes" | sed 's/.*/n&,alive/')" ]; }
wait_for 10 all_alive || fail "not all are alive: $(p nodes)"
p status --json | python3 -c '
import json, sys
s = json.load(sys.stdin)
assert s["leader"], "no leader"
assert len(s["nodes"]) == '"$nodes"', s["nodes"]
assert any("kind dir" in x for x in s["shortcuts"]), s["shortcuts"]
' || fail "status"

# A second up of the same directory starts nothing twice.
before=$(pgrep -fc "pandod guard --dir $CLUSTER_DIR ")
p up -n "$nodes" || fail "a second up"
[ "$(pgrep -fc "pandod guard --dir $CLUSTER_DIR ")" = "$before" ] || fail "a second up started guards again"
[ "$(pgrep -fc "pandod guard --dir $CLUSTER_DIR .* --lease 11000:31000 --no-balance")" = "$nodes" ] ||
	fail "the nodes' settings differ: $(pgrep -fa "pandod guard --dir $CLUSTER_DIR ")"

# Other settings than those that run are refused, the same ones are not; up alone asks for none.
other() { # reason next options...
	local reason=$1 next=$2 out
	shift 2
	out=$(p up "$@" 2>&1)
	[ $? = 1 ] && [ "$out" = "pando: cannot bring $reason; try: $next" ] || fail "up $*: $out"
}
port=$(pgrep -fa "pandod guard --dir $CLUSTER_DIR --node n1 " | grep -o '127.0.0.1:[0-9]*')
last=n$nodes
other "1 node up: $last runs in $CLUSTER_DIR already" "pando drain $last, pando leave --node $last" -n 1
other "the cluster up with --cpus 0.5: node n1 runs without --cpus already" "pando down, pando up -n $nodes --cpus 0.5" --cpus 0.5
other "the cluster up with --lease 10:30: node n1 runs with --lease 11:31 already" "pando down, pando up -n $nodes --lease 10:30" --lease 10:30
other "the cluster up with --ssh off: node n1 runs with --ssh $port already" "pando down, pando up -n $nodes --ssh off" --ssh off
other "this host up: node n1, which runs in $CLUSTER_DIR, is of a local cluster" "pando status" --host --addr 127.0.0.1
p up --ssh "$port" --lease 11:31 --no-balance || fail "up with the same settings"
p up || fail "up alone"
[ "$(pgrep -fc "pandod guard --dir $CLUSTER_DIR ")" = "$before" ] || fail "an up that asks for nothing else started guards"

# Each node has namespaces of its own, and sees no other node's directory.
for kind in mnt pid net ipc uts; do
	n=$(for k in $(seq "$nodes"); do readlink "/proc/$(pandod_pid "n$k")/ns/$kind"; done | sort -u | wc -l)
	[ "$n" = "$nodes" ] || fail "nodes share a $kind namespace"
done
for k in $(seq "$nodes"); do
	seen=$(ls "/proc/$(pandod_pid "n$k")/root$CLUSTER_DIR" | sort | tr '\n' ' ')
	[ "$seen" = "n$k vol " ] || fail "node n$k sees: $seen"
done

p tenant add alice >/dev/null || fail "tenant add"
p tenant add alice 2>/dev/null && fail "a tenant was added twice"
p tenant add 'Not A Name' 2>/dev/null
[ $? = 2 ] || fail "a bad name is no usage error"
out=$(as alice sh -c 'echo kept > ~/file && cat ~/file') || fail "login"
[ "$out" = kept ] || fail "login printed: $out"

# A join that is refused leaves nothing; a directory in which none has ended well is no node.
p join 10.77.0.2:7300 badtoken --name stranger --ssh off 2>/dev/null && fail "a mistyped token lets in"
left=$(find "$CLUSTER_DIR" /sys/fs/cgroup -path "*$(basename "$CLUSTER_DIR")*/stranger*")
[ -z "$left" ] || fail "a refused join left: $left"
mkdir -p "$CLUSTER_DIR/stranger/data"

p down || fail "down"
left=$(traces)
[ -z "$left" ] || fail "down left behind: $left"
[ "$(ip -o link | wc -l)" = "$links" ] || fail "down left links behind"

# As many as there were, without a word of how many.
p up || fail "up after down"
[ "$(pgrep -fc "pandod guard --dir $CLUSTER_DIR ")" = "$nodes" ] || fail "up after down starts other nodes than there were"
p up --no-balance 2>&1 | grep -q "with --no-balance: node n1 runs without --no-balance already; try: pando down" || fail "--no-balance"
[ "$(as alice cat file)" = kept ] || fail "the tenant's file did not come back"
p tenant ls -o csv | grep -q '^alice,' || fail "the tenant did not come back"

p tenant rm alice || fail "tenant rm"
p tenant rm alice 2>/dev/null
[ $? = 3 ] || fail "removing what is not there is not 'not found'"
p login -T alice -- true 2>/dev/null
[ $? = 125 ] || fail "a removed tenant can log in"

cluster_down
[ ! -e "$CLUSTER_DIR" ] || fail "purge left $(find "$CLUSTER_DIR" | head -5)"
left=$(traces)
[ -z "$left" ] || fail "purge left behind: $left"

# Clusters that begin at the same time, in directories that go with the same ports, listen for ssh at different ones.
mapfile -t alike < <(python3 -c '
import functools, sys
block = lambda text: functools.reduce(lambda h, c: (h ^ c) * 16777619 & 0xffffffff, text.encode(), 2166136261) % 190
names = [sys.argv[1] + "-" + str(i) for i in range(2000)]
print("\n".join([n for n in names if block(n) == block(names[0])][:3]))' "$CLUSTER_DIR")
alike_down() {
	for dir in "${alike[@]}"; do "$BIN/pando" --dir "$dir" down --purge >/dev/null; done
}
trap alike_down EXIT
ups=()
for dir in "${alike[@]}"; do
	"$BIN/pando" --dir "$dir" up -n 1 >/dev/null &
	ups+=($!)
done
for up in "${ups[@]}"; do wait "$up" || fail "clusters do not come up beside each other"; done
ports=$(for dir in "${alike[@]}"; do grep -ho 'listening on .*' "$dir/n1/log/sshd.log"; done | sort -u | wc -l)
[ "$ports" = 3 ] || fail "they listen at: $(for dir in "${alike[@]}"; do cat "$dir/n1/log/sshd.log"; done)"
exit 0
