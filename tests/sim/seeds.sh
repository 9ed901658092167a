#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 200 seeds break no invariant and drive the cores through nearly everything they accept. How long that takes
# (a minute of one processor at most) is a row of `make bench`.
set -eu
cd "$(dirname "$0")/../.."
out=$PANDO_TEST_DIR/out
"$BIN"/pando sim --seeds 1-200 --coverage >"$out" 2>&1 || { cat "$out"; exit 1; }
cat "$out"
# However many processes share them, seeds are seeds.
[ "$("$BIN"/pando sim --seeds 1-8 --jobs 1 | sed 's/.*hash//')" = "$("$BIN"/pando sim --seeds 1-8 --jobs 3 | sed 's/.*hash//')" ] ||
	{ echo "the hash depends on the number of processes"; exit 1; }
percent=$(sed -n 's/.*pairs .*(\([0-9]*\) %).*/\1/p' "$out")
[ "$percent" -ge 95 ] || { echo "coverage of pairs is $percent %"; exit 1; }
grep -q 'deaths  13 of 13' "$out" || { echo "the guest kernel did not die in every state of a move"; exit 1; }
grep -q 'deaths  4 of 4 roles' "$out" || { echo "pandod did not die in every role"; exit 1; }
grep -q 'deaths  11 of 11' "$out" || { echo "the guest kernel did not die at every point of a grant"; exit 1; }
"$BIN"/pando sim --seed 7 --json --trace "$PANDO_TEST_DIR/trace.json" >"$out"
python3 - "$PANDO_TEST_DIR/trace.json" "$out" <<'PY'
import json, sys
trace, report = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
# What Perfetto's importer of Chrome's JSON takes without an error: known phases, named tracks, spans that match.
named, spans, last = set(), {}, 0.0
for e in trace:
    assert e["ph"] in "Mbei" and isinstance(e["pid"], int) and isinstance(e["tid"], int), e
    if e["ph"] == "M":
        named.add(e["pid"])
        continue
    assert e["pid"] in named and e["name"] and e["ts"] >= last, e
    last = e["ts"]
    if e["ph"] == "i":
        assert e["s"] == "p", e
        continue
    key = (e["cat"], e["id"], e["pid"], e["name"])
    spans[key] = spans.get(key, 0) + (1 if e["ph"] == "b" else -1)
    assert spans[key] in (0, 1), e
assert not any(spans.values()), "spans that do not end"
assert len(trace) > 1000 and {k[3] for k in spans} >= {"move", "frozen", "cut", "stall"}, "no timeline"
assert report["events"] >= 10000 and report["violated"] == "", report
PY
