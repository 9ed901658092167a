#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node leaves where a parent and its child began, which run on two other nodes by then. Its guest kernel sees their stubs
# there die before its end, and the child's node hears of that before it hears of the leaving: both go on as they were.
. tests/lib/cluster.sh
cluster_up 4
work=$PANDO_TEST_DIR
p tenant add alice >/dev/null || fail "tenant add"

state_is() { p nodes --node "${3:-n1}" -o csv 2>/dev/null | grep -q "^$1,[0-9]*,$2,"; }
at() { p ps alice -o csv | awk -F, -v pid="$1" '$2 == pid { print $4 }'; }
goes() { # PID NODE
	p migrate --tenant alice "$1" "$2" >/dev/null 2>"$work/moved" && [ "$(at "$1")" = "$2" ]
}
host_state() { awk '/^State/ { print $2 }' "/proc/$1/status" 2>/dev/null; }
is_stopped() { [ "$(host_state "$1")" = T ]; }
is_over() { case $(host_state "$1") in Z | "") ;; *) false ;; esac; }

as_on n2 alice sh -c 'cat >last.sh' <<'SH' || fail "no file"
sh -c 'while [ ! -e go ]; do sleep 0.1; done; exit 7' &
echo $$ $! >pids
wait $!
echo $? >told
SH
as_on n2 alice sh -c 'exec sh last.sh </dev/null >/dev/null 2>&1' >/dev/null 2>&1 &
last=$!
wait_for 20 as_on n2 alice test -s pids || fail "they do not begin"
read -r parent child < <(as_on n2 alice cat pids)
wait_for 10 goes "$parent" n1 || fail "the parent does not move: $(cat "$work/moved")"
wait_for 10 goes "$child" n4 || fail "the child does not move: $(cat "$work/moved")"
p drain n2 --deadline 30s >/dev/null || fail "drain"
wait_for 10 state_is n2 drained n2 || fail "drained: $(p nodes)"

# ---- n4's list of nodes comes late; n2's guest kernel finds everything dead at once, and has time to say so ----
kernel=$(kernel_pid n2 alice)
init=$(init_pid n2 alice)
daemon=$(pandod_pid n2)
late=$(pandod_pid n4)
for point in pod.world.ends tenant.stop.killed; do
	p debug fault n2 $point:1:stop || fail "arm $point"
done
kill -STOP "$late"
wait_for 10 p leave --node n2 >/dev/null 2>"$work/refused" &
leaving=$!
wait_for 20 is_stopped "$daemon" || fail "its world does not end: $(cat "$work/refused")"
kill -STOP "$kernel"
wait_for 10 is_stopped "$kernel" || fail "its guest kernel does not stop"
kill -CONT "$daemon"
wait_for 10 is_over "$init" || fail "pando-init does not end"
wait_for 10 is_stopped "$daemon" || fail "pandod goes on"
kill -CONT "$kernel"
wait_for 10 is_over "$kernel" || fail "its guest kernel does not end"
kill -CONT "$daemon"
wait $leaving || fail "leave: $(cat "$work/refused")"
kill -CONT "$late"
wait_for 10 state_is n2 left || fail "$(p nodes)"
wait_for 10 state_is n2 left n4 || fail "$(p nodes --node n4)"
wait $last && fail "its login goes on without a gate"

# ---- on the child's node its parent is still the parent's stub, and each can follow the other ----
for pid in "$parent" "$child"; do
	[ -n "$(at "$pid")" ] || fail "$pid has gone with the node that it began at: $(p ps alice)"
done
[ "$(as_on n1 alice sh -c "on n4 ps -o ppid= -p $child" | tr -d ' ')" = "$parent" ] || fail "its parent is another: $(p ps alice)"
# Refused until another node keeps their records.
wait_for 20 goes "$parent" n4 || fail "the parent does not move: $(cat "$work/moved")"
wait_for 20 goes "$child" n3 || fail "the child does not move: $(cat "$work/moved")"
as_on n1 alice touch go || fail "login after it left"
told() { [ "$(as_on n1 alice cat told 2>/dev/null)" = 7 ]; }
wait_for 20 told || fail "its parent was told '$(as_on n1 alice cat told)': $(p ps alice)"

# ---- who has left comes back when asked for by number, and is another node then ----
out=$(p up) || fail "up after a leave: $out"
[[ $out == "3 nodes up in "* ]] || fail "up without n2: $out"
state_is n2 left || fail "up alone brings back who has left: $(p nodes)"
out=$(p up -n 4) || fail "up of a node that has left: $out"
[[ $out == "node n2 has left the machine: it joins as a new one
4 nodes up in "* ]] || fail "up -n 4: $out"
is_anew() { [ "$(p nodes --node n1 -o csv | awk -F, '$1 == "n2" { printf "%s %s ", $2, $3 }')" = "2 left 5 alive " ]; }
wait_for 10 is_anew || fail "n2 is not another node: $(p nodes)"
as_on n2 alice true || fail "nobody can log in there"

# ---- what ended there just before, and had been listed, is in no list any more ----
as_on n4 alice sh -c 'echo $$ >last; exec sleep 600' >/dev/null 2>&1 &
wait_for 20 as_on n4 alice test -s last || fail "it does not begin"
pid=$(as_on n4 alice cat last)
wait_for 10 as_on n1 alice test -d "/proc/$pid" || fail "n1 does not see $pid"
as_on n4 alice kill -9 "$pid" || fail "kill"
p drain n4 --deadline 30s >/dev/null || fail "drain n4"
wait_for 10 p leave --node n4 >/dev/null 2>"$work/refused" || fail "leave n4: $(cat "$work/refused")"
wait_for 10 state_is n4 left || fail "$(p nodes)"
gone() { as_on n1 alice test ! -d "/proc/$pid"; }
wait_for 10 gone || fail "$pid is listed for ever: $(as_on n1 alice ps -ef)"
exit 0
