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
(ulimit -v $((4 * 1024 * 1024)); timeout 360 "$BIN"/pando sim --nodes 10000 --hours 1 --workload "$PANDO_TEST_DIR/load" --json) \
	>"$PANDO_TEST_DIR/out"
"$BIN"/pando sim --nodes 50 --workload timeshare --compare here-first,local --plot "$PANDO_TEST_DIR/plot.html" --json >"$PANDO_TEST_DIR/two"
"$BIN"/pando sim --nodes 50 --workload timeshare --compare here-first,local --json >"$PANDO_TEST_DIR/again"
cmp "$PANDO_TEST_DIR/two" "$PANDO_TEST_DIR/again"
grep -q '<svg' "$PANDO_TEST_DIR/plot.html"
python3 - "$PANDO_TEST_DIR" <<'PY'
import json, sys
run = json.load(open(sys.argv[1] + "/out"))["runs"][0]
assert run["programs at once"] >= 100000, run
assert run["moves"] >= 1000, run
assert 50 <= run["nodes died"] <= 100, run
assert run["programs ended"] + run["programs died with them"] <= run["programs arrived"], run
a, b = json.load(open(sys.argv[1] + "/two"))["runs"]
assert a["programs arrived"] == b["programs arrived"], "not the same arrivals"
assert b["placed elsewhere, % (1/1000)"] == 0 and a["placed elsewhere, % (1/1000)"] > 0, (a, b)
assert a["slowdown, 99 % below (1/1000)"] <= b["slowdown, 99 % below (1/1000)"], (a, b)
PY
printf 'class x 5/h life sometimes 3s\n' >"$PANDO_TEST_DIR/bad"
"$BIN"/pando sim --workload "$PANDO_TEST_DIR/bad" 2>"$PANDO_TEST_DIR/err" && exit 1
grep -q 'line 1' "$PANDO_TEST_DIR/err"
