#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The tenant's /proc: what programs make of it, and a `ps` in flight while the guest kernel dies.
. tests/lib/cluster.sh
cluster_up 1
p tenant add alice >/dev/null || fail "tenant add"
p tenant add bob >/dev/null || fail "tenant add"

expect() { # what it should print, script
	local got
	got=$(as alice bash -c "$2" 2>&1)
	[ "$got" = "$1" ] || fail "$2: '$got', not '$1'"
}

# The links into the native procfs are exact.
expect same 'diff <(echo a) <(echo a) && echo same'
expect x 'echo x | cat /dev/stdin'
expect /usr/bin/readlink 'readlink /proc/self/exe'
expect 'cat /proc/self/cmdline ' 'cat /proc/self/cmdline | tr "\0" " "'
expect deleted 'cd; echo deleted >f; exec 7<f; rm f; cat /proc/$$/fd/7'
expect 'exited normally' 'gdb -batch -ex run /bin/true 2>/dev/null | grep -o "exited normally"'

# Figures agree with each other, and the list has guests only.
expect '' '[ "$(nproc)" = "$(grep -c ^processor /proc/cpuinfo)" ] || echo differs'
expect '' '[ "$(free -k | awk "/Mem:/{print \$2}")" = "$(awk "/MemTotal/{print \$2}" /proc/meminfo)" ] || echo differs'
expect alice 'ps -e -o user= | sort -u'
expect 2 'top -b -n1 | grep -cE " (bash|top)\$"'
expect no 'ls -d /proc/1 /proc/2 >/dev/null 2>&1 && echo yes || echo no'

# Where a process is, and where it cannot go.
expect n1 'cat /proc/$$/node'
expect moved 'echo n1 >/proc/$$/node && echo moved'
expect refused 'echo n9 2>/dev/null >/proc/$$/node || echo refused'

# Nobody sees another tenant.
as alice sleep 60 &
sleeper=$!
wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' login -T alice -- pgrep -x sleep >/dev/null" || fail "alice's sleeper does not start"
[ -z "$(as bob pgrep -x sleep)" ] || fail "bob sees alice's process"
as alice pkill -x sleep
wait $sleeper
[ $? = 143 ] || fail "the sleeper's status is lost"

# Every ps is answered once and whole, whoever dies under it.
as alice bash -c 'for i in $(seq 40); do ps -e -o comm= | sort | tr "\n" " "; echo; done | sort -u' >"$PANDO_TEST_DIR/ps" &
lister=$!
for _ in 1 2 3; do
	k=$(kernel_pid n1 alice)
	[ -n "$k" ] && kill -9 "$k"
	wait_for 20 sh -c "[ -n \"\$(head -n 1 \$(find /sys/fs/cgroup/ -path '*/pando-$(basename "$CLUSTER_DIR")-*/n1/alice/kernel/cgroup.procs' | head -n 1))\" ]"
	sleep 0.3
done
wait $lister || fail "ps failed"
# It lists the shell, its pipeline and itself, and may meet a process between fork and exec.
grep -qvE '^((bash|ps|sort|tr) )+$' "$PANDO_TEST_DIR/ps" && fail "ps told: $(cat "$PANDO_TEST_DIR/ps")"
[ -s "$PANDO_TEST_DIR/ps" ] || fail "ps told nothing"
cluster_down
