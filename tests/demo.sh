#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job, on a local cluster of three nodes of half a core each. Each step says what it does, on
# which node, and how long it took; the exit status is 0 only if every step was checked and right.
# Called by `make demo`. Takes its cluster down again; KEEP=1 leaves it up.
set -u
cd "$(dirname "$0")/.." || exit 2
BIN=${BIN:-$PWD/build/gcc/bin}
export BIN
PANDO_TEST_DIR=$(mktemp -d /tmp/pdXXXXXX) || exit 2
export PANDO_TEST_DIR
. tests/lib/cluster.sh
work=$PANDO_TEST_DIR
steps=0
t0=0
began=$(date +%s%N)
bold='' dim='' green='' plain=''
if [ -t 1 ]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'
fi

now() { date +%s%N; }

seconds() { # ns
	awk -v ns="$1" 'BEGIN { printf "%.1f s", ns / 1e9 }'
}

step() {
	steps=$((steps + 1))
	printf '\n%s%2d  %s%s\n' "$bold" $steps "$*" "$plain"
	t0=$(now)
}

done_() { # what was seen
	printf '    %sok%s  %s  %s[%s]%s\n' "$green" "$plain" "$*" "$dim" "$(seconds $(($(now) - t0)))" "$plain"
}

# Output of a command, as it is, below its step.
show() { cut -c1-110 | sed "s/^/      $dim/; s/\$/$plain/"; }

finish() {
	local status=$?
	trap - EXIT
	if [ -n "${KEEP:-}" ] && [ $status = 0 ]; then
		echo "the cluster stays up; try: pando --dir $CLUSTER_DIR status"
		exit 0
	fi
	(exit $status)
	cluster_down
	rm -rf "$work"
	exit $status
}

# The host's own view: the nodes on which tasks of a tenant run now, by control group.
where_tasks() { # tenant command-name
	local procs pid
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/n*/$1/guests*" -name cgroup.procs 2>/dev/null |
		while read -r procs; do
			while read -r pid; do
				[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] &&
					echo "$procs" | grep -oE '/n[0-9]+/' | tr -d /
			done <"$procs"
		done | sort -u
}

step "start three nodes: each a pandod in namespaces of its own; n2 and n3 join n1 by address and token"
cluster_up 3 --cpus 0.5 >"$work/up" || exit 1
trap finish EXIT
trap 'exit 143' TERM INT
ms=$((($(now) - t0) / 1000000))
[ "$(p nodes -o csv | grep -c ',alive,')" = 3 ] || fail "not three nodes alive"
[ $ms -lt 5000 ] || fail "it took $ms ms"
p nodes | show
done_ "$(tail -n 1 "$work/up" | sed 's/;.*//')"

step "two tenants"
p tenant add alice >/dev/null || fail "alice"
p tenant add bob >/dev/null || fail "bob"
done_ "alice and bob, host ids $(p tenant ls -o csv | tail -n +2 | cut -d, -f3 | tr '\n' ' ')"

step "log in on every node: one home, one set of pids"
for k in 1 2 3; do
	as_on n$k alice sh -c 'echo $$ >>~/pids' || fail "login on n$k"
done
[ "$(as alice sort -u pids | wc -l)" = 3 ] || fail "pids repeat"
done_ "pids $(as alice cat pids | tr '\n' ' ')"

step "run a program on another node: on n2 sleep 61, on n3 sleep 62; the host's control groups say where they are"
sleepers=()
for k in 1 2 3; do
	spawn_as alice on n$k sleep 6$k
	sleepers+=("$SPAWNED")
done
listed() { p ps alice -o csv | grep -q ",$1,.*sleep $2"; }
for k in 1 2 3; do
	wait_for 15 listed n$k 6$k || fail "ps does not show sleep 6$k on n$k: $(p ps)"
done
p ps alice | show
[ "$(where_tasks alice sleep | tr '\n' ' ')" = "n1 n2 n3 " ] || fail "the host sees sleep on '$(where_tasks alice sleep)'"
done_ "pando ps and the host agree: n1, n2 and n3"

