#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the emulated machine: the tests of quota/cgroup on a real unified hierarchy, those included that this takes.
out=$(build/gcc/unit/cgroup_test 2>&1)
status=$?
echo "$out"
[ $status = 0 ] || exit $status
# What only version 1 has may be left out, and nothing else.
left_out=$(grep -c '^\[  SKIPPED \] [a-z]' <<<"$out")
[ "$left_out" = 2 ] && grep -q 'OK \] with_v2_' <<<"$out" || { echo "FAILED: $left_out lines of what is left out"; exit 1; }
