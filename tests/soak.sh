#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs what finds rare faults, again and again, for a given time. Called by `make soak SECONDS=n SEED=n`.
#
#	tests/soak.sh [SECONDS [SEED]]      600 and the clock's without arguments
#
# Storms (tests/soak/storm.py: a real cluster whose daemons die and stop, links are cut, disks are full), one where a node
# has 5 % of a CPU for a minute, pids that come back within seconds, simulated seeds, then the tests that kill daemons at their
# fault points, in the long way, and what rests on quotas and deaths on Debian's stock kernel (tests/emulated). A line for each; storms tell each fault. Of what fails it says how to repeat it and where its
# output is, and goes on; then the exit status is 1.
set -u
cd "$(dirname "$0")/.." || exit 2
total=${1:-600}
seed=${2:-$(date +%s)}
case $total$seed in *[!0-9]*)
	echo "soak: '$total' and '$seed' are not numbers; try: make soak SECONDS=600 SEED=1" >&2
	exit 2
	;;
esac
B=${B:-$PWD/build/gcc}
export B BIN=$B/bin
start=$(date +%s)
first=$seed
count=0
failed= # the commands that repeat it
# Guests of the tests below execute what lies in it, with ids that are no user's of this host.
logs=$(mktemp -d /tmp/pando-soak-XXXXXX) && chmod 755 "$logs" || exit 2
child=
trap '[ -z "$child" ] || { kill "$child"; wait "$child"; }; rm -rf "$logs"; exit 130' INT TERM

left() { echo $((total - ($(date +%s) - start))); }
is_over() { [ "$(left)" -le 0 ]; }

at_most() { # SECONDS: or a third of the time that was asked for, if that is less
	echo $((total / 3 > 10 ? ($1 < total / 3 ? $1 : total / 3) : 10))
}

# In the background, so that a signal ends it at once, and its cluster with it.
run() { # name repeat command...
	local name=$1 repeat=$2 t0 code
	shift 2
	! is_over || return 0
	t0=$(date +%s)
	count=$((count + 1))
	if [[ $1 = *storm.py ]]; then
		"$@" > >(tee "$logs/$count.log") 2>&1 &
	else
		"$@" >"$logs/$count.log" 2>&1 &
	fi
	child=$!
	wait "$child"
	code=$?
	child=
	if [ $code != 0 ]; then
		[[ $1 = *storm.py ]] || tail -n 60 "$logs/$count.log"
		echo "soak: $name failed with status $code after $(($(date +%s) - start)) s; its output: $logs/$count.log"
		echo "try: $repeat"
		failed="$failed    $name: $repeat
"
		return
	fi
	printf 'soak: %6d s  %-36s passed in %d s\n' $(($(date +%s) - start)) "$name" $(($(date +%s) - t0))
	rm -f "$logs/$count.log"
}

repeated() { # name command...: said to be repeated as it is run
	run "$1" "B=$B BIN=$BIN ${*:2}" "${@:2}"
}

storm() {
	repeated "storm, seed $seed" tests/soak/storm.py --seed "$seed" --seconds "$(at_most 45)"
	seed=$((seed + 1))
}

starved() {
	repeated "starved node, seed $seed" tests/soak/storm.py --seed "$seed" --seconds "$(at_most 62)" --starve n$((seed % 3 + 1))
	seed=$((seed + 1))
}

pids() {
	repeated "pids that come back, seed $seed" tests/soak/pids.py --seed "$seed" --seconds "$(at_most 45)"
	seed=$((seed + 1))
}

simulated() {
	local seeds=$seed-$((seed + 50 * $(nproc) - 1))
	seed=$((seed + 50 * $(nproc)))
	repeated "simulated seeds $seeds" "$BIN/pando" sim --seeds "$seeds"
}

int_test() { # name
	repeated "int/$1" env PANDO_SEED=$seed ONLY="$1" tests/run.sh int
}

# Another kernel, and control groups of version 2.
on_stock_kernel() {
	local t
	KERNEL=linux-image-amd64 MADE=$PWD/build/emulated-full tests/emulated/get.sh
	[ ! -d build/emulated-full/kernel ] ||
		repeated "rpc over verbs" env MADE="$PWD/build/emulated-full" MORE=ibverbs-providers LIMIT=300 tests/emulated/machine.sh tests/emulated/verbs.sh
	! tests/emulated/machine.sh true >/dev/null || for t in quota pressure crash guest_kernel gate; do
		repeated "int/$t on Debian's stock kernel" env LIMIT=900 tests/emulated/machine.sh env PATIENCE=3 ONLY=$t tests/run.sh int
	done
}

while ! is_over; do
	storm
	starved
	storm
	simulated
	pids
	storm
	for t in relay_test dsm_core_test member_test migrate_core_test naming_raft_test; do
		repeated "unit/$t" "$B/unit/$t"
	done
	# Longer than a test of the suite may take: some thousand kills.
	dir=$logs/gate$count
	mkdir -p "$dir"
	repeated "int/gate, the long way" env PANDO_TEST_DIR="$dir" KILLS="${GATE_KILLS:-200}" tests/int/gate.sh
	for t in tests/int/*.sh; do
		int_test "$(basename "$t" .sh)"
	done
	on_stock_kernel
done
if [ -n "$failed" ]; then
	printf 'soak: of %d runs in %d s, from seed %d on, these failed; their output is in %s\n%s' \
		$count $(($(date +%s) - start)) "$first" "$logs" "$failed"
	exit 1
fi
rm -rf "$logs"
echo "soak: nothing found in $count runs, $(($(date +%s) - start)) s, from seed $first on"
