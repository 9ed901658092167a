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

now() { date +%s%N; }

step() {
	steps=$((steps + 1))
	printf '%2d  %s\n' $steps "$*"
	t0=$(now)
}

done_() { # what was seen
	printf '      %s  [%d ms]\n' "$*" $((($(now) - t0) / 1000000))
}

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
done_ "$(tail -n 1 "$work/up" | sed 's/;.*//')"
p nodes

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

step "run a program on another node by on n2 CMD, seen from the host"
spawn_as alice on n2 sleep 20
sleeper=$SPAWNED
wait_for 15 sh -c "[ -n \"\$('$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | grep ',n2,.*sleep 20')\" ]" ||
	fail "ps does not show sleep on n2: $(p ps)"
seen=$(where_tasks alice sleep)
[ "$seen" = n2 ] || fail "the host sees sleep on '$seen'"
p ps alice
kill $sleeper
wait $sleeper 2>/dev/null
done_ "ps and the host's control groups agree: n2"

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

step "build a C project in alice's session with make -j6, as natively"
mkdir "$work/src"
cp -r --parents base */core kernel/sched "$work/src/" || fail "copy the sources"
cat >"$work/src/Makefile" <<'MK'
OBJ := $(patsubst %.c,%.o,$(wildcard base/*.c */core/*.c kernel/sched/*.c))
all: $(OBJ)
%.o: %.c
	gcc -std=gnu11 -O1 -D_GNU_SOURCE -I. -c -o $@ $<
MK
tar -C "$work/src" -cf - . | as alice sh -c 'mkdir -p src && tar -C src -xf -' || fail "copy the project"
as alice sh -c 'cd src && make -s -j6 && find . -name "*.o" | sort | xargs sha256sum' >"$work/built" 2>"$work/build.err" &
build=$!
: >"$work/cc1"
while kill -0 $build 2>/dev/null; do
	where_tasks alice cc1 >>"$work/cc1"
	sleep 0.1
done
wait $build || fail "the build failed: $(head -3 "$work/build.err")"
(cd "$work/src" && make -s -j2 && find . -name "*.o" | sort | xargs sha256sum) >"$work/native" || fail "the native build failed"
cmp -s "$work/built" "$work/native" || fail "objects differ from the native ones"
[ "$(sort -u "$work/cc1" | wc -l)" -ge 2 ] || fail "compilers ran on one node only: $(sort -u "$work/cc1")"
done_ "$(wc -l <"$work/built") objects, byte for byte the native ones; compilers seen on: $(sort -u "$work/cc1" | tr '\n' ' ')"

step "kill -9 of n1's guest kernel, then of its pandod, while a counter, a pipeline and a shell work there"
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
wait_for 15 grep -qs 10 "$work/count" || fail "the counter does not start"
kill -9 "$(kernel_pid n1 alice)" || fail "no guest kernel on n1"
sleep 1
kill -9 "$(pandod_pid n1)" || fail "no pandod on n1"
wait $counter
[ $? = 9 ] || fail "the counter's exit status"
[ "$(cat "$work/count")" = "$(seq 0 199)" ] || fail "the counter has a gap"
wait $summer || fail "the pipeline failed"
[ "$(cat "$work/sum")" = "$(head -c 30000000 /dev/zero | tr '\0' x | sha256sum)" ] || fail "the pipeline's bytes"
done_ "200 numbers without a gap, 30 MB unchanged, exit status 9"

step "bob sees none of alice's processes and files"
spawn_as alice on n1 sleep 30
sleeper=$SPAWNED
wait_for 15 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' ps alice -o csv | grep -q 'sleep 30'" || fail "alice's sleep"
as bob sh -c 'ps -ef; ls /home; cat /home/alice/pids' >"$work/bob" 2>&1 && fail "bob read alice's file"
grep -qE 'sleep 30|alice$' "$work/bob" && fail "bob sees: $(grep -E 'sleep 30|alice' "$work/bob")"
done_ "neither in ps nor in /home"
kill $sleeper
wait $sleeper 2>/dev/null

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
p migrate "$pid" n2 | sed 's/^/      /'
on_node n2
as alice sh -c "echo n3 >/proc/$pid/node" || fail "echo n3 >/proc/$pid/node"
on_node n3
as alice migrate "$pid" n1 | sed 's/^/      /'
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
echo "demo: $steps steps, all checked"
