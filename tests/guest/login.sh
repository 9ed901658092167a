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

# Held twice (guest.h), and moved then. What was refused, and why, goes to moves.log.
run_moved() { # program out-directory
	local pid n node moved=0
	rm -f "$home"/.held.* "$home"/.go.* "$home/.pid"
	timeout -k 5 $limit "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- \
		sh -c "echo \$\$ >.pid; GUEST_HOLD=\$\$:\$HOME exec bin/$1" </dev/null >"$2/$1.out" 2>"$2/$1.err" &
	local login=$!
	for n in 1 2; do
		[ $n = 1 ] && node=n2 || node=n3
		until [ -e "$home/.held.$n" ]; do
			kill -0 $login 2>/dev/null || break 2
			sleep 0.01
		done
		pid=$(cat "$home/.pid")
		if p migrate "$pid" $node >/dev/null 2>"$2/why"; then
			moves=$((moves + 1))
			moved=1
		else
			echo "$1: $(sed 's/^pando: cannot migrate [0-9]* to n[0-9]: //' "$2/why")" >>"$2/moves.log"
		fi
		touch "$home/.go.$n"
	done
	programs_moved=$((programs_moved + moved))
	wait $login
	echo "exit $?" >"$2/$1.status"
	cat "$2/$1.err" >>"$2/$1.out"
}

# How many programs were really moved; and the reasons for which others were not, with a count of each.
report_moves() { # out-directory
	local all
	all=$(programs | wc -l)
	[ ! -e "$1/moves.log" ] || sed 's/^[^:]*: //; s/[0-9][0-9]*/N/g; s/([^()]*)/(...)/g' "$1/moves.log" | sort | uniq -c | sort -rn
	echo "moves: $moves, of $programs_moved programs out of $all"
	[ -n "${ONLY_GUEST:-}" ] || [ $((programs_moved * 100)) -ge $((all * 60)) ] || {
		echo "fewer than six in ten were moved"
		failed=$((failed + 1))
	}
}

login_all() { # mode out-directory
	local name nodes=3 moves=0 programs_moved=0 turn=0
	local home
	[ "$1" = one ] && nodes=1
	[ "$1" = on ] && nodes=2
	mkdir -p "$2"
	cluster_up $nodes
	p tenant add alice >/dev/null || fail "cannot add alice"
	install_programs || fail "cannot install the programs"
	# alice's home as the host sees it
	home=$(dirname "$(dirname "$(find "$CLUSTER_DIR/vol" -path "*/bin/$(programs | head -n 1)")")")
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
	[ "$1" != moved ] || report_moves "$2"
	cluster_down
}
