#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs every bench and prints its rows as one table. Called by `make bench`; ONLY=pattern for some.
#
# A bench is an executable that prints lines `row NAME UNIT OURS REFERENCE RATIO BUDGET ok|over`
# (tests/bench/bench.h); ours and the reference are measured in the same run. Other lines are notes.
# A budget that is missed is shown, not an error: what a busy machine measures is no test. A bench
# that fails is.
set -u
cd "$(dirname "$0")/.." || exit 2
B=${B:-$PWD/build/gcc}
export B BIN=$B/bin
failed=0
work=$(mktemp -d /tmp/pbXXXXXX) || exit 2
trap 'rm -rf "$work"' EXIT

printf '%-44s %-8s %12s %12s %7s %8s\n' path unit ours reference ratio budget
for t in "$B"/bench/* tests/bench/*.sh; do
	[ -x "$t" ] && [ -f "$t" ] || continue
	name=$(basename "$t" .sh)
	# shellcheck disable=SC2254
	case "$name" in *.o | *.d) continue ;; ${ONLY:-*}) ;; *) continue ;; esac
	mkdir "$work/$name"
	PANDO_TEST_DIR=$work/$name timeout -k 10 300 "$t" >"$work/$name.log" 2>&1 </dev/null
	code=$?
	awk '$1 == "row" { printf "%-44s %-8s %12s %12s %7s %8s %s\n", $2, $3, $4, $5, $6, $7, $8; next }
		{ print "    " $0 }' "$work/$name.log"
	if [ $code != 0 ]; then
		echo "    $name failed with exit status $code"
		failed=1
	fi
done
exit $failed