step "one machine, seen from a session on n1: nproc, free, uptime, ps aux, top"
cat >"$work/look.sh" <<'SH'
echo "\$ nproc"; nproc
echo "\$ free -m"; free -m
echo "\$ uptime"; uptime
echo "\$ ps aux"; ps aux
echo "\$ top -b -n1"; top -b -n1 -w 110
SH
as_on n1 alice sh <"$work/look.sh" >"$work/look" || fail "nproc, free, uptime, ps or top"
show <"$work/look"
[ "$(sed -n 2p "$work/look")" = 2 ] || fail "nproc says $(sed -n 2p "$work/look"): three halves are two"
want=$(p nodes -o csv | tail -n +2 | awk -F, '{ b += $8 } END { printf "%d", b / 1048576 }')
got=$(awk '$1 == "Mem:" { print $2 }' "$work/look")
[ $((got > want ? got - want : want - got)) -le 3 ] || fail "free says $got MiB, the nodes have $want"
grep -q 'load average: [0-9]' "$work/look" || fail "uptime"
[ "$(sed -n '/ps aux/,/top -b/p' "$work/look" | grep -c ' sleep 6[123]$')" = 3 ] || fail "ps aux does not list all three"
[ "$(sed -n '/top -b/,$p' "$work/look" | grep -c ' sleep *$')" = 3 ] || fail "top does not list all three"
kill "${sleepers[@]}"
wait "${sleepers[@]}" 2>/dev/null
done_ "processors and memory of three nodes, processes of all of them"

step "a pipeline whose members run on three nodes, 20 MB"
head -c 20000000 /dev/urandom >"$work/bytes"
want=$(sha256sum <"$work/bytes")
got=$(as alice sh -c 'on n1 cat | on n2 cat | on n3 sha256sum' <"$work/bytes") || fail "the pipeline failed"
[ "$got" = "$want" ] || fail "the bytes differ: $got, not $want"
done_ "sha256 as natively: ${got:0:16}..."

step "exit statuses and signals over nodes"
as alice on n2 sh -c 'exit 42'
[ $? = 42 ] || fail "exit status over nodes"
as alice on n3 sh -c 'kill -9 $$'
[ $? = 137 ] || fail "signal over nodes"
done_ "42 and 128+9"

step "one terminal on three nodes: its number, vi, top; ctrl-C, ctrl-Z, fg and bg of \`on n1 yes | on n2 cat | on n3 cat\`"
python3 tests/lib/terminals.py number,vi,jobs "$BIN/pando" --dir "$CLUSTER_DIR" login --node n1 alice >"$work/terminals" ||
	fail "the terminal"
done_ "as on one machine: $(tr '\n' ' ' <"$work/terminals")"

