#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command in an emulated machine with Debian's stock kernel, as on a host with systemd: control groups only in the
# unified hierarchy (v2), shared mounts, its sysctls. For what this host's own kernel cannot show.
#
#	tests/emulated/machine.sh COMMAND...      as root, in a tree like this one: build/gcc/{bin,unit,guest}, tests
#	LIMIT=300 tests/emulated/machine.sh ...   another limit than 120 s
#	MORE='gdb strace' ...                     with more packages of this host
#
# What it prints and its exit status are the command's. 124: the limit was reached, or the machine died; the end of the
# console is printed. 77: something to make the machine of is not there; the last line says what, and how to get it.
# The machine is qemu's TCG with two processors: some ten times slower than this one, and the same on every host. Its
# disk is an ext4 image of Debian packages of this host, with the kernel's modules; what is written to it is forgotten.
set -u
cd "$(dirname "$0")/../.." || exit 2
B=${B:-$PWD/build/gcc}
MADE=${MADE:-$PWD/build/emulated} # the kernel, and the image of the system, which is made again when a version changes
PACKAGES="bash coreutils dash diffutils e2fsprogs findutils gawk grep hostname iproute2 kmod mount ncurses-base openssh-client
	openssh-server procps psmisc python3-minimal $(dpkg-query -W -f '${Package} ' 'libpython3.*-stdlib') sed tar util-linux"
# Of the disk; and what a host's kernel gets from there when it is asked for.
DISK="virtio_pci virtio_blk ext4"
MODULES="fuse loop bridge veth overlay crc32_generic dummy rdma_rxe rdma_ucm ib_uverbs"

skip() {
	echo "$*; try: tests/emulated/get.sh"
	exit 77
}

broken() {
	echo "machine: $*"
	exit 125
}

