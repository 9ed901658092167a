#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pipes between nodes: records of several writers stay whole; at full speed, when more than one pipe holds is on its way, no
# byte is lost or doubled while the writer moves and guest kernels die.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
for n in n1 n2 n3; do as_on $n alice true || fail "login on $n"; done

as alice sh -c 'cat >records.py' <<'PY'
import os, sys

RECORD = 3000
if len(sys.argv) > 2:
    for i in range(int(sys.argv[2])):
        os.write(1, sys.argv[1].encode() * RECORD)
    sys.exit()
seen = {}
while True:
    record = b""
    while len(record) < RECORD and (more := os.read(0, min(RECORD - len(record), int(sys.argv[1])))):
        record += more
    if not record:
        break
    if record != record[:1] * RECORD:
        sys.exit(f"torn after {seen}")
    seen[record[:1]] = seen.get(record[:1], 0) + 1
print(*sorted(seen.values()))
PY
for bytes in 700 65536; do
	got=$(as_on n1 alice sh -c "(python3 records.py a 2000 & on n2 python3 records.py b 2000 & on n3 python3 records.py c 2000 & wait) |
		python3 records.py $bytes") || fail "records, read by $bytes bytes"
	[ "$got" = "2000 2000 2000" ] || fail "of the records came: $got"
done

# Numbers, in pieces that fill pipes; the reader says where they break.
as alice sh -c 'cat >numbers.py' <<'PY'
import array, os, sys, time

STEP = 8192
if sys.argv[1] == "write":
    open("writer", "w").write(str(os.getpid()))
    last = 0
    while not os.path.exists("stop"):
        piece = memoryview(array.array("Q", range(last, last + STEP)).tobytes())
        while piece:
            piece = piece[os.write(1, piece):]
        last += STEP
    open("written", "w").write(str(last))
    sys.exit()
last, left = 0, b""
while piece := os.read(0, 65536):
    piece = left + piece
    whole = len(piece) // 8 * 8
    left = piece[whole:]
    got = array.array("Q", piece[:whole])
    if got != array.array("Q", range(last, last + len(got))):
        sys.exit(f"broken behind number {last}")
    last += len(got)
    open("read.new", "w").write(str(last))
    os.replace("read.new", "read")
print(last)
PY
as_on n1 alice sh -c 'on n2 python3 numbers.py write | python3 numbers.py read' >"$PANDO_TEST_DIR/numbers" 2>&1 &
reader=$!
flows() { # some MB more arrive
	local from
	from=$(cat "$CLUSTER_DIR/vol/alice/home/read" 2>/dev/null || echo 0)
	wait_for 60 sh -c "[ \"\$(cat '$CLUSTER_DIR/vol/alice/home/read' 2>/dev/null || echo 0)\" -gt $((${from:-0} + 600000)) ]" ||
		fail "nothing flows: $(cat "$PANDO_TEST_DIR/numbers")"
}
flows
pid=$(cat "$CLUSTER_DIR/vol/alice/home/writer")
for to in n3 n2; do
	p migrate "$pid" $to >/dev/null || fail "the writer does not move to $to"
	flows
	kill -9 "$(kernel_pid n1 alice)"
	flows
	kill -9 "$(kernel_pid $to alice)"
	flows
done
# A kernel that is just not there is waited for.
kill -9 "$(kernel_pid n2 alice)"
p migrate "$pid" n1 >/dev/null || fail "the writer does not come home"
flows
as alice touch stop
wait $reader || fail "the reader: $(cat "$PANDO_TEST_DIR/numbers")"
[ "$(cat "$PANDO_TEST_DIR/numbers")" = "$(as alice cat written)" ] ||
	fail "written $(as alice cat written), read $(cat "$PANDO_TEST_DIR/numbers")"
