#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shell on n1 whose programs run on n2 and n3: one terminal for all (number, modes, size, what is typed), job
# control over nodes, shells with jobs of their own elsewhere, guest kernels that die under them, hangup.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
login=("$BIN/pando" --dir "$CLUSTER_DIR" login --node n1 alice)

p tenant set alice detached=hangup >/dev/null || fail "tenant set"
python3 tests/lib/terminals.py number,modes,typing,vi,jobs,shells,groups,crash,late,hangup "${login[@]}" || fail "terminals"
wait_for 20 as alice test -s hup || fail "SIGHUP did not come when the terminal went"
wait_for 10 sh -c "! $BIN/pando --dir $CLUSTER_DIR ps alice -o csv | grep -q python3" || fail "it outlived its terminal"
exit 0
