#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One port space: clients and servers on different nodes, TCP and unix sockets, and who may bind what.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
as_on n1 alice true || fail "login"
home=$CLUSTER_DIR/vol/alice/home

cat >"$home/serve.py" <<'END'
# serve.py KIND NAME TAG: answers each line in capitals, the end with TAG, the bytes that came, and the client's uid
import os, socket, struct, sys, threading
kind, name, tag = sys.argv[1:4]
s = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier one linger
s.bind(name.replace("@", "\0") if kind == "unix" else ("127.0.0.1", int(name)))
s.listen(64)
open(tag + ".ready", "w").close()
def serve(c):
    uid = struct.unpack("3i", c.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] if kind == "unix" else 1000
    n = 0
    while d := c.recv(65536):
        n += len(d)
        if n < 100: c.sendall(d.upper())
    c.sendall(b"%s %d %d" % (tag.encode(), n, uid))
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
END
cat >"$home/ask.py" <<'END'
# ask.py [KIND NAME BYTES]...: one connection each, all open at once
import errno, select, socket, sys
def connect(kind, name):
    s = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    if kind == "later":
        s.setblocking(False)
        if s.connect_ex(("127.0.0.1", int(name))) not in (0, errno.EINPROGRESS): raise OSError("at once")
        select.select([], [s], [])
        if e := s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR): raise OSError(e, "later")
        s.setblocking(True)
    else:
        s.connect(name.replace("@", "\0") if kind == "unix" else ("127.0.0.1", int(name)))
    return s
a = sys.argv[1:]
try:
    open_ = [(connect(a[i], a[i + 1]), a[i], a[i + 1], int(a[i + 2])) for i in range(0, len(a), 3)]
    for s, kind, name, n in open_:
        if kind != "unix" and (s.getpeername() != ("127.0.0.1", int(name)) or s.getsockname()[0] != "127.0.0.1"):
            raise OSError("names")
        s.sendall(b"hello")
        if s.recv(5) != b"HELLO": raise OSError("no answer")
    for s, kind, name, n in open_:
        s.sendall(b"x" * n)
        s.shutdown(socket.SHUT_WR)
        out = b""
        while d := s.recv(65536): out += d
        print(out.lstrip(b"X").decode(), end=" ")
except OSError as e:
    print(errno.errorcode.get(e.errno, e), end="")
END

