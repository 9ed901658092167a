#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests, layer by layer, and prints one line each. Called by `make test`.
#
#	tests/run.sh [LAYER...]      unit sim guest int emulated fuzz tidy san; all of them without an argument
#	ONLY=pattern tests/run.sh    only tests whose name matches the shell pattern
#	PATIENCE=3 tests/run.sh      time limits three times as long: on a machine that is slow
#
# A test is an executable: exit 0 passed, 77 skipped (its last line says why), anything else failed.
# A skip counts as a failure unless its name stands in tests/skips. Each test has a directory of its own
# as $PANDO_TEST_DIR (names and ports are derived from it), a time limit, and must leave nothing behind.
# Tests of the int layer run two at a time, but for those that say "Runs alone".
set -u
cd "$(dirname "$0")/.." || exit 2
B=${B:-$PWD/build/gcc}
export B BIN=$B/bin
layers=${*:-tidy unit sim guest fuzz int emulated san}
passed=0 failed=0 skipped=0 count=0
declare -a under_way=() # results of those that run beside each other, by process
bad= # the failed ones once more for the last lines, which is all that some readers of a log see
# Abstract enough not to collide with another run on this machine, short enough for a unix socket path.
work=$(mktemp -d /tmp/ptXXXXXX) || exit 2
trap 'rm -rf "$work" "$work"-*' EXIT
trap 'break_off; exit 130' INT TERM HUP

# Tests take down what they have made when they are told to end.
break_off() {
	local pid
	for pid in "${!under_way[@]}"; do pkill -TERM -P "$pid" timeout; done
	wait
}

# What a test in directory $1 left behind: its processes, mounts, namespaces and cgroups carry that name.
leftovers() {
	local pid name
	name=$(basename "$1")
	for pid in /proc/[0-9]*; do
		if tr '\0' '\n' 2>/dev/null <"$pid/environ" | grep -qF "PANDO_TEST_DIR=$1" ||
			tr '\0' ' ' 2>/dev/null <"$pid/cmdline" | grep -qF "$1"; then
			echo "process $(tr '\0' ' ' 2>/dev/null <"$pid/cmdline")"
		fi
	done
	grep -F "$name" /proc/self/mountinfo | awk '{print "mount " $5}'
	ip netns list 2>/dev/null | grep -F "$name" | awk '{print "netns " $1}'
	find /sys/fs/cgroup -type d -name "*$name*" 2>/dev/null | sed 's/^/cgroup /'
}

report() { # name verdict seconds [detail]
	printf '%-46s %-7s %6.2fs %s\n' "$1" "$2" "$3" "${4:-}"
}

# Two at a time: what waits for most of its time lets the other one have the machine.
run_two() { # layer name seconds command...
	local place
	# shellcheck disable=SC2254
	case "$2" in ${ONLY:-*}) ;; *) return ;; esac
	[ ${#under_way[@]} -lt 2 ] || tell_next
	count=$((count + 1))
	# No place's name begins another one's, or one test would find its neighbour's processes left behind.
	place=$1$(printf %03d "$count")
	measure "$work-$place" "$work/$place" "$@" &
	under_way[$!]=$work/$place
}

run_one() { # layer name seconds command...
	tell_all
	run_two "$@"
	tell_all
}

tell_all() {
	while [ ${#under_way[@]} -gt 0 ]; do tell_next; done
}

tell_next() {
	local pid
	wait -n -p pid "${!under_way[@]}"
	tell "${under_way[pid]}"
	unset "under_way[pid]"
}

# Runs one in the directory $1; $2.log is what it prints, $2.line and $2.verdict what became of it.
measure() { # dir result layer name seconds command...
	local dir=$1 result=$2 layer=$3 name=$4 limit=$(($5 * ${PATIENCE:-1})) t0 t1 code verdict=passed detail='' left
	shift 5
	mkdir -p "$dir"
	t0=$(date +%s%N)
	# In the background a shell has ctrl-C ignored, and so would have what tests start and break off.
	PANDO_TEST_DIR=$dir env --default-signal=INT,QUIT timeout -k 10 "$limit" "$@" >"$result.log" 2>&1 </dev/null
	code=$?
	t1=$(date +%s%N)
	left=$(leftovers "$dir")
	if [ $code = 77 ]; then
		detail=$(tail -n 1 "$result.log")
		if grep -qxF "$layer/$name" tests/skips 2>/dev/null; then
			verdict=skipped
		else
			verdict=failed
			detail="skips without standing in tests/skips: $detail"
		fi
	elif [ $code = 124 ] || [ $code = 137 ]; then
		verdict=failed
		detail="took longer than $limit s"
	elif [ $code != 0 ]; then
		verdict=failed
		detail="exit status $code"
	fi
	if [ "$verdict" = passed ] && [ -n "$left" ]; then
		verdict=failed
		detail="left behind: $(echo "$left" | head -5 | tr '\n' ';')"
	fi
	report "$layer/$name" "$verdict" "$(((t1 - t0) / 10000000))e-2" "$detail" >"$result.line"
	echo "$verdict" >"$result.verdict"
	rm -rf "$dir"
}

tell() { # result
	cat "$1.line"
	case $(cat "$1.verdict") in
	passed) passed=$((passed + 1)) ;;
	skipped) skipped=$((skipped + 1)) ;;
	*)
		failed=$((failed + 1))
		bad="$bad$(cat "$1.line")
$({ grep -aB3 -A1 '^FAILED' "$1.log" || tail -n 4 "$1.log"; } | tail -n 5 | cut -c1-200 | sed 's/^/    | /')
"
		sed 's/^/    | /' "$1.log" | tail -n "${TAIL:-60}"
		;;
	esac
}

