#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Naming among three real pandods over sealed TCP: what was acknowledged survives kill -9 of the leader, of each node,
# of all at once, deaths at the named points of writing, and a time without a majority.
set -eu
D=$PANDO_TEST_DIR/c
pando() { "$BIN/pando" "$@" --dir "$D"; }
trap 'pando down --purge >/dev/null 2>&1 || true' EXIT
count=0

fail() {
	echo "naming: $*"
	tail -n 15 "$D"/n?/log/pandod.log
	exit 1
}

# until SECONDS COMMAND...: asks again until it says yes.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "did not come true: $*"
		sleep 0.1
	done
}

daemon() { pgrep -P "$(cat "$D/$1/run/guard.pid")" -f 'pandod node'; }
role() { pando nodes --node "$1" -o csv 2>/dev/null | awk -F, -v n="$1" '$1 == n { print $4 }'; }
leader() {
	local n
	for n in n1 n2 n3; do
		[ "$(role $n)" = leader ] && echo $n && return
	done
	return 1
}
settled() { [ "$(for n in n1 n2 n3; do role $n; done | sort | tr '\n' ' ')" = 'leader voter voter ' ]; }
answers() { pando status --node "$1" >/dev/null 2>&1; }

# One tenant more, through node $1; it must work at once whatever just died.
add() {
	count=$((count + 1))
	pando tenant add "t$count" --node "$1" >/dev/null || fail "cannot add t$count through $1"
}
knows_all() { [ "$(pando tenant ls --node "$1" -o csv 2>/dev/null | grep -c '^t[0-9]')" = $count ]; }
nothing_lost() {
	local n
	for n in n1 n2 n3; do
		until_true 20 knows_all $n
	done
}
# What it is sent at once it writes at once: so until it has really died.
added_to_death() {
	add "$(other "$1")"
	! kill -0 "$2" 2>/dev/null
}
other() { echo "n$((${1#n} % 3 + 1))"; }

pando up -n 3 >/dev/null
until_true 20 settled
for n in n1 n2 n3 n1 n2 n3; do add $n; done

echo "the leader, killed six times"
for _ in 1 2 3 4 5 6; do
	l=$(leader)
	kill -9 "$(daemon "$l")"
	add "$(other "$l")"
	until_true 20 answers "$l"
	until_true 20 settled
done
nothing_lost

echo "each node, dying at the named points of writing"
for point in naming.log.write naming.log.sync; do
	for n in n1 n2 n3; do
		old=$(daemon $n)
		pando debug fault $n $point:2:kill >/dev/null
		until_true 20 added_to_death $n "$old"
		until_true 20 answers $n
	done
done
until_true 20 settled
nothing_lost

echo "all at once, three times"
for _ in 1 2 3; do
	add n1
	kill -9 $(daemon n1) $(daemon n2) $(daemon n3)
	for n in n1 n2 n3; do until_true 20 answers $n; done
	until_true 20 settled
	nothing_lost
done

echo "without a majority: an error that says so, then again as before"
l=$(leader)
a=$(other "$l")
b=$(other "$a")
kill -STOP "$(daemon "$a")" "$(daemon "$b")"
if pando tenant add lost --node "$l" >/dev/null 2>"$PANDO_TEST_DIR/err"; then
	fail "a tenant was added by one of three"
fi
grep -q '^pando: ' "$PANDO_TEST_DIR/err" || fail "no reason given: $(cat "$PANDO_TEST_DIR/err")"
kill -CONT "$(daemon "$a")" "$(daemon "$b")"
until_true 20 settled
add "$l"
nothing_lost
echo "the leader leaves, then the next one: the last node has everything"
l=$(leader)
a=$(other "$l")
b=$(other "$a")
pando leave --node "$l" >/dev/null || fail "$l cannot leave"
add "$a"
until_true 20 knows_all "$b"
until_true 20 [ "$(role "$a")$(role "$b")" != leaderleader ]
first=$(role "$a" | grep -qx leader && echo "$a" || echo "$b")
last=$([ "$first" = "$a" ] && echo "$b" || echo "$a")
pando leave --node "$first" >/dev/null || fail "$first cannot leave"
add "$last"
until_true 20 knows_all "$last"
if pando leave --node "$last" >/dev/null 2>"$PANDO_TEST_DIR/err"; then
	fail "the last node left its machine"
fi
echo "$count tenants, none lost"
