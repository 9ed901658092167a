#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building, testing and running Pando needs and that are missing.
# Says what it does, does nothing when nothing is missing. Needs root only when something is missing.
set -eu

RAFT_MIN=0.22.1

# build: compilers and libraries
packages="gcc make pkg-config clang clang-format clang-tidy
	liburing-dev libfabric-dev libibverbs-dev librdmacm-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
	libraft-dev libssl-dev libsodium-dev libjansson-dev libncurses-dev libzstd-dev liblz4-dev
	libxxhash-dev libcap-dev"
# test: harness, oracle, and the programs that the guest tests and the demo run
packages="$packages libcmocka-dev libseccomp-dev python3-minimal busybox-static procps psmisc
	iproute2 util-linux curl openssh-server openssh-client rsync git gdb strace zsh dash bash coreutils findutils gawk file tmux"

missing=
for p in $packages; do
	if ! dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -q '^installed$'; then
		missing="$missing $p"
	fi
done
have=$(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null || true)
raft=
if [ -z "$have" ] || dpkg --compare-versions "$have" lt "$RAFT_MIN"; then
	raft=libraft-dev
fi
[ -n "$missing$raft" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "pando: cannot install$missing: not root; try: sudo make install-deps" >&2
	exit 5
fi
export DEBIAN_FRONTEND=noninteractive
echo "pando: installing:$missing"
apt-get update -qq

# libraft >= 0.22.1: in Debian 13, and for Debian 12 in its official backports.
target=
if [ -n "$raft" ]; then
	cand=$(apt-cache policy libraft-dev | awk '/Candidate:/{print $2}')
	if dpkg --compare-versions "${cand:-0}" lt "$RAFT_MIN"; then
		. /etc/os-release
		if ! apt-cache madison libraft-dev | grep -q backports; then
			echo "pando: adding $VERSION_CODENAME-backports for libraft-dev >= $RAFT_MIN"
			echo "deb http://deb.debian.org/debian $VERSION_CODENAME-backports main" \
				>/etc/apt/sources.list.d/pando-backports.list
			apt-get update -qq
		fi
		target="$VERSION_CODENAME-backports"
	fi
	missing=$(echo "$missing" | sed 's/ libraft-dev//')
fi
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if [ -n "$raft" ]; then
	apt-get install -y -qq --no-install-recommends ${target:+-t "$target"} libraft-dev >/dev/null
fi
echo "pando: packages are in place"
