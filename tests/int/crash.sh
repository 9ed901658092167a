#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Daemons die under a running session; the session does not notice.
. tests/lib/cluster.sh
cluster_up 1
p tenant add alice >/dev/null || fail "tenant add"
as alice true || fail "first login"

# A counter that must come through without a gap while everything around it is killed, a pipeline
# that must keep its bytes, and programs that start all the time.
as alice sh -c 'i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit 9' >"$PANDO_TEST_DIR/count" &
counter=$!
as alice sh -c 'head -c 60000000 /dev/zero | tr "\0" x | sha256sum' >"$PANDO_TEST_DIR/sum" &
summer=$!
as alice sh -c 'for i in $(seq 200); do /bin/echo $i; done | sort -n | tail -n 1' >"$PANDO_TEST_DIR/forks" &
forker=$!
for round in 1 2 3; do
	for victim in kernel pandod both; do
		sleep 0.2
		k=$(kernel_pid n1 alice) d=$(pandod_pid n1)
		[ -n "$d" ] || fail "round $round: pandod does not run"
		[ $victim = pandod ] || { [ -n "$k" ] && kill -9 "$k"; }
		[ $victim = kernel ] || kill -9 "$d"
		wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' login -T alice -- true 2>/dev/null" ||
			fail "round $round: no login after the death of $victim"
	done
done
# Whoever comes asks for the pids that there are, and for no more.
blocks=$(p nodes --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid_blocks"])')
[ "$blocks" = 1 ] || fail "after nine deaths of daemons $blocks pid blocks are leased"
wait $counter
code=$?
[ $code = 9 ] || fail "the counter ended with $code"
[ "$(cat "$PANDO_TEST_DIR/count")" = "$(seq 0 299)" ] || fail "the counter has gaps: $(diff <(seq 0 299) "$PANDO_TEST_DIR/count" | head -5)"
wait $summer || fail "the pipeline failed"
[ "$(cat "$PANDO_TEST_DIR/sum")" = "$(head -c 60000000 /dev/zero | tr '\0' x | sha256sum)" ] || fail "the pipeline's bytes differ"
wait $forker || fail "the forks failed"
[ "$(cat "$PANDO_TEST_DIR/forks")" = 200 ] || fail "forks were lost: $(cat "$PANDO_TEST_DIR/forks")"

# Each fault point of pandod kills it once, while what leads there is under way. What was begun is done by who comes after, or
# was refused and is asked for again. pod.join.admitted is for members.sh: who joins cannot be told anything before.
# On a cluster of its own: each death in a row is followed by a longer wait, and there were six.
cluster_down
cluster_up 1
p tenant add alice >/dev/null || fail "tenant add"
as alice true || fail "first login on the second cluster"
back() { "$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- true 2>/dev/null; }
session() {
	as alice sh -c 'exit 7' 2>/dev/null
	code=$?
	# Before its caller knew of the session, pando says that it failed; it never lies about a status.
	case $code in 7 | 125) ;; *) fail "$point: status $code" ;; esac
}
died() { [ "$(pandod_pid n1)" != "$daemon" ]; }
gone() { p tenant rm "$1" 2>/dev/null || ! p tenant ls | grep -q "^$1 "; }
n=0
for point in $(p debug points n1); do
	case $point in pod.join.admitted) continue ;; pod.*) ;; *) continue ;; esac
	n=$((n + 1))
	[ $point != pod.world.ends ] || { p tenant add ends >/dev/null && as ends true || fail "$point: no world"; }
	daemon=$(pandod_pid n1)
	p debug fault n1 "$point" || fail "arm $point"
	case $point in
	pod.session.*) session ;;
	pod.quota.held) p tenant set alice procs=$((200 + n)) 2>/dev/null ;;
	pod.kernel.*) kill -9 "$(kernel_pid n1 alice)" ;;
	pod.world.ends) p tenant rm ends 2>/dev/null ;;
	pod.world.*) p tenant add begins$n >/dev/null 2>&1 && as begins$n true 2>/dev/null ;;
	*) fail "nothing leads to $point: say here what does" ;;
	esac
	wait_for 20 died || fail "$point was not reached"
	wait_for 20 back || fail "no login after $point"
	case $point in
	pod.world.ends) wait_for 20 gone ends || fail "$point: the tenant does not go" ;;
	pod.world.*)
		wait_for 20 as begins$n true 2>/dev/null || fail "$point: the world does not begin"
		p tenant rm begins$n || fail "$point: the world does not end"
		;;
	esac
	echo "$point: survived"
done
[ $n -ge 8 ] || fail "only $n points"

# A guest kernel that dies while it starts a program on pipes: its successor is asked again, and it runs once.
as alice sh -c ': >~/runs'
n=0
for point in kernel.session.spawned kernel.session.kept; do
	p debug fault n1 alice $point:1:kill || fail "arm $point"
	out=$(echo in | as alice sh -c 'echo run >>~/runs; cat; sleep 0.3; exit 7')
	code=$?
	n=$((n + 1))
	[ $code = 7 ] && [ "$out" = in ] || fail "$point: status $code, output '$out'"
	[ "$(as alice sh -c 'wc -l <~/runs')" = $n ] || fail "killed at $point, a program ran twice"
done

# A guest kernel that cannot even start: who waits for it is told, and soon.
cp -r "$BIN" "$PANDO_TEST_DIR/bin"
printf '#!/bin/false\n' >"$PANDO_TEST_DIR/bin/pando-kernel"
CLUSTER_DIR=$CLUSTER_DIR-2 BIN=$PANDO_TEST_DIR/bin bash -c '
	. tests/lib/cluster.sh
	cluster_up 1 >/dev/null
	p tenant add alice >/dev/null || fail "tenant add"
	timeout 30 "$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- true 2>"$PANDO_TEST_DIR/err"
	code=$?
	[ $code = 125 ] || fail "login without a guest kernel: status $code"
	grep -q "its guest kernel does not start" "$PANDO_TEST_DIR/err" || fail "it says $(cat "$PANDO_TEST_DIR/err")"
' || exit 1

# pando-init is the tenant's first process: with it the world ends, and the next login makes another.
init=$(pgrep -f pando-init -P "$(pandod_pid n1)" | head -n 1)
if [ -n "$init" ]; then
	kill -9 "$init"
	wait_for 20 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' login -T alice -- true 2>/dev/null" || fail "no login after the death of pando-init"
fi
exit 0
