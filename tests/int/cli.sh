#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line without a machine: help, typos, exit codes, formats.
. tests/lib/cluster.sh

want() { # code pattern command...
	local code=$1 pattern=$2 out got
	shift 2
	out=$(p "$@" 2>&1)
	got=$?
	[ $got = "$code" ] || fail "pando $*: exit status $got, not $code: $out"
	[[ $out == $pattern ]] || fail "pando $*: unexpected output: $out"
}

want 0 "usage: pando VERB*" help
want 0 "usage: pando VERB*" --help
want 2 "usage: pando VERB*"
for verb in up down status nodes tenant login attach detach on ps migrate why invite join leave doctor debug events; do
	want 0 "usage: pando $verb*--json*" "$verb" --help
	want 0 "usage: pando $verb*" help "$verb"
done
want 2 "pando: cannot stauts: there is no such verb; try: pando status" stauts
want 2 "pando: cannot nodse: there is no such verb; try: pando nodes" nodse
want 2 "pando: cannot xyzzy: there is no such verb; try: pando help" xyzzy
want 2 "pando: cannot stauts: there is no such verb; try: pando --dir /nowhere status" --dir /nowhere stauts
want 2 "pando: cannot ps: unknown option '--frob'; try: pando ps --help" ps --frob
want 2 "pando: cannot ps: unknown option '--ndoe=n1' (did you mean --node?); try: pando ps --help" ps --ndoe=n1
want 2 "pando: cannot up: unknown option '--cpu' (did you mean --cpus?); try: pando up --help" up --cpu 2
want 2 "pando: cannot ps: no value goes with '--json=1'; try: pando ps --help" ps --json=1
want 2 "pando: cannot tenant sl: there is no such verb; try: pando tenant ls" tenant sl
want 2 "pando: cannot tenant frobnicate: usage is pando tenant add*; try: pando tenant --help" tenant frobnicate
want 2 "pando: cannot tenant add: usage is pando tenant add*; try: pando tenant --help" tenant add
want 2 "pando: cannot tenant key dd: there is no such verb; try: pando tenant key add" tenant key dd alice
want 2 "pando: cannot tenant key: usage is pando tenant key add*; try: pando tenant --help" tenant key
want 2 "pando: cannot debug point: there is no such verb; try: pando debug points" debug point n1
want 2 "pando: cannot set 'cpu=2' of tenant alice: it is no setting (did you mean cpus?); try: *" tenant set alice cpu=2
want 2 "pando: cannot set 'detach=keep' of tenant alice: it is no setting (did you mean detached?); try: *" tenant set alice detach=keep
want 2 "pando: cannot ps: no value for '-o'; try: pando ps --help" ps -o
want 2 "pando: cannot ps: unknown format 'xml'; try: pando ps --help" ps -o xml
want 2 "pando: cannot migrate: usage is*" migrate 1
want 2 "pando: cannot migrate x1: it is no pid; try: pando ps" migrate x1 n2
want 2 "*1 to 64 may be*" up -n 0
want 2 "*--cpus x is no number*" up --cpus x
want 4 "pando: cannot list nodes: no node is running in $CLUSTER_DIR; try: pando up -n 3" nodes
want 4 '{"error":"cannot list nodes:*"code":4,"try":"pando up -n 3"}*' nodes --json
want 3 "pando: cannot list nodes: there is no node n7*" nodes --node n7
want 4 "pando: cannot ask what if: no node is running*" what-if "kill n2"
want 125 "pando: cannot log in as alice: no node is running*" login alice -- true
want 125 "*not inside a session*" on n1 true

# What is to be tried can be pasted: it has the directory, unless the environment has it too.
without_env() { env -u PANDO_DIR "$BIN/pando" "$@" 2>&1; }
mkdir "$PANDO_TEST_DIR/it's"
for dir in "$CLUSTER_DIR" "$PANDO_TEST_DIR/it's"; do
	said=$(without_env --dir "$dir" nodes)
	eval "pasted=(${said##*; try: })"
	[ "${pasted[*]}" = "pando --dir $dir up -n 3" ] && [ "${pasted[2]}" = "$dir" ] || fail "with --dir $dir: $said"
done
[ "$(without_env down --dir /nowhere)" = "pando: cannot take the cluster down: /nowhere: No such file or directory; try: pando --dir /nowhere up" ] ||
	fail "with a directory that is not there: $(without_env down --dir /nowhere)"

# What doctor says is well-formed in all formats, and its status agrees with its worst line.
for format in table csv json; do
	p doctor -o $format >"$PANDO_TEST_DIR/doctor.$format"
	code=$?
	case $code in 0 | 3 | 4) ;; *) fail "doctor ends with $code" ;; esac
done
python3 - "$PANDO_TEST_DIR/doctor.json" $code <<'PY' || fail "doctor's JSON and its exit status disagree"
import json, sys
rows = json.load(open(sys.argv[1]))
states = {r["state"] for r in rows}
want = 3 if "missing" in states else 4 if "warning" in states else 0
assert len(rows) > 10 and all(r["check"] for r in rows)
assert all(r["effect"] and r["fix"] for r in rows if r["state"] != "ok")
assert want == int(sys.argv[2]), (want, sys.argv[2])
PY
head -n 1 "$PANDO_TEST_DIR/doctor.csv" | grep -qx "check,state,effect,fix" || fail "doctor's CSV has no head line"
exit 0
