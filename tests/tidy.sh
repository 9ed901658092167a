#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The checks that keep the house in order. Each prints what is wrong and why it is a rule; exit 1 if anything is.
#
#	layers   who may include whom (docs: ARCHITECTURE.md, "Rooms")
#	cores    a */core/ folder names no OS header and no malloc, time, rand, printf
#	format   clang-format leaves every file as it is
#	warnings gcc and clang build the tree without one
#	symbols  daemons and simulator link the same object of every core
#	lint     clang-tidy on what changed since the last commit on main, or everything with FULL=1
set -u
cd "$(dirname "$0")/.." || exit 2
bad=0

say() {
	echo "tidy: $*"
	bad=1
}

files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

# floor of a file: a number, higher floors may include lower ones and their own
floor() {
	case $1 in
	base/*) echo 0 ;;
	kernel/tenant/init.h) echo 1 ;; # a contract of structs and numbers: the slots are in it
	*/core/* | kernel/sched/*) echo 1 ;;
	rpc/* | naming/* | dsm/* | quota/* | migrate/* | cmd/ctl/* | kernel/host/* | kernel/stub/*) echo 2 ;;
	kernel/* | cmd/tenant/*) echo 3 ;;
	cmd/pando/*) echo 5 ;;
	cmd/* | sim/*) echo 4 ;;
	*) echo 5 ;;
	esac
}

layers() {
	local f inc a b
	while IFS=: read -r f inc; do
		[ -e "$inc" ] || continue
		a=$(floor "$f") b=$(floor "$inc")
		[ "$b" -le "$a" ] || say "$f (floor $a) includes $inc (floor $b): a lower floor must not know a higher one"
		# Cores of different rooms do not know each other.
		if [ "$a" = 1 ] && [ "$b" = 1 ] && [ "$(dirname "$f")" != "$(dirname "$inc")" ]; then
			say "$f includes $inc: a core stands alone"
		fi
	done < <(files '*.c' '*.h' | grep -v '^tests/' | xargs grep -HoE '^#include "[^"]+"' | sed -E 's/#include "([^"]+)"/\1/')
}

# one header, one folder: `header-pattern folder`
fences='
raft\.h naming/raft
rdma/ rpc/fabric
linux/seccomp\.h (kernel|cmd/tenant|cmd/gate)
linux/userfaultfd\.h (dsm/uffd|migrate/image|cmd/pando-init)
linux/fuse\.h kernel/procfs
libaudit\.h nowhere
'
fence() {
	local pat dir hit
	while read -r pat dir; do
		[ -n "$pat" ] || continue
		hit=$(files '*.c' '*.h' | grep -v '^tests/' | grep -vE "^$dir" | xargs -r grep -lE "^#include <$pat" 2>/dev/null | head -3)
		[ -z "$hit" ] || say "$hit: only $dir/ may include $pat"
	done <<<"$fences"
}

cores() {
	local f hit
	for f in $(files '*/core/*.c' '*/core/*.h' 'kernel/sched/*.c' 'kernel/sched/*.h'); do
		hit=$(grep -nE '^#include <(sys/|linux/|unistd|stdio|stdlib|time|pthread|fcntl|signal|poll|netinet|arpa)' "$f" | head -2)
		[ -z "$hit" ] || say "$f: a core names no OS header: $hit"
		hit=$(sed 's@/\*.*\*/@@' "$f" | grep -nE '(^|[^_a-zA-Z.>])(malloc|calloc|realloc|free|time|rand|random|printf|fprintf|clock_gettime|log_(info|warn|error|debug))\(' | head -2)
		[ -z "$hit" ] || say "$f: a core allocates nothing, prints nothing, reads no clock: $hit"
	done
}

format() {
	local out
	out=$(files '*.c' '*.h' | xargs clang-format --dry-run --Werror 2>&1 | grep -E 'error:' | head -10)
	[ -z "$out" ] || say "not formatted; try: make fmt"$'\n'"$out"
}

warnings() {
	local cc log
	log=$(mktemp)
	for cc in gcc clang; do
		if ! make -s -j"$(nproc)" CC=$cc all build-tests >"$log" 2>&1; then
			say "$cc does not build the tree without warnings:"
			grep -E 'error|warning' "$log" | head -10
		fi
	done
	rm -f "$log"
}

budgets() {
	local n
	n=$(files 'kernel/*.c' 'kernel/*.h' | xargs -r cat | wc -l)
	[ "$n" -le 10000 ] || say "kernel/ has $n lines; the trusted core stays under 10,000"
	n=$(files 'cmd/pando-init/*.c' 'cmd/pando-init/*.h' | xargs -r cat | wc -l)
	[ "$n" -lt 800 ] || say "cmd/pando-init/ has $n lines; it stays under 800"
	if [ -x build/gcc/bin/pando-init ]; then
		ldd build/gcc/bin/pando-init 2>/dev/null | grep -vE 'libc\.so|linux-vdso|ld-linux|statically|not a dynamic' | grep -q . &&
			say "pando-init links more than libc"
	fi
	files '*.c' '*.h' '*.sh' Makefile | while read -r f; do
		head -3 "$f" | grep -q SPDX || echo "$f"
	done | grep . && say "files without an SPDX line"
}

# What is no state machine of a cluster, and so not simulated, or what no daemon runs yet. Each is checked: an exception
# that is none any more is refused.
not_simulated='cmd/ctl/core/ quota/core/meter.o quota/core/weight.o'
no_daemon='dsm/core/'

names_of() { nm -g --defined-only "$@" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u; }

# Objects of rooms and programs, but those of sources that are gone.
built() {
	files '*.c' | grep -v '^tests/' | sed 's/c$/o/' | while read -r o; do [ ! -f "build/gcc/$o" ] || echo "$o"; done
}

excepted() { # excepted OBJECT LIST
	local e
	for e in $2; do
		case $1 in "$e"*) return 0 ;; esac
	done
	return 1
}

