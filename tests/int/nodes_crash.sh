#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guest kernels of two nodes are killed while processes of the one run on the other (nodes_crash.c).
set -eu
for part in relays load usage unreached points; do
	"$B/int/nodes_crash" "$part"
done
