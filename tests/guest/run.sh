#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs every guest program and compares what it prints, byte by byte, with what it prints natively.
#
#	tests/guest/run.sh native         twice on the bare host, as an ordinary user: exit 0, same bytes
#	tests/guest/run.sh kernel         in a tenant's world under pando-init and pando-kernel, without pandod
#	tests/guest/run.sh one            by `pando login` on a cluster of one node
#	tests/guest/run.sh on             by `on n2` out of a session on n1
#	tests/guest/run.sh three          the same on three nodes, where placement may spread them
#	tests/guest/run.sh moved          the same, held twice and moved to another node each time (guest.h)
#	ONLY_GUEST='pipe_*' tests/guest/run.sh kernel
#
# Programs that do not run in a mode stand with a reason in tests/guest/expect. Called by tests/run.sh.
set -u
cd "$(dirname "$0")/../.." || exit 2
mode=${1:-native}
B=${B:-$PWD/build/gcc}
export B BIN=${BIN:-$B/bin}
if [ -z "${PANDO_TEST_DIR:-}" ]; then
	PANDO_TEST_DIR=$(mktemp -d /tmp/ptXXXXXX) || exit 2
	export PANDO_TEST_DIR
	trap 'rm -rf "$PANDO_TEST_DIR"' EXIT
fi
dir=$PANDO_TEST_DIR
limit=60
failed=0 left_out=0 ran=0

programs() { # those of this mode, on one line each
	local p name
	for p in "$B"/guest/*; do
		name=$(basename "$p")
		[ -x "$p" ] && [ -f "$p" ] && [[ $name != *.* ]] || continue
		[ -f "tests/guest/$name.c" ] || continue
		# shellcheck disable=SC2254
		case $name in ${ONLY_GUEST:-*}) ;; *) continue ;; esac
		grep -qE "^(\*|$mode) $name " tests/guest/expect || echo "$name"
	done
}

count_left_out() {
	left_out=$(grep -cE "^(\*|$mode) " tests/guest/expect)
}

# An ordinary user without rights on a bare host: what a program's output is measured by.
native() { # out-directory
	local name out=$1 home=$dir/native-home
	mkdir -p "$out" "$home/bin"
	install -m 755 "$B"/guest/* "$home/bin/" 2>/dev/null
	chown -R 1000:1000 "$home"
	chmod 755 "$dir" "$home"
	for name in $(programs); do
		(
			cd "$home" || exit 1
			exec timeout -k 5 $limit setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all \
				env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$home" TERM=dumb PANDO_TEST_DIR="$dir" \
				setsid -w "$home/bin/$name" </dev/null >>"$out/$name.out" 2>&1
		)
		echo "exit $?" >"$out/$name.status"
	done
	find "$home" -mindepth 1 -maxdepth 1 ! -name bin | grep . && { echo "left behind in $home"; failed=$((failed + 1)); }
	rm -rf "$home"
}

# The played pandod of tests/int/guest_pod.c.
kernel() { # out-directory
	mkdir -p "$1" "$dir/home/bin"
	install -m 755 "$B"/guest/* "$dir/home/bin/" 2>/dev/null
	# shellcheck disable=SC2046
	"$B/int/guest_pod" "$1" $(programs) 2>"$dir/kernel.log" || { cat "$dir/kernel.log"; failed=$((failed + 1)); }
}

# Compares two runs: status 0 and the same bytes.
compare() { # want got
	local name
	for name in $(programs); do
		ran=$((ran + 1))
		if [ "$(cat "$2/$name.status" 2>/dev/null)" != "exit 0" ]; then
			echo "$name: $(cat "$2/$name.status" 2>/dev/null || echo 'no status')"
			tail -n 5 "$2/$name.out" | sed 's/^/    /'
			failed=$((failed + 1))
		elif ! cmp -s "$1/$name.out" "$2/$name.out"; then
			echo "$name: not the same bytes"
			diff "$1/$name.out" "$2/$name.out" | head -n 8 | sed 's/^/    /'
			failed=$((failed + 1))
		fi
	done
}

native "$dir/native"
case $mode in
native)
	compare "$dir/native" "$dir/native"
	mv "$dir/native" "$dir/first"
	native "$dir/native"
	ran=0
	compare "$dir/first" "$dir/native"
	;;
kernel)
	kernel "$dir/got"
	compare "$dir/native" "$dir/got"
	;;
one | on | three | moved)
	. tests/lib/cluster.sh
	. tests/guest/login.sh
	login_all "$mode" "$dir/got"
	compare "$dir/native" "$dir/got"
	;;
*)
	echo "run.sh: no mode '$mode'; try: tests/guest/run.sh native" >&2
	exit 2
	;;
esac
count_left_out
echo "$mode: $ran programs, $failed failed, $left_out left out (tests/guest/expect)"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