# Every object of every core is in a daemon and in the simulator, and it is the same object: all are linked from one
# archive, and its names are defined nowhere else. Who has left a core out, or has a model of it, is told.
symbols() {
	local b=build/gcc here o hit
	[ -f $b/libsim.a ] && [ -f $b/libpando.a ] && [ -x $b/bin/pandod ] || return 0
	here=$(mktemp -d)
	# What the simulator takes out of the archive.
	ld -r -o "$here/sim.o" --whole-archive $b/libsim.a --no-whole-archive $b/libpando.a
	names_of "$here/sim.o" >"$here/sim"
	names_of $b/bin/pandod $b/bin/pando-kernel $b/bin/pando-init >"$here/daemons"
	built | sed "s@^@$b/@" | xargs nm -g --defined-only | awk 'NF == 3 { print $3 }' | sort >"$here/all"
	for o in $(built | grep -E '/core/|^kernel/sched/|^naming/raft/'); do
		names_of "$b/$o" >"$here/names"
		[ -s "$here/names" ] || continue
		hit=$(comm -12 "$here/names" <(uniq -d "$here/all") | head -3)
		[ -z "$hit" ] || say "$hit of $o is defined twice: daemons and simulator must run one object"
		linked "$here" sim "$o" "$not_simulated" "the simulator must run it, not a model of it"
		linked "$here" daemons "$o" "$no_daemon" "a daemon must run what is simulated"
	done
	rm -rf "$here"
}

linked() { # linked DIR WHO OBJECT EXCEPTIONS WHY
	local has
	has=$(comm -12 "$1/names" "$1/$2" | head -1)
	if excepted "$3" "$4"; then
		[ -z "$has" ] || say "$3 is excepted in tests/tidy.sh and need not be"
	elif [ -z "$has" ]; then
		say "$3 is not linked: $5"
	fi
}

lint() {
	local list base
	base=$(git rev-parse --verify -q HEAD~1 || true)
	if [ -n "${FULL:-}" ] || [ -z "$base" ]; then
		list=$(files '*.c' | grep -vE '^(tests|kernel/stub)/')
	else
		list=$( (git diff --name-only --diff-filter=d "$base" -- '*.c'; files '*.c' | xargs -r git ls-files --others --) | sort -u | grep -vE '^(tests|kernel/stub)/')
	fi
	[ -n "$list" ] || return 0
	echo "$list" | xargs -P "$(nproc)" -n 1 sh -c 'clang-tidy --quiet "$@" -- -std=gnu11 -D_GNU_SOURCE -I. -Ibuild/gcc/gen' _ 2>/dev/null |
		grep -E 'warning:|error:' | sort -u | head -20 >"${TMPDIR:-/tmp}/pando-tidy.$$"
	[ ! -s "${TMPDIR:-/tmp}/pando-tidy.$$" ] || { say "clang-tidy:"; cat "${TMPDIR:-/tmp}/pando-tidy.$$"; }
	rm -f "${TMPDIR:-/tmp}/pando-tidy.$$"
}

# PASSES="layers cores" runs only those.
for pass in ${PASSES:-layers fence cores format budgets warnings symbols lint}; do
	$pass
done
[ $bad = 0 ] && echo "tidy: the house is in order"
exit $bad
