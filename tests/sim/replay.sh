#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same seed gives the same history, bit for bit, with gcc and clang, with and without optimisation.
set -eu
cd "$(dirname "$0")/../.."
. tests/sim/lib.sh
want=
for cc in gcc clang; do
	for o in -O0 -O2; do
		small_sim "$PANDO_TEST_DIR/sim" $cc $o
		hash=$("$PANDO_TEST_DIR/sim" --seeds 1-6 | sed 's/.*hash //')
		echo "$cc $o $hash"
		[ -n "$hash" ] && [ "${want:=$hash}" = "$hash" ] || exit 1
	done
done
[ "$("$PANDO_TEST_DIR/sim" --seeds 2-7 | sed 's/.*hash //')" != "$want" ] || { echo "other seeds, same history"; exit 1; }