# Those packages and all that they depend on, of what is installed here.
closure() { # package...
	dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n' | awk -F'\t' -v want="$*" '
		function bare(name) { sub(/[ (:].*/, "", name); return name }
		function add(name,   i, j, n, m, all, one) {
			name = owner[name]
			if (name == "" || done[name]++)
				return
			print name
			n = split(needs[name], all, /, */)
			for (i = 1; i <= n; i++) {
				m = split(all[i], one, / *[|] */)
				for (j = 1; j < m && !(bare(one[j]) in owner); j++)
					;
				add(bare(one[j]))
			}
		}
		$1 == "installed" {
			owner[$2] = $2
			needs[$2] = $4
			n = split($3, given, /, */)
			for (i = 1; i <= n; i++)
				if (!(bare(given[i]) in owner))
					owner[bare(given[i])] = $2
		}
		END { n = split(want, w, /[ \t\n]+/); for (i = 1; i <= n; i++) add(w[i]) }'
}

# The files of these packages; of our programs' libraries; and which of several programs a name means.
system_files() {
	local lib
	echo "$INSTALLED" | xargs dpkg -L | grep -vE '^/usr/share/(doc|man|locale|info|lintian)/|^/(boot|dev|proc|sys|run|tmp)/'
	ldd "$B"/bin/* "$B"/unit/{cgroup_test,rpc_fabric_test} 2>/dev/null | awk '$3 ~ "^/" { print $3 }' | sort -u | while read -r lib; do
		printf '%s\n' "$lib" "$(readlink -f "$lib")"
	done
	find /usr/bin /usr/sbin -lname '/etc/alternatives/*'
	printf '/etc/%s\n' passwd group nsswitch.conf ld.so.conf pam.conf
	find /etc/alternatives /etc/ld.so.conf.d /etc/pam.d
}

# The files of modules, those that others need first.
module_files() { # module...
	local m
	for m; do modprobe -d "$MADE/kernel" -S "$VERSION" --show-depends "$m" 2>/dev/null; done | awk '$1 == "insmod" && !done[$2]++ { print $2 }'
}

make_root() { # directory
	local d f
	mkdir -p "$1"/{dev,proc,sys,run,tmp,root,home,mnt,etc,var/tmp,usr/{bin,sbin,lib,lib64}} || return
	chmod 1777 "$1/tmp" "$1/var/tmp"
	for d in bin sbin lib lib64; do ln -s "usr/$d" "$1/$d"; done
	system_files | while read -r f; do { [ -f "$f" ] || [ -L "$f" ]; } && echo ".$f"; done | sort -u |
		tar -C / -c --no-recursion -T - | tar -C "$1" -x || return
	ldconfig -r "$1"
	# shellcheck disable=SC2086
	for f in $(module_files $DISK $MODULES) "$MADE/kernel/lib/modules/$VERSION"/modules.{order,builtin,builtin.modinfo}; do
		install -D -m 644 "$f" "$1/lib${f#"$MADE"/kernel/lib}" || return
	done
	depmod -b "$1" "$VERSION"
}

# What finds the disk, unpacks what was built, and goes there.
make_initramfs() { # directory
	local f
	mkdir -p "$1"/{bin,dev,root} || return
	cp "$(command -v busybox)" "$1/bin/busybox"
	{
		echo '#!/bin/busybox sh'
		# shellcheck disable=SC2086
		for f in $(module_files $DISK); do
			cp "$f" "$1/" && echo "/bin/busybox insmod /$(basename "$f")"
		done
		cat <<'INIT'
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mkdir /root/pando
/bin/busybox tar -x -C /root/pando -f /dev/vdb
exec /bin/busybox switch_root /root /bin/bash /pando/tests/emulated/init.sh
INIT
	} >"$1/init"
	chmod 755 "$1/init"
}

# Makes, once for a set of versions, MADE/root.img and MADE/initramfs.
make_system() {
	local now
	now=$({
		echo "$VERSION"
		echo "$INSTALLED" | xargs dpkg-query -W
		ldd "$B"/bin/* 2>/dev/null | awk '$3 ~ "^/" { print $3 }' | sort -u
		cat tests/emulated/machine.sh
	} | sha256sum)
	[ "$(cat "$MADE/made" 2>/dev/null)" != "$now" ] || return 0
	rm -rf "$MADE"/{made,root,early}
	depmod -b "$MADE/kernel" "$VERSION" && make_root "$MADE/root" && make_initramfs "$MADE/early" || return
	rm -f "$MADE/root.img"
	truncate -s 2G "$MADE/root.img" && mke2fs -q -t ext4 -d "$MADE/root" "$MADE/root.img" || return
	(cd "$MADE/early" && find . | busybox cpio -o -H newc 2>/dev/null) >"$MADE/initramfs" || return
	rm -rf "$MADE"/{root,early}
	echo "$now" >"$MADE/made"
}

# The second disk: what was built and the tests, as a tar archive.
make_pando() { # file command...
	local to=$1 here
	here=$(dirname "$1")
	shift
	printf '%q ' "$@" >"$here/command"
	tar -c -f "$to" --transform 's@^command$@tests/emulated/command@' -C "$(dirname "$(dirname "$B")")" \
		build/gcc/bin build/gcc/unit/cgroup_test build/gcc/unit/rpc_fabric_test build/gcc/guest build/gcc/int -C "$PWD" tests -C "$here" command
}

# The disks may be written to: qemu forgets it (snapshot=on).
boot() { # directory with pando.tar; prints what the command does
	timeout --foreground -k 5 "${LIMIT:-120}" qemu-system-x86_64 -accel tcg,thread=multi,tb-size=256 -cpu max -smp 2 -m 1536 -no-reboot -nodefaults \
		-display none -kernel "$KERNEL" -initrd "$MADE/initramfs" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off" \
		-chardev file,id=console,path="$1/console" -serial chardev:console \
		-chardev stdio,id=out,signal=off -serial chardev:out \
		-chardev file,id=status,path="$1/status" -serial chardev:status \
		-drive file="$MADE/root.img",format=raw,if=virtio,snapshot=on \
		-drive file="$1/pando.tar",format=raw,if=virtio,snapshot=on </dev/null
}

KERNEL=$(find "$MADE/kernel/boot" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1)
[ $# -gt 0 ] || { sed -n '3,12p' "$0" && exit 2; }
command -v qemu-system-x86_64 >/dev/null || skip "there is no qemu-system-x86_64"
[ "$(id -u)" = 0 ] || skip "the image of the system takes root"
command -v depmod >/dev/null || skip "there is no depmod"
[ -n "$KERNEL" ] || skip "there is no kernel in ${MADE#"$PWD"/}"
VERSION=${KERNEL##*/vmlinuz-}
# shellcheck disable=SC2086
INSTALLED=$(closure $PACKAGES ${MORE:-} | sort)
exec 9>"$MADE/lock" && flock 9 # of two that find it not made, one makes it
make_system || broken "the image of the system cannot be made"
exec 9>&-
here=$(mktemp -d "${PANDO_TEST_DIR:-/tmp}/emulatedXXXXXX") || exit 2
trap 'rm -rf "$here"' EXIT
make_pando "$here/pando.tar" "$@" || broken "what was built cannot be packed"
boot "$here"
status=$(tr -dc 0-9 2>/dev/null <"$here/status")
if [ -z "$status" ]; then
	echo "machine: no end within ${LIMIT:-120} s, or none at all; its console:"
	tail -n 30 "$here/console" | tr -d '\r'
	exit 124
fi
exit "$status"