servers=
serve() { # node kind name tag
	rm -f "$home/$4.ready"
	spawn_as alice on "$1" python3 serve.py "$2" "$3" "$4"
	servers+=" $SPAWNED"
	wait_for 20 [ -e "$home/$4.ready" ] || fail "$4 does not serve"
}
ask() { # node wanted arguments...
	local node=$1 wanted=$2 got
	shift 2
	got=$(timeout -k 5 40 "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node "$node" alice -- python3 ask.py "$@" 2>&1)
	[ "${got% }" = "$wanted" ] || fail "$node asks $*: wanted '$wanted', got '$got'"
}

serve n2 tcp 8000 A
serve n3 unix "/home/alice/b.sock" B
serve n3 unix @abstract C
serve n1 tcp 8001 D

# ---- where the servers really are: each port is in one node's table alone ----
holders() { # file pattern
	local n pid
	for n in n1 n2 n3; do
		pid=$(head -n 1 "$(dirname "$(find /sys/fs/cgroup -type d -path "*/pando-$(basename "$CLUSTER_DIR")-*/$n/alice/kernel" | head -n 1)")/init/cgroup.procs")
		grep -q "$2" "/proc/$pid/net/$1" && echo -n "$n "
	done
}
[ "$(holders tcp '0100007F:1F40 .* 0A ')" = "n2 " ] || fail "port 8000 is held by '$(holders tcp '0100007F:1F40 .* 0A ')'"
[ "$(holders unix 'b.sock$')" = "n3 " ] || fail "b.sock is held by '$(holders unix 'b.sock$')'"

# ---- connections ----
for node in n1 n2 n3; do
	ask $node "A 15 1000 B 15 1000 C 15 1000 D 15 1000" tcp 8000 10 unix /home/alice/b.sock 10 unix @abstract 10 tcp 8001 10
done
ask n1 "A 5000005 1000" tcp 8000 5000000
ask n1 "B 5000005 1000" unix b.sock 5000000
ask n1 "A 15 1000" later 8000 10
# shellcheck disable=SC2046
ask n1 "$(for i in $(seq 20); do echo -n "A 6 1000 "; done | sed 's/ $//')" $(for i in $(seq 20); do echo tcp 8000 1; done)
for i in 1 2 3 4; do
	(ask n1 "A 6 1000 A 6 1000 A 6 1000" tcp 8000 1 tcp 8000 1 tcp 8000 1) &
	clients+=" $!"
done
for c in $clients; do wait "$c" || fail "clients at once"; done

# ---- refusals ----
ask n1 ECONNREFUSED tcp 8009 1
ask n1 ENOENT unix /home/alice/no.sock 1
[ "$(holders tcp ':1F40 .* 0A ')" = "n2 " ] || fail "a stand-in has stayed"

# ---- nodes that do not answer: `pando why` names them ----
cat >"$home/fails.py" <<'END'
import concurrent.futures, errno, socket, sys
def connect(name):
    try: socket.socket(socket.AF_UNIX if type(name) is str else socket.AF_INET).connect(name)
    except OSError as e: return errno.errorcode[e.errno]
print("up", flush=True)
sys.stdin.readline()
with concurrent.futures.ThreadPoolExecutor() as at_once:
    print(*at_once.map(connect, ["/home/alice/b.sock", "/home/alice/b.sock", ("127.0.0.1", 8009)]), flush=True)
sys.stdin.read()
END
mkfifo "$PANDO_TEST_DIR/stays" || fail "mkfifo"
"$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- python3 fails.py <"$PANDO_TEST_DIR/stays" >"$PANDO_TEST_DIR/fails" &
stays=$!
exec 9>"$PANDO_TEST_DIR/stays"
wait_for 20 grep -qs up "$PANDO_TEST_DIR/fails" || fail "the one that fails does not start"
silent="$(kernel_pid n2 alice) $(kernel_pid n3 alice)"
# shellcheck disable=SC2086
kill -STOP $silent
echo >&9
wait_for 20 grep -q ECONN "$PANDO_TEST_DIR/fails"
# shellcheck disable=SC2086
kill -CONT $silent
[ "$(tail -n 1 "$PANDO_TEST_DIR/fails")" = "EHOSTUNREACH EHOSTUNREACH ECONNREFUSED" ] || fail "n2, n3 are silent: $(cat "$PANDO_TEST_DIR/fails")"
pid=$(p ps alice -o csv | grep 'fails.py' | cut -d, -f2)
p why "$pid" >"$PANDO_TEST_DIR/why" || fail "why: $(cat "$PANDO_TEST_DIR/why")"
grep -q 'ago its connect to /home/alice/b.sock failed with EHOSTUNREACH: n2, n3 may hold it, and did not answer (2 times)$' "$PANDO_TEST_DIR/why" &&
	grep -q 'ago its connect to 127.0.0.1:8009 failed with ECONNREFUSED: n2, n3 may hold it, and did not answer$' "$PANDO_TEST_DIR/why" &&
	grep -q 'it can move' "$PANDO_TEST_DIR/why" || fail "why says: $(cat "$PANDO_TEST_DIR/why")"
p why "$pid" --json | python3 -c 'import json, sys
notes = sorted((n["times"], n["age_ns"], n["text"].split()[2]) for n in json.load(sys.stdin)["notes"])
assert [(n[0], n[2]) for n in notes] == [(1, "127.0.0.1:8009"), (2, "/home/alice/b.sock")] and 0 < notes[0][1] < 60e9, notes' || fail "why --json"
exec 9>&-
wait $stays || fail "the one that stays"

# ---- bind ----
cat >"$home/bind.py" <<'END'
import errno, socket, sys
def bind(family, type, name):
    try:
        s = socket.socket(family, type); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(name); s.listen() if type == socket.SOCK_STREAM else 0
        return "ok"
    except OSError as e: return errno.errorcode[e.errno]
I, U, S, D = socket.AF_INET, socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM
print(bind(I, S, ("127.0.0.1", 8000)), bind(I, S, ("", 8000)), bind(I, S, ("127.0.0.2", 8000)), bind(I, S, ("", 0)),
      bind(I, S, ("", 8002)), bind(I, D, ("127.0.0.1", 8000)), bind(U, S, "\0abstract"), bind(U, S, "b.sock"))
END
got=$(as_on n1 alice python3 bind.py)
[ "$got" = "EADDRINUSE EADDRINUSE ok ok ok ok EADDRINUSE EADDRINUSE" ] || fail "bind: $got"

# ---- a server's end, and a guest kernel's ----
# shellcheck disable=SC2086
kill -TERM $servers
# shellcheck disable=SC2086
wait $servers 2>/dev/null
# Their sessions are hung up; they themselves end when they hear of it.
gone() { [ -z "$(holders tcp ':1F40 .* 0A ')$(holders unix 'b.sock$')" ]; }
wait_for 30 gone || fail "the servers do not end"
ask n1 ECONNREFUSED tcp 8000 1
ask n1 ECONNREFUSED unix b.sock 1
# A bind elsewhere claims its port for a moment longer than it takes (docs/limits.md).
free() { [ "$(as_on n2 alice python3 -c 'import socket; s = socket.socket(); s.setsockopt(1, 2, 1); print(s.bind(("127.0.0.1", 8000)))' 2>/dev/null)" = None ]; }
wait_for 20 free || fail "port 8000 stays taken"
serve n2 tcp 8000 A
for node in n1 n2; do
	kill -9 "$(kernel_pid $node alice)"
	wait_for 20 as_on n1 alice on n2 true 2>/dev/null || fail "no successor on $node"
	ask n1 "A 15 1000" tcp 8000 10
done
kill "$SPAWNED"
wait "$SPAWNED" 2>/dev/null
exit 0
