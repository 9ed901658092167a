#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The real pando-init and pando-kernel under a pandod played by kernel_live.c: sessions, terminals, signals, a new
# pandod; then 40 guest kernels killed under load, and one at every named point.
set -eu
for part in sessions points crash; do
	"$B/int/kernel_live" "$part"
done
