#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a guest pays for living in the machine: calls, processes, threads, pipes, against the host's own in the same run. Each
# figure is the median of ROUNDS turns, host and session in turn (tests/guest/pace.c measures).
set -eu
. tests/lib/cluster.sh
ROUNDS=${ROUNDS:-5}
pace=$B/guest/pace

cluster_up 2 >/dev/null
p tenant add alice >/dev/null
as alice sh -c 'cat >pace && chmod +x pace' <"$pace"

# Both by turns, so that a busy minute is both's: prints the two medians.
in_turn() { # host command... -- session command...
	local host=()
	while [ "$1" != -- ]; do
		host+=("$1")
		shift
	done
	shift
	for ((i = 0; i < ROUNDS; i++)); do
		echo "host $("$pace" "${host[@]}")"
		echo "guest $(as_on n1 alice ./pace "$@")"
	done | sort -k1,1 -k2,2n | awk '{ v[$1, ++n[$1]] = $2 } END { print v["guest", int((n["guest"] + 1) / 2)], v["host", int((n["host"] + 1) / 2)] }'
}

row() { # name unit ours reference max|min budget
	awk -v name="$1" -v unit="$2" -v ours="$3" -v ref="$4" -v how="$5" -v budget="$6" 'BEGIN {
		ratio = ours / ref
		ok = how == "max" ? ratio <= budget : ratio >= budget
		printf "row %s %s %.4g %.4g %.2f %s%.2f %s\n", name, unit, ours, ref, ratio, how == "max" ? "<=" : ">=", budget, ok ? "ok" : "over" }'
}

measure() { # name unit max|min budget host command... -- session command...
	local name=$1 unit=$2 how=$3 budget=$4
	shift 4
	# shellcheck disable=SC2046
	row "$name" "$unit" $(in_turn "$@") "$how" "$budget"
}

measure native_call ns max 1.1 filter native -- native
measure kernel_call_continued ns max 1.3 listener kernel -- kernel
measure kernel_call_answered ns max 1.3 listener value -- value
measure kernel_calls_of_1_thread 1/s min 0.77 listener many 1 1000 -- many 1 1000
measure kernel_calls_of_200_threads 1/s min 0.77 listener many 200 1000 -- many 200 1000
measure thread_create_join us max 1.15 threads -- threads
measure fork_exec_stays us max 1.15 spawn -- spawn
measure fork_exec_elsewhere us max 3 spawn -- on n2

# 200 MB through one relay, against one pipe of the host; and through a connection to a server on another node, against the
# host's own TCP.
poured() { # name budget: of lines "host MB/s" and "guest MB/s"
	# shellcheck disable=SC2046
	row "$1" MB/s $(sort -k1,1 -k2,2n | awk '{ v[$1, ++n[$1]] = $2 } END { print v["guest", int((n["guest"] + 1) / 2)], v["host", int((n["host"] + 1) / 2)] }') min "$2"
}
for ((i = 0; i < ROUNDS; i++)); do
	echo "host $("$pace" pour 200 | "$pace" drain)"
	echo "guest $(as_on n1 alice sh -c 'on n2 ./pace pour 200 | ./pace drain')"
done | poured relay_bytes 0.5

tcp='import os, socket, sys
s = socket.socket()
if sys.argv[1] == "drain":
    s.bind(("127.0.0.1", int(sys.argv[2])))
    s.listen()
    print("listens", file=sys.stderr, flush=True)
    c, _ = s.accept()
    os.dup2(c.fileno(), 0)
    os.execv(sys.argv[3], ["pace", "drain"])
s.connect(("127.0.0.1", int(sys.argv[2])))
os.dup2(s.fileno(), 1)
os.execv(sys.argv[3], ["pace", "pour", "200"])'
port=$((20000 + $$ % 10000))
connected() { # drain command... : what it says of 200 MB that come over TCP; POUR is an array, the other side
	local said=$PANDO_TEST_DIR/said
	: >"$said"
	"$@" drain $port "$DRAIN_PACE" 2>"$said" >"$PANDO_TEST_DIR/drained" &
	wait_for 20 grep -q listens "$said"
	"${POUR[@]}" pour $port "$DRAIN_PACE"
	wait $!
	cat "$PANDO_TEST_DIR/drained"
}
for ((i = 0; i < ROUNDS; i++)); do
	DRAIN_PACE=$pace POUR=(python3 -c "$tcp")
	echo "host $(connected python3 -c "$tcp")"
	DRAIN_PACE=./pace POUR=(as_on n1 alice python3 -c "$tcp")
	echo "guest $(connected as_on n2 alice python3 -c "$tcp")"
	port=$((port + 1))
done | poured port_space_bytes 0.98
