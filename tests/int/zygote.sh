#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Who bears the stubs of a node is born when somebody first comes there, and the node may be full then: what leaves a full
# node is programs, never that one.
. tests/lib/cluster.sh
cluster_up 2 --cpus 0.25
p tenant add alice >/dev/null || fail "tenant add"
as_on n1 alice sh -c 'for i in 1 2 3; do on n1 sh -c "while :; do :; done" & done; wait' >/dev/null 2>&1 </dev/null &
spin=$!
full() { p nodes -o csv | awk -F, '$1 == "n1" { exit !($7 > 1) }'; }
wait_for 30 full || fail "n1 is not full: $(p nodes)"
# Nobody has come to n1 yet.
[ "$(as_on n2 alice on n1 sh -c 'cat /proc/$$/node')" = n1 ] || fail "a full node does not take whom it is told to"
stray() { p ps alice -o csv | grep pando-stub; }
stray && fail "a stub program counts as one of alice's"
for n in n1 n2; do
	[ "$(as_on $n alice pgrep -c pando-stub)" = 0 ] || fail "$n shows alice a stub"
done
# A stub has all its pages from the start: while memory is short nobody could write what it is told into new ones.
as_on n2 alice on n1 sleep 1000 >/dev/null 2>&1 </dev/null &
away=$!
stubs() { for f in /sys/fs/cgroup/pids/pando-*/n?/alice/guests/*/cgroup.procs /sys/fs/cgroup/pando-*/n?/alice/guests/*/cgroup.procs; do
	case $f in *"/pando-${CLUSTER_DIR##*/}-"*) cat "$f" 2>/dev/null ;; esac
done | while read -r pid; do [[ $(tr -d '\0' <"/proc/$pid/cmdline") = */pando-stub ]] && echo "$pid"; done; }
there() { p ps alice -o csv | grep -q ',n1,.*sleep 1000' && [ "$(stubs | wc -l)" -ge 3 ]; }
wait_for 20 there || fail "no three stubs: $(stubs)"
for pid in $(stubs); do
	own=$(awk '/^[0-9a-f]+-/ { at = $1 } /^Private_Dirty/ && at ~ /^00011000-/ { print $2 }' "/proc/$pid/smaps")
	[ "$own" = 60 ] || fail "stub $pid has ${own:-0} kB of its own, not 60"
done
kill $away
wait $away 2>/dev/null
p tenant rm alice >/dev/null 2>&1
kill $spin 2>/dev/null
wait $spin 2>/dev/null
exit 0
