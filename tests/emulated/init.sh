#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The first process of the emulated machine (machine.sh): makes of it what systemd makes of a host, as far as Pando sees it,
# runs /pando/tests/emulated/command in a session's control group, and puts its status to the third serial line.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb PANDO_TEST_DIR=/root/test
mount --make-rshared /
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t devtmpfs -o nosuid dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=000 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
# Nodes of devices whose modules come when they are opened (kmod static-nodes).
[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229
[ -e /dev/loop-control ] || mknod -m 660 /dev/loop-control c 10 237
ln -s /proc/self/fd /dev/fd
# /usr/lib/sysctl.d of systemd and of Debian.
echo 4194304 >/proc/sys/kernel/pid_max
echo 1073741816 >/proc/sys/fs/nr_open
echo 1 >/proc/sys/fs/protected_hardlinks
echo 1 >/proc/sys/fs/protected_symlinks
ip link set lo up
mkdir $PANDO_TEST_DIR
hostname stock
# Without processes inside, groups hand controllers on; a user's session is somewhere below.
echo "+cpuset +cpu +io +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/init.scope /sys/fs/cgroup/user.slice/session-1.scope
echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs

# Lines as they are, and no terminal.
stty -F /dev/ttyS1 raw -echo
mkfifo /run/out
cat </run/out >/dev/ttyS1 &
printer=$!
(
	echo "$BASHPID" >/sys/fs/cgroup/user.slice/session-1.scope/cgroup.procs
	cd /pando || exit 125
	exec setsid -w bash tests/emulated/command
) </dev/null >/run/out 2>&1
status=$?
# What the command has left running must not keep what it has printed from its end.
echo 1 >/sys/fs/cgroup/user.slice/cgroup.kill
for ((i = 0; i < 100; i++)); do
	kill -0 $printer || break
	sleep 0.1
done
echo $status >/dev/ttyS2
echo o >/proc/sysrq-trigger
sleep 60
