# SPDX-License-Identifier: Apache-2.0
# login.sh - the modes of tests/guest/run.sh that need a cluster: programs run by `pando login`. Sourced.
# shellcheck shell=bash disable=SC2154

# The programs go where a user would put them: into the tenant's home, through a session.
install_programs() {
	# shellcheck disable=SC2046
	tar c -C "$B/guest" $(programs) | as alice sh -c 'mkdir -p bin && tar x -C bin'
}

run_login() { # program out-directory node
	timeout -k 5 $limit "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node "$3" alice -- "bin/$1" \
		</dev/null >"$2/$1.out" 2>"$2/$1.err"
	echo "exit $?" >"$2/$1.status"
	cat "$2/$1.err" >>"$2/$1.out"
}

# A session on one node whose program runs on the other: its parent, terminal and pipes are away.
run_on() { # program out-directory
	timeout -k 5 $limit "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- pando on n2 "bin/$1" \
		</dev/null >"$2/$1.out" 2>"$2/$1.err"
	echo "exit $?" >"$2/$1.status"
	cat "$2/$1.err" >>"$2/$1.out"
}

# Moves the program as soon as it is there; one that has ended before is counted as not moved.
run_moved() { # program out-directory
	local pid= nodes=(n2 n3) i=0
	as alice rm -f .moved
	timeout -k 5 $limit "$BIN/pando" --dir "$CLUSTER_DIR" login -T alice -- \
		sh -c "echo \$\$ >.moved; exec bin/$1" </dev/null >"$2/$1.out" 2>"$2/$1.err" &
	local login=$!
	wait_for 10 as alice test -s .moved && pid=$(as alice cat .moved)
	while [ -n "$pid" ] && kill -0 $login 2>/dev/null && [ $i -lt 2 ]; do
		p migrate "$pid" "${nodes[i]}" >/dev/null 2>>"$2/moves.log" && moves=$((moves + 1))
		i=$((i + 1))
	done
	wait $login
	echo "exit $?" >"$2/$1.status"
	cat "$2/$1.err" >>"$2/$1.out"
}

login_all() { # mode out-directory
	local name nodes=3 moves=0 turn=0
	[ "$1" = one ] && nodes=1
	[ "$1" = on ] && nodes=2
	mkdir -p "$2"
	cluster_up $nodes
	p tenant add alice >/dev/null || fail "cannot add alice"
	install_programs || fail "cannot install the programs"
	for name in $(programs); do
		if [ "$1" = moved ]; then
			run_moved "$name" "$2"
		elif [ "$1" = on ]; then
			run_on "$name" "$2"
		else
			turn=$((turn % nodes + 1)) # a session on each node in turn
			run_login "$name" "$2" n$turn
		fi
	done
	[ "$1" != moved ] || echo "moves: $moves"
	[ "$1" != moved ] || [ $moves -gt 0 ] || failed=$((failed + 1))
	cluster_down
}