step "build a C project (a part of Pando) in alice's session: make -j6, no wrapper"
mkdir "$work/src"
cp -r --parents base */core kernel/sched "$work/src/" || fail "copy the sources"
cat >"$work/src/Makefile" <<'MK'
SMALL := $(patsubst %.c,%.o,$(wildcard base/*.c))
OBJ := $(SMALL) $(patsubst %.c,%.o,$(wildcard */core/*.c kernel/sched/*.c))
all: $(OBJ)
small: $(SMALL)
%.o: %.c
	gcc -std=gnu11 -O1 -D_GNU_SOURCE -I. -c -o $@ $<
MK
tar -C "$work/src" -cf - . | as alice sh -c 'mkdir -p src && tar -C src -xf -' || fail "copy the project"
(cd "$work/src" && make -s -j2 && find . -name "*.o" | sort | xargs sha256sum) >"$work/native" || fail "the native build failed"
objects=$(wc -l <"$work/native")
t0=$(now) # the native build is only what ours is compared with

# Builds in alice's session: its time in $took, how many compilers the host saw where in $where.
build() { # make's arguments
	local from counter
	mkfifo "$work/enough"
	python3 tests/lib/where.py "$(basename "$CLUSTER_DIR")" alice cc1 <"$work/enough" >"$work/where" &
	counter=$!
	exec 8>"$work/enough"
	from=$(now)
	as_on n1 alice make -s -C src "$@" 2>"$work/build.err" || fail "the build failed: $(head -3 "$work/build.err")"
	took=$(($(now) - from))
	exec 8>&-
	wait $counter || fail "nobody counted the compilers"
	rm "$work/enough"
	where=$(awk '{ printf "%s%d on %s", (NR > 1 ? ", " : ""), $2, $1 }' "$work/where")
	as alice sh -c 'cd src && find . -name "*.o" | sort | xargs sha256sum' >"$work/built"
}
build -j6
cmp -s "$work/built" "$work/native" || fail "objects differ from the native ones"
[ "$(wc -l <"$work/where")" = 3 ] || fail "compilers did not run on all nodes: $where"
spread=$took
done_ "$objects objects, byte for byte the native ones; compilers seen: $where; $(seconds $spread)"

step "the same with make -j2 while n2 and n3 are closed (pando drain): one node of half a core"
p drain n2 >/dev/null && p drain n3 >/dev/null || fail "drain"
as alice sh -c 'find src -name "*.o" -delete'
build -j2
cmp -s "$work/built" "$work/native" || fail "objects differ from the native ones"
[ "$(cut -d' ' -f1 "$work/where")" = n1 ] || fail "compilers ran on closed nodes: $where"
p drain --undo n2 >/dev/null && p drain --undo n3 >/dev/null || fail "drain --undo"
done_ "compilers seen: $where; $(seconds "$took"), so three nodes were $(awk -v a="$took" -v b="$spread" 'BEGIN { printf "%.1f", a / b }') times as fast"

step "kill -9 of n1's guest kernel, then of its pandod, while a shell that counts, a pipeline and a build work there"
# On n1 by name: a busy n1 would send them away, and this step is about who works beside the dead.
quiet() { p nodes -o csv | awk -F, '$1 == "n1" { exit !($7 < 0.4) }'; }
wait_for 15 quiet || fail "n1 does not become idle"
cat >"$work/count.sh" <<'SH'
mkfifo /tmp/never
exec 9<>/tmp/never
for ((i = 0; i < 200; i++)); do
	echo $i
	read -r -t 0.02 -u 9
done
exit 9
SH
as alice sh -c 'cat >count.sh' <"$work/count.sh" || fail "copy the counter"
as alice on n1 bash count.sh >"$work/count" &
counter=$!
as alice on n1 sh -c 'on n1 head -c 30000000 /dev/zero | on n1 tr "\0" x | on n1 sha256sum' >"$work/sum" &
summer=$!
as alice sh -c 'rm -f src/base/*.o'
as_on n1 alice make -s -C src -j4 small 2>"$work/build.err" &
builder=$!
wait_for 15 grep -qs 10 "$work/count" || fail "the counter does not start"
kill -9 "$(kernel_pid n1 alice)" || fail "no guest kernel on n1"
sleep 1
kill -9 "$(pandod_pid n1)" || fail "no pandod on n1"
wait $counter
[ $? = 9 ] || fail "the counter's exit status"
[ "$(cat "$work/count")" = "$(seq 0 199)" ] || fail "the counter has a gap"
wait $summer || fail "the pipeline failed"
[ "$(cat "$work/sum")" = "$(head -c 30000000 /dev/zero | tr '\0' x | sha256sum)" ] || fail "the pipeline's bytes"
wait $builder || fail "the build failed: $(head -3 "$work/build.err")"
as alice sh -c 'cd src && find . -name "*.o" | sort | xargs sha256sum' | cmp -s - "$work/native" || fail "the build's objects"
done_ "200 numbers without a gap, 30 MB unchanged, $(ls base/*.c | wc -l) objects as before, exit status 9"

step "bob sees none of alice's processes, files and ports"
spawn_as alice on n1 sleep 30
sleeper=$SPAWNED
cat >"$work/port.py" <<'PY'
import socket, sys
if sys.argv[1:] == ["serve"]:
    s = socket.create_server(("127.0.0.1", 7777))
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        c.sendall(b"hello")
        c.close()
print(socket.create_connection(("127.0.0.1", 7777), 10).recv(9).decode())
PY
for who in alice bob; do as $who sh -c 'cat >port.py' <"$work/port.py" || fail "copy the program"; done
spawn_as alice on n1 python3 port.py serve >"$work/server"
server=$SPAWNED
wait_for 15 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | grep -q 'sleep 30'" || fail "alice's sleep"
wait_for 15 grep -qs ready "$work/server" || fail "alice's server"
as bob sh -c 'ps -ef; ls /home; cat /home/alice/pids' >"$work/bob" 2>&1 && fail "bob read alice's file"
grep -qE 'sleep 30|alice$' "$work/bob" && fail "bob sees: $(grep -E 'sleep 30|alice' "$work/bob")"
[ "$(as_on n3 alice python3 port.py)" = hello ] || fail "alice on n3 does not reach her server on n1"
for k in 1 3; do
	as_on n$k bob python3 port.py >"$work/bob" 2>&1 && fail "bob on n$k reaches alice's server"
	grep -q ConnectionRefused "$work/bob" || fail "bob on n$k: $(tail -1 "$work/bob")"
done
done_ "alice on n3 reaches 127.0.0.1:7777 on n1, bob neither there nor on n1; nothing in ps nor in /home"
kill $sleeper $server
wait $sleeper $server 2>/dev/null
server_gone() { [ -z "$(where_tasks alice python3)" ]; }
wait_for 15 server_gone || fail "alice's server outlives its session"

step "move a running python3 that counts and hashes, piped into tee: n1, n2, n3, n1"
cat >"$work/moving.py" <<'PY'
import hashlib, os, sys, time
h = hashlib.sha256()
i = 0
while not os.path.exists("enough"):
    h.update(str(i).encode())
    print(i, h.hexdigest(), flush=True)
    time.sleep(0.02)
    i += 1
sys.exit(5)
PY
as alice sh -c 'rm -f enough; cat >moving.py' <"$work/moving.py" || fail "copy the program"
as_on n1 alice on n1 bash -c 'on n1 python3 moving.py | tee moved; exit ${PIPESTATUS[0]}' >"$work/moving" &
mover=$!
wait_for 15 grep -qs '^9 ' "$work/moving" || fail "it does not start"
pid=$(p ps alice -o csv | awk -F, '$10 == "python3 moving.py" { print $2 }')
on_node() { # node
	[ "$(p ps alice -o csv | awk -F, -v pid="$pid" '$2 == pid { print $4 }')" = "$1" ] || fail "ps does not show $pid on $1"
	[ "$(as alice cat "/proc/$pid/node")" = "$1" ] || fail "/proc/$pid/node does not say $1"
	[ "$(where_tasks alice python3)" = "$1" ] || fail "the host sees it on '$(where_tasks alice python3)', not on $1"
}
p migrate "$pid" n2 | show
on_node n2
as alice sh -c "echo n3 >/proc/$pid/node" || fail "echo n3 >/proc/$pid/node"
on_node n3
as alice migrate "$pid" n1 | show
on_node n1
as alice touch enough
wait $mover
code=$?
[ $code = 5 ] || fail "its exit status is $code"
python3 -c '
import hashlib, sys
h = hashlib.sha256()
for i in range(int(sys.argv[1])):
    h.update(str(i).encode())
    print(i, h.hexdigest())' "$(wc -l <"$work/moving")" >"$work/moving.want"
cmp -s "$work/moving" "$work/moving.want" || fail "a gap or a repetition"
as alice cat moved | cmp -s - "$work/moving.want" || fail "tee wrote something else"
done_ "pid $pid all the way, $(wc -l <"$work/moving") lines without a gap, exit status 5"

step "what cannot be done is refused by name"
p migrate 4194000 n2 2>&1 | grep -q 'there is no process 4194000; try: pando ps' || fail "migrate of nobody"
done_ "$(p migrate 4194000 n2 2>&1)"

if [ -z "${KEEP:-}" ]; then
	step "take it down: nothing is left"
	name=$(basename "$CLUSTER_DIR")
	p down --purge >/dev/null || fail "down"
	left=$(pgrep -f "$CLUSTER_DIR" -a | grep -v "$0"; grep -F "$name" /proc/self/mountinfo
		find /sys/fs/cgroup -type d -name "*$name*")
	[ -z "$left" ] || fail "left behind: $left"
	done_ "no process, mount or control group"
fi
printf '\n%sdemo: %d steps, all checked%s, in %s\n' "$bold" $steps "$plain" "$(seconds $(($(now) - began)))"
