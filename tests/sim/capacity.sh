#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 10,000 nodes for an hour: ten times faster than real time, under 4 GiB, with deaths and over 1,000 moves.
set -eu
cd "$(dirname "$0")/../.."
cat >"$PANDO_TEST_DIR/load" <<'LOAD'
node 4000 16G
class long 30/h life exp 20m cpu 900 mem 100M
class burst 6/h burst 10 life exp 30s cpu 1000 mem 100M
LOAD
# Of processor time: what else the machine does is not the simulator's fault.
TIMEFORMAT=%U
took=$({ time (ulimit -v $((4 * 1024 * 1024)); "$BIN"/pando sim --nodes 10000 --hours 1 --workload "$PANDO_TEST_DIR/load" --json) \
	>"$PANDO_TEST_DIR/out"; } 2>&1)
[ "${took%.*}" -lt 360 ] || { echo "an hour of 10,000 nodes took $took s"; exit 1; }
"$BIN"/pando sim --nodes 50 --workload timeshare --compare here-first,local --plot "$PANDO_TEST_DIR/plot.html" --json >"$PANDO_TEST_DIR/two"
"$BIN"/pando sim --nodes 50 --workload timeshare --compare here-first,local --json >"$PANDO_TEST_DIR/again"
cmp "$PANDO_TEST_DIR/two" "$PANDO_TEST_DIR/again"
# What is shown of a shipped workload is that workload.
"$BIN"/pando sim --show timeshare >"$PANDO_TEST_DIR/shown"
hash_of() { "$BIN"/pando sim --nodes 20 --workload "$1" | grep '^hash'; }
[ "$(hash_of timeshare)" = "$(hash_of "$PANDO_TEST_DIR/shown")" ]
"$BIN"/pando sim --show nothing 2>"$PANDO_TEST_DIR/err" && exit 1
grep -q '; try: pando sim --show timeshare' "$PANDO_TEST_DIR/err"
python3 - "$PANDO_TEST_DIR" <<'PY'
import json, re, sys, xml.dom.minidom
run = json.load(open(sys.argv[1] + "/out"))["runs"][0]
assert run["programs at once"] >= 100000, run
assert run["moves"] >= 1000, run
assert 50 <= run["nodes died"] <= 100, run
assert run["programs ended"] + run["programs died with them"] <= run["programs arrived"], run
a, b = json.load(open(sys.argv[1] + "/two"))["runs"]
assert a["programs arrived"] == b["programs arrived"], "not the same arrivals"
assert b["placed elsewhere, % (1/1000)"] == 0 and a["placed elsewhere, % (1/1000)"] > 0, (a, b)
charts = re.findall(r"<svg.*?</svg>", open(sys.argv[1] + "/plot.html").read(), re.S)
assert len(charts) == 5, charts
for c in charts:
    lines = xml.dom.minidom.parseString(c).getElementsByTagName("polyline")
    assert len(lines) == 2, c
    for l in lines:
        points = [p.split(",") for p in l.getAttribute("points").split()]
        assert len(points) == 60 and all(70 <= int(x) <= 930 and 30 <= int(y) <= 250 for x, y in points), points
assert a["slowdown, 99 % below (1/1000)"] <= b["slowdown, 99 % below (1/1000)"], (a, b)
PY
printf 'class x 5/h life sometimes 3s\n' >"$PANDO_TEST_DIR/bad"
"$BIN"/pando sim --workload "$PANDO_TEST_DIR/bad" 2>"$PANDO_TEST_DIR/err" && exit 1
grep -q 'line 1' "$PANDO_TEST_DIR/err"
