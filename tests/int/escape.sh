#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest tries to leave its sandbox in every way that tests/guest/escape.c knows, under the real pando-init,
# pando-kernel and filter; once more with a filter that allows everything; and on a cluster of two nodes, where
# more calls are decided by the guest kernel. Prints which wall stopped what. Fails if anything got out but without
# the filter.
set -eu
dir=$PANDO_TEST_DIR
name=pando-escape-$(basename "$dir")
mkdir -p "$dir/home/bin" "$dir/out" "$dir/bare"
cp "$B/guest/escape" "$dir/home/bin/"

# What a guest must not reach: a port and an abstract socket of the host. They live as long as fd 9.
mkfifo "$dir/host.in" "$dir/host.out"
python3 -c '
import socket, sys
t = socket.socket(); t.bind(("127.0.0.1", 0)); t.listen()
u = socket.socket(socket.AF_UNIX); u.bind("\0" + sys.argv[1]); u.listen()
print(t.getsockname()[1], flush=True)
sys.stdin.read()
' "$name" <"$dir/host.in" >"$dir/host.out" &
exec 9>"$dir/host.in"
read -r port <"$dir/host.out"
echo "$port $name" >"$dir/home/escape.args"
(exec 3<>"/dev/tcp/127.0.0.1/$port") # the host itself reaches it

"$B/int/guest_pod" "$dir/out" escape
POD_FILTER=allow "$B/int/guest_pod" "$dir/bare" escape

. tests/lib/cluster.sh
cluster_up 2
p tenant add alice >/dev/null || fail "cannot add alice"
tar c -C "$dir/home" bin/escape escape.args | as_on n2 alice tar x
as_on n1 alice bin/escape >"$dir/two.out" || fail "on two nodes: $(grep -E 'ESCAPED|    |: tests' "$dir/two.out")"
grep -q ' 0 escaped$' "$dir/two.out" || fail "on two nodes it did not come to its end"
cluster_down
exec 9>&-
wait

printf '%-20s %-20s %s\n' attempt 'with the filter' 'without it'
while IFS=: read -r what how; do
	bare=$(sed -n "s/^$what: //p" "$dir/bare/escape.out")
	printf '%-20s %-20s %s\n' "$what" "${how# }" "${bare:-?}"
done < <(grep ': ' "$dir/out/escape.out")
tail -n 1 "$dir/out/escape.out"
tail -n 1 "$dir/bare/escape.out" | sed 's/$/ (without the filter)/'
[ "$(grep -c ': ' "$dir/out/escape.out")" -ge 40 ]
[ "$(cat "$dir/out/escape.status")" = "exit 0" ]
! grep -q ESCAPED "$dir/out/escape.out"
