#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keys of tenants by command: added, listed, removed; what is no key, or another's, is refused by name.
. tests/lib/cluster.sh
cluster_up 1
p tenant add alice >/dev/null || fail "tenant add"
p tenant add bob >/dev/null || fail "tenant add"
key=$PANDO_TEST_DIR/key
ssh-keygen -q -t ed25519 -N '' -C alice@home -f "$key"
shown=$(ssh-keygen -lf "$key.pub" | cut -d' ' -f2)

want() { # code pattern command...
	local code=$1 pattern=$2 out got
	shift 2
	out=$(p tenant "$@" 2>&1 </dev/null)
	got=$?
	[ $got = "$code" ] || fail "tenant $*: exit status $got, not $code: $out"
	[[ $out == $pattern ]] || fail "tenant $*: unexpected output: $out"
}
want 0 "key $shown (alice@home) added" key add alice "$key.pub"
want 1 "*one key logs in one tenant; try: pando tenant key ls alice" key add alice "$key.pub"
want 1 "*one key logs in one tenant*" key add bob "$key.pub"
want 0 "*$shown*ssh-ed25519*alice@home*" key ls alice
want 0 "FINGERPRINT *" key ls bob
want 2 "pando: cannot add a key of alice from $key: it is a private key*; try: *" key add alice "$key"
want 2 "*there is no key in it*" key add alice
want 3 "*there is no tenant carol; try: pando tenant ls" key add carol "$key.pub"
want 3 "*there is no tenant alcie (did you mean alice?); try: pando tenant ls" key add alcie "$key.pub"
want 3 "*there is no tenant alcie (did you mean alice?); try: pando tenant ls" rm alcie
want 3 "*there is no such key; try: pando tenant key ls alice" key rm alice nobody@home
want 3 "*there is no such key*" key rm bob "$shown"
want 2 "*usage is*" key frob alice

# Many in one file, with remarks between; the line of a bad one is named, and what stood before it is in.
{
	echo '# my keys'
	for t in 'ecdsa -b 256' 'rsa -b 2048'; do
		# shellcheck disable=SC2086
		ssh-keygen -q -t $t -N '' -C "${t%% *}@home" -f "$key.${t%% *}" && cat "$key.${t%% *}.pub"
		echo
	done
	echo 'from="10.0.0.1" ssh-ed25519 AAAA'
} >"$PANDO_TEST_DIR/many"
want 2 "*rsa@home*$PANDO_TEST_DIR/many line 6*" key add alice "$PANDO_TEST_DIR/many"
[ "$(p tenant key ls alice -o csv | tail -n +2 | wc -l)" = 3 ] || fail "alice has other keys than were added"
want 0 "key $shown (alice@home) removed" key rm alice alice@home
want 0 "key * (rsa@home) removed" key rm alice "$(ssh-keygen -lf "$key.rsa.pub" | cut -d: -f2 | cut -c1-12)"
[ "$(p tenant key ls alice -o csv | tail -n +2 | cut -d, -f3)" = ecdsa@home ] || fail "the wrong keys went"
# A key that was removed may let in another tenant.
want 0 "*added" key add bob "$key.pub"

# Names of accounts that every gate or every tenant's root has are nobody's; what daemons call things is no such name.
for name in root sshd pando-keys nobody; do
	want 2 "pando: cannot add tenant $name: an account of the system is called so; try: *" add $name
done
for name in pod ssh init kernel guests; do
	want 0 "*added*" add $name
	[ "$(as $name id -un)" = $name ] || fail "$name cannot log in"
	want 0 "*" rm $name
done
want 0 "*alice*bob*" ls

want 0 "" set alice detached=hangup
want 0 "" set alice detached=keep
want 2 "*detached is keep or hangup*" set alice detached=maybe
want 2 "*it is no setting*" set alice colour=blue
exit 0
