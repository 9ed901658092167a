#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guest kernels and pandods of all nodes die 20 times while a build, a pipeline over three nodes, a counter, a program that
# is moved from node to node and a shell on a terminal work there: all results are a native run's.
. tests/lib/cluster.sh
KILLS=${KILLS:-20} MB=${MB:-100} OBJECTS=${OBJECTS:-24}
work=$PANDO_TEST_DIR/work
mkdir -p "$work/src"
RANDOM=${PANDO_SEED:-1}
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
for k in 1 2 3; do
	as_on n$k alice true || fail "no login on n$k"
done

# ---- what works meanwhile
for ((i = 0; i < OBJECTS; i++)); do
	printf '#include <stdio.h>\n#include <stdlib.h>\nint f%d(int x) { return printf("%%d\\n", x * %d + abs(x)); }\n' $i $i >"$work/src/f$i.c"
done
cat >"$work/src/Makefile" <<'MK'
OBJ := $(patsubst %.c,%.o,$(wildcard f*.c))
node = n$(shell expr $(patsubst f%.c,%,$<) % 3 + 1)
all: $(OBJ)
%.o: %.c
	$(if $(ON),on $(node)) gcc -O2 -c -o $@ $<
MK
tar -C "$work/src" -cf - . | as alice sh -c 'mkdir -p src && tar -C src -xf -' || fail "copy the project"
head -c $((MB * 1000000)) /dev/urandom >"$work/bytes"
as alice sh -c 'cd src && make -s -j6 ON=1 && cat f*.o | sha256sum; exit $?' >"$work/built" 2>"$work/built.err" &
build=$!
as_on n1 alice sh -c 'on n2 cat | on n3 cat | on n1 sha256sum' <"$work/bytes" >"$work/sum" 2>"$work/sum.err" &
pipeline=$!
as_on n2 alice sh -c "i=0; while [ \$i -lt $((KILLS * 20)) ]; do on n3 echo \$i; i=\$((i+1)); sleep 0.02; done; exit 9" >"$work/count" 2>"$work/count.err" &
counter=$!
as_on n1 alice python3 -u -c '
import os, time
i = 0
while not os.path.exists("stop"):
    print(os.getpid(), i)
    i += 1
    time.sleep(0.01)
raise SystemExit(5)' >"$work/moved" 2>"$work/moved.err" &
moved=$!
python3 - "$BIN/pando" --dir "$CLUSTER_DIR" login alice >"$work/tty" 2>&1 <<'PY' &
import os, sys, time
sys.path.insert(0, "tests/lib")
sys.argv, argv = sys.argv[:1], sys.argv[1:]
from terminal import Session
s = Session(argv)
s.expect(rb"\$ ")
for i in range(12):
    s.send(b"on n%d sh -c 'echo x%d; exit %d'; echo \"<$?>\"\n" % (i % 3 + 1, i, i))
    s.expect(rb"\nx%d\r?\n" % i, 60)
    s.expect(rb"<%d>" % i, 60)
    time.sleep(0.2)
s.send(b"exit 7\n")
sys.exit(s.status())
PY
shell=$!

# A login without a terminal whose daemon dies before it has answered is not made twice, so each has begun.
begun() {
	p ps alice -o csv >"$work/ps" 2>/dev/null && [ -s "$work/count" ] && [ -s "$work/moved" ] &&
		{ [ -s "$work/sum" ] || grep -q sha256sum "$work/ps"; } && { [ -s "$work/built" ] || grep -q make "$work/ps"; }
}
wait_for 30 begun || fail "not all have begun: $(cat "$work"/*.err "$work/ps")"

# ---- what is moved: a move that fails leaves it where it is
mover() {
	local pid k=1 done=0
	pid=$(head -n 1 "$work/moved" | cut -d " " -f 1)
	until [ -e "$work/enough" ]; do
		k=$((k % 3 + 1))
		p migrate "$pid" n$k >>"$work/moves" 2>&1 && done=$((done + 1))
	done
	echo $done
}
mover >"$work/moves.done" &
mover=$!

# ---- who dies
runs() { # kind node
	[ "$1" = pandod ] && pandod_pid "$2" || kernel_pid "$2" alice
}
other() { # kind node pid: another one lives
	local now
	now=$(runs "$1" "$2") && [ -n "$now" ] && [ "$now" != "$3" ]
}
for ((n = 0; n < KILLS; n++)); do
	kind=$([ $((RANDOM % 3)) = 0 ] && echo pandod || echo kernel)
	node=n$((RANDOM % 3 + 1))
	victim=$(runs $kind $node)
	[ -n "$victim" ] || fail "no $kind on $node"
	kill -9 "$victim"
	wait_for 20 other $kind $node "$victim" || fail "no other $kind on $node"
	sleep 0.$((RANDOM % 5 + 2))
done

# ---- all is as natively
: >"$work/enough"
wait $mover
[ "$(cat "$work/moves.done")" -gt 0 ] || fail "no move in all that time: $(sort "$work/moves" | uniq -c | sort -rn | head -5)"
! grep "no process [0-9]*;" "$work/moves" || fail "what lives is said not to be there"
as alice touch stop || fail "no login at the end"
wait $moved
code=$?
[ $code = 5 ] || fail "what was moved ended with $code: $(tail -3 "$work/moved.err" "$work/moves")"
awk 'NR == 1 { pid = $1 } $1 != pid || $2 != NR - 1 { exit 1 }' "$work/moved" || fail "what was moved has gaps: $(head -3 "$work/moved")"
wait $build || fail "the build failed: $(head -5 "$work/built.err")"
(cd "$work/src" && make -s -j2 && cat f*.o | sha256sum) >"$work/native" || fail "the native build failed"
cmp -s "$work/built" "$work/native" || fail "objects differ: $(cat "$work/built" "$work/native")"
wait $pipeline || fail "the pipeline failed: $(cat "$work/sum.err")"
[ "$(cat "$work/sum")" = "$(sha256sum <"$work/bytes")" ] || fail "the pipeline's bytes differ"
wait $counter
code=$?
[ $code = 9 ] || fail "the counter ended with $code: $(tail -3 "$work/count.err")"
[ "$(cat "$work/count")" = "$(seq 0 $((KILLS * 20 - 1)))" ] || fail "the counter: $(diff <(seq 0 $((KILLS * 20 - 1))) "$work/count" | head -5) $(tail -3 "$work/count.err")"
wait $shell
code=$?
[ $code = 7 ] || fail "the shell on a terminal: status $code: $(tail -3 "$work/tty")"

# ---- nothing stays
left() {
	[ "$(p ps alice -o csv | tail -n +2 | wc -l)" = 0 ]
}
wait_for 20 left || fail "processes stay: $(p ps alice)"
echo "$KILLS deaths, $(cat "$work/moves.done") moves"
