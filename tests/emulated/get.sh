#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Gets what the emulated machine is made of (machine.sh): qemu, which is installed, and Debian's stock kernel, which is
# only unpacked into build/emulated/kernel. Does nothing when nothing is missing. What cannot be had is told and is no
# failure: the tests that want it are skipped.
#
#	KERNEL=linux-image-amd64 MADE=build/emulated-full tests/emulated/get.sh      another kernel, elsewhere
set -u
cd "$(dirname "$0")/../.." || exit 2
made=${MADE:-build/emulated}
kernel=${KERNEL:-linux-image-cloud-amd64}

apt() { # a mirror that does not answer is not waited for
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" >/dev/null 2>&1
}

install_programs() {
	apt install -y --no-install-recommends qemu-system-x86 kmod e2fsprogs
}

# The one of this host's release, not of its backports; for clouds: small, without firmware.
unpack_kernel() {
	image=$(apt-cache depends "$kernel" 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
	[ -n "$image" ] || return 1
	rm -rf "$made/deb" "$made/unpacked"
	mkdir -p "$made/deb"
	(cd "$made/deb" && apt download "$image") && dpkg-deb -x "$made"/deb/*.deb "$made/unpacked" || return 1
	[ -d "$made/unpacked/lib" ] || ln -s usr/lib "$made/unpacked/lib" # where packages have only /usr/lib
	rm -rf "$made/deb"
	mv "$made/unpacked" "$made/kernel"
}

# Once more with fresh lists: old ones name versions that the mirror no longer has.
try() { # what command
	"$2" || { [ "$(id -u)" = 0 ] && apt update && "$2"; } ||
		echo "pando: $1 cannot be had (no mirror, or not root): the tests in the emulated machine are skipped"
}

have() { command -v "$1" >/dev/null; }

if ! have qemu-system-x86_64 || ! have depmod || ! have mke2fs; then
	echo "pando: installing: qemu-system-x86 kmod e2fsprogs"
	try "qemu-system-x86" install_programs
fi
[ -d "$made/kernel" ] || try "the kernel of $kernel" unpack_kernel
