#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The checkers are checked: every deliberately broken variant of a core is caught within 200 seeds.
# The variants exist only in this build (base/mutant.h); the tests that hunt them are the unit tests.
set -eu
cd "$(dirname "$0")/../.."
# Each hunts the mutants of its own core.
hunters=$(grep -l PANDO_MUTANTS tests/unit/*_test.c | sed 's@.*/@build/gcc-mutants/unit/@; s@\.c$@@')
# shellcheck disable=SC2086
make -s MUTANTS=1 $hunters
for t in $hunters; do
	"$t"
done
