#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every deliberately broken variant of the cores that move, that keep kin, that share memory, of channels is caught within 200 seeds, and replays from its seed.
set -eu
cd "$(dirname "$0")/../.."
. tests/sim/lib.sh
sim=$PANDO_TEST_DIR/sim
small_sim "$sim" gcc -O2 -DPANDO_MUTANTS
names=$("$sim" --breaks | grep -E '^(migrate|kin|dsm|rpc)\.' | sort -u)
[ "$(echo "$names" | wc -l)" -ge 45 ] || { echo "too few broken variants: $names"; exit 1; }
for name in $names; do
	out=$("$sim" --seeds 1-200 --break "$name" 2>/dev/null) && { echo "$name: not caught"; exit 1; }
	seed=$(echo "$out" | sed -n 's/^seed \([0-9]*\): VIOLATED.*/\1/p' | head -1)
	echo "$name: $(echo "$out" | head -1)"
	again=$("$sim" --seed "$seed" --break "$name" 2>/dev/null | grep VIOLATED) || { echo "$name: seed $seed does not replay"; exit 1; }
	[ "${again#VIOLATED }" != "$again" ]
done
# Not in an ordinary build: there is nothing to switch on.
if "$BIN"/pando sim --seed 1 --break kin.drop.line 2>/dev/null; then echo "a broken variant is in the ordinary build"; exit 1; fi