run_layer() {
	local t
	case $1 in
	tidy) run_one tidy tree 600 ./tests/tidy.sh ;;
	unit) for t in "$B"/unit/*; do [ -x "$t" ] && run_one unit "$(basename "$t")" 60 "$t"; done ;;
	sim) for t in tests/sim/*.sh; do [ -x "$t" ] && run_one sim "$(basename "$t" .sh)" 600 "$t"; done ;;
	guest)
		run_one guest natively 300 ./tests/guest/run.sh native
		run_one guest kernel 300 ./tests/guest/run.sh kernel
		run_one guest one 300 ./tests/guest/run.sh one
		run_one guest on 300 ./tests/guest/run.sh on
		run_one guest three 300 ./tests/guest/run.sh three
		run_one guest moved 600 ./tests/guest/run.sh moved
		;;
	fuzz) for t in "$B"/fuzz/*; do [ -x "$t" ] && run_one fuzz "$(basename "$t")" 120 "$t"; done ;;
	int)
		# What measures how busy the machine is has it for itself.
		for t in tests/int/*.sh; do
			[ -x "$t" ] && grep -q '^# Runs alone' "$t" && run_one int "$(basename "$t" .sh)" 300 "$t"
		done
		for t in tests/int/*.sh; do
			[ -x "$t" ] && ! grep -q '^# Runs alone' "$t" && run_two int "$(basename "$t" .sh)" 300 "$t"
		done
		tell_all
		;;
	emulated)
		for t in tests/emulated/inside/*.sh; do
			[ -x "$t" ] && run_one emulated "$(basename "$t" .sh)" 300 env LIMIT=280 ./tests/emulated/machine.sh "$t"
		done
		;;
	san)
		# The unit tests and fuzzers once more under the address and undefined-behaviour sanitizers.
		if ! make -s -j"$(nproc)" SAN=1 build-tests >"$work/san.log" 2>&1; then
			report san/build failed 0
			tail -20 "$work/san.log"
			failed=$((failed + 1))
			bad="${bad}san/build: $(tail -n 1 "$work/san.log")
"
			return
		fi
		for t in build/gcc-san/unit/* build/gcc-san/fuzz/*; do
			[ -x "$t" ] && [ -f "$t" ] && run_one san "$(basename "$t")" 240 "$t"
		done
		;;
	*)
		echo "run.sh: no layer '$1'; try: tests/run.sh unit sim guest int emulated fuzz tidy san" >&2
		exit 2
		;;
	esac
}

for layer in $layers; do
	run_layer "$layer"
done
printf '\n%s' "$bad"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $((passed + skipped)) -gt 0 ]
