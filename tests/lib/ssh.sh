# SPDX-License-Identifier: Apache-2.0
# ssh.sh - the stock client against the gates of a cluster made by cluster.sh. Sourced behind it.
#
#	ssh_key NAME [TENANT]        makes a key $SSH_DIR/NAME; lets it log in TENANT
#	ssh_port n1                  where that node listens
#	with alice n1 CMD...         runs `ssh ... alice@gate CMD` with the key of that name
# shellcheck shell=bash
SSH_DIR=$PANDO_TEST_DIR/ssh
mkdir -p "$SSH_DIR"
SSH_OPTS=(-F none -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=20
	-o UserKnownHostsFile="$SSH_DIR/known_hosts" -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR)

ssh_key() { # name [tenant]
	[ -f "$SSH_DIR/$1" ] || ssh-keygen -q -t ed25519 -N '' -C "$1@test" -f "$SSH_DIR/$1" || fail "ssh-keygen"
	[ $# = 1 ] || p tenant key add "$2" "$SSH_DIR/$1.pub" >/dev/null || fail "tenant key add"
}

ssh_port() { # node; asked once, so that its daemon may be away later
	[ -s "$SSH_DIR/port.$1" ] ||
		p --node "$1" status --json |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["ssh"].rpartition(":")[2])' >"$SSH_DIR/port.$1"
	cat "$SSH_DIR/port.$1"
}

with() { # tenant node [words of ssh]
	local tenant=$1 port
	port=$(ssh_port "$2")
	shift 2
	ssh "${SSH_OPTS[@]}" -i "$SSH_DIR/$tenant" -p "$port" "$tenant@127.0.0.1" "$@"
}

# The host's pid of a node's listening sshd.
sshd_pid() { # node
	local group
	group=$(find /sys/fs/cgroup -type d -path "*/pando-$(basename "$CLUSTER_DIR")-*/$1/SSH" | head -n 1)
	[ -n "$group" ] && sort -n "$group/cgroup.procs" | head -n 1
}
