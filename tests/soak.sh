#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs what finds rare faults, again and again, for a given time. Called by `make soak SECONDS=n`.
#
#	tests/soak.sh [SECONDS]      600 without an argument
#
# Storms (tests/soak/storm.py: a real cluster whose daemons die and stop, links are cut, disks are full), simulated seeds never
# used before (from the clock; printed, so that a failure can be replayed), then the tests that kill daemons at their fault
# points. Stops at the first failure and says how to repeat it.
set -u
cd "$(dirname "$0")/.." || exit 2
total=${1:-600}
case $total in '' | *[!0-9]*)
	echo "soak: '$total' is not a number of seconds; try: make soak SECONDS=600" >&2
	exit 2
	;;
esac
B=${B:-$PWD/build/gcc}
export B BIN=$B/bin
start=$(date +%s)
seed=$start
rounds=0

left() { echo $((total - ($(date +%s) - start))); }

fail() {
	echo "soak: failed after $(($(date +%s) - start)) s: $1"
	echo "try: $2"
	exit 1
}

while [ "$(left)" -gt 0 ]; do
	rounds=$((rounds + 1))
	for _ in 1 2 3; do
		./tests/soak/storm.py --seed "$seed" >/tmp/pando-soak.$$ 2>&1 || {
			cat /tmp/pando-soak.$$
			fail "a storm" "B=$B BIN=$BIN tests/soak/storm.py --seed $seed"
		}
		seed=$((seed + 1))
		[ "$(left)" -gt 0 ] || break 2
	done
	if [ -x "$BIN/pando" ] && "$BIN/pando" sim --help >/dev/null 2>&1; then
		seeds=$seed-$((seed + 50 * $(nproc) - 1))
		seed=$((seed + 50 * $(nproc)))
		"$BIN/pando" sim --seeds "$seeds" >/tmp/pando-soak.$$ 2>&1 || {
			cat /tmp/pando-soak.$$
			fail "a simulated seed" "$BIN/pando sim --seeds $seeds"
		}
	fi
	for t in relay_test dsm_core_test member_test migrate_core_test naming_raft_test; do
		[ -x "$B/unit/$t" ] || continue
		"$B/unit/$t" >/dev/null 2>&1 || fail "$t" "$B/unit/$t"
		[ "$(left)" -gt 0 ] || break 2
	done
	KILLS=20 MB=100 OBJECTS=24 PANDO_SEED=$seed ONLY=deaths ./tests/run.sh int >/tmp/pando-soak.$$ 2>&1 || {
		cat /tmp/pando-soak.$$
		fail "int/deaths, the long way" "KILLS=20 MB=100 OBJECTS=24 PANDO_SEED=$seed ONLY=deaths B=$B tests/run.sh int"
	}
	[ "$(left)" -gt 0 ] || break
	# Longer than a test of the suite may take: some thousand kills.
	dir=$(mktemp -d /tmp/pando-soak-gate-XXXXXX)
	PANDO_TEST_DIR=$dir KILLS=${GATE_KILLS:-200} tests/int/gate.sh >/tmp/pando-soak.$$ 2>&1 || {
		tail -n 40 /tmp/pando-soak.$$
		fail "int/gate, 200 kills at each step" "KILLS=200 PANDO_TEST_DIR=$dir B=$B tests/int/gate.sh"
	}
	rm -rf "$dir"
	[ "$(left)" -gt 0 ] || break
	for t in tests/int/*.sh; do
		[ -x "$t" ] || continue
		name=$(basename "$t" .sh)
		ONLY=$name ./tests/run.sh int >/tmp/pando-soak.$$ 2>&1 || {
			cat /tmp/pando-soak.$$
			fail "int/$name" "ONLY=$name B=$B tests/run.sh int"
		}
		[ "$(left)" -gt 0 ] || break 2
	done
done
rm -f /tmp/pando-soak.$$
echo "soak: $rounds rounds in $(($(date +%s) - start)) s, seeds up to $seed, nothing found"
