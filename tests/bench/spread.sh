#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make -j` of a C project on 1, 2 and 4 nodes of a quarter core each: how much faster than on one such node (distcc reaches
# 3.0-3.6 on four). The reference is the ideal: twice, four times.
set -eu
. tests/lib/cluster.sh

src=$PANDO_TEST_DIR/src
mkdir "$src"
cp -r --parents base */core kernel/sched "$src/"
cat >"$src/Makefile" <<'MK'
OBJ := $(patsubst %.c,%.o,$(wildcard base/*.c */core/*.c kernel/sched/*.c))
all: $(OBJ)
%.o: %.c
	gcc -std=gnu11 -O1 -D_GNU_SOURCE -I. -c -o $@ $<
MK

build_s() { # nodes: seconds of the build
	local t0
	cluster_up "$1" --cpus 0.25 >/dev/null
	p tenant add alice >/dev/null
	tar -C "$src" -cf - . | as alice sh -c 'mkdir -p src && tar -C src -xf -'
	t0=$(date +%s%N)
	as alice make -s -C src -j$((2 * $1))
	awk -v ns=$(($(date +%s%N) - t0)) 'BEGIN { printf "%.2f\n", ns / 1e9 }'
	cluster_down
}

one=$(build_s 1)
echo "one node of 0.25 CPU: $one s"
for n in 2 4; do
	s=$(build_s $n)
	awk -v n=$n -v s="$s" -v one="$one" 'BEGIN {
		printf "row make_on_%d_nodes_of_0.25 x %.2f %d %.2f >=0.90 %s\n", n, one / s, n, one / s / n, one / s / n >= 0.9 ? "ok" : "over" }'
done
