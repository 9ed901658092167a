# SPDX-License-Identifier: Apache-2.0
# cluster.sh - a local cluster for a test, taken down when the test ends, however it ends. Sourced.
#
#	. tests/lib/cluster.sh
#	cluster_up 3 --cpus 0.25      three nodes below $PANDO_TEST_DIR; running programs stay, unless BALANCE=1
#	p tenant add alice            pando on it
#	as alice sh -c 'echo hi'      a program in a session of alice, on pipes
#	as_on n2 alice CMD...         the same, the session starts on node n2
#	spawn_as alice CMD...         the same in the background; its pid is $SPAWNED
#	cluster_down
#
# fail TEXT      ends the test with status 1
# wait_for S CMD...   runs CMD until it succeeds, at most S seconds
# shellcheck shell=bash
BIN=${BIN:-$PWD/build/gcc/bin}
: "${PANDO_TEST_DIR:?run it by tests/run.sh, or set PANDO_TEST_DIR}"
# Its last part names the control groups: a leftover tells which test it is of.
CLUSTER_DIR=${CLUSTER_DIR:-$PANDO_TEST_DIR/$(basename "$PANDO_TEST_DIR")}

export PANDO_DIR=$CLUSTER_DIR # what is to be tried is told without it then

p() { "$BIN/pando" --dir "$CLUSTER_DIR" "$@"; }

as() { # tenant command...
	local tenant=$1
	shift
	p login -T "$tenant" -- "$@"
}

as_on() { # node tenant command...
	local node=$1 tenant=$2
	shift 2
	p login -T --node "$node" "$tenant" -- "$@"
}

# In the background, its pid in $SPAWNED: killing a function's subshell would leave pando behind.
spawn_as() { # tenant command...
	local tenant=$1
	shift
	"$BIN/pando" --dir "$CLUSTER_DIR" login -T "$tenant" -- "$@" &
	# shellcheck disable=SC2034
	SPAWNED=$!
}

fail() {
	echo "FAILED: $*"
	exit 1
}

wait_for() { # seconds command...
	local until=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $until ] || return 1
		sleep 0.05
	done
}

cluster_up() { # nodes [options of pando up]
	local n=$1
	shift
	# Node names, cgroups and namespaces are derived from the directory: tests do not meet.
	trap cluster_down EXIT
	trap 'exit 143' TERM INT
	# A test knows where its programs run, unless it sets BALANCE.
	[ -n "${BALANCE:-}" ] || set -- --no-balance "$@"
	p up -n "$n" "$@" || fail "the cluster does not come up"
}

cluster_down() {
	local status=$?
	trap - EXIT
	if [ -d "$CLUSTER_DIR" ]; then
		if [ $status != 0 ]; then
			for log in "$CLUSTER_DIR"/*/log/*.log; do
				[ -s "$log" ] && echo "--- ${log#"$CLUSTER_DIR"/}" && tail -n 25 "$log"
			done
		fi
		p down --purge >/dev/null || status=1
	fi
	[ $status = 0 ] || exit $status
}

# The host's pids of a node's daemon, and of a tenant's guest kernel and pando-init on a node.
pandod_pid() { # node
	pgrep -f "pandod node --dir $CLUSTER_DIR --node $1 "
}

first_of() { # node tenant group
	local group
	group=$(find /sys/fs/cgroup -type d -path "*/pando-$(basename "$CLUSTER_DIR")-*/$1/$2/$3" | head -n 1)
	[ -n "$group" ] && head -n 1 "$group/cgroup.procs"
}

kernel_pid() { first_of "$1" "$2" kernel; }
init_pid() { first_of "$1" "$2" init; }

# The host's pid of a pid of alice's on a node, process or stub.
host_pid() { # node pid
	local procs q
	find /sys/fs/cgroup -path "*/pando-$(basename "$CLUSTER_DIR")-*/$1/alice/guests/*" -name cgroup.procs 2>/dev/null |
		while read -r procs; do
			while read -r q; do
				[ "$(awk '/^NSpid/ { print $NF }' "/proc/$q/status" 2>/dev/null)" = "$2" ] && echo "$q"
			done <"$procs"
		done | head -n 1
}
