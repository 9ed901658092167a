#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The control socket in a tenant's sessions: its guest kernel reads it, never pandod. Every route that a tenant has, refusals, and
# clients that ask while either daemon is killed: an answer or a closed connection, and the next one works.
. tests/lib/cluster.sh
cluster_up 2 >/dev/null
work=$PANDO_TEST_DIR
p tenant add alice >/dev/null && p tenant add bob >/dev/null || fail "tenant add"
inside() { as_on n1 alice curl -sS --max-time 30 --unix-socket /run/pando/control.sock "$@"; }

# A login for which there is no room says so by a status of its own, after the patience of a loan.
p tenant add dan --procs 1 >/dev/null && as_on n1 dan true || fail "login of dan"
"$BIN/pando" login -T --node n2 dan -- true >"$work/no_room" 2>&1 &
no_room=$!

# ---- who reads it ----
spawn_as alice curl -sSN --unix-socket /run/pando/control.sock 'http://pando/v1/events?follow=1' >"$work/follow"
follower=$SPAWNED
wait_for 20 grep -q '"kind":"kernel.ready"' "$work/follow" || fail "who follows sees nothing: $(cat "$work/follow")"
# A connection is of its caller's network namespace, the listening socket of pandod's.
holders() { # pid: how many of the sockets at that path are its
	local inode n=0 q
	for q in "$(pandod_pid n1)" $(pgrep -x curl); do cat "/proc/$q/net/unix" 2>/dev/null; done |
		awk 'index($NF, "'"$CLUSTER_DIR"'/n1/run/t/alice/api/") { print $7 }' | sort -u >"$work/inodes"
	while read -r inode; do
		find "/proc/$1/fd" -lname "socket:\[$inode\]" 2>/dev/null | grep -q . && n=$((n + 1))
	done <"$work/inodes"
	echo $n
}
[ "$(holders "$(pandod_pid n1)")" = 0 ] || fail "pandod holds the tenant's socket"
[ "$(holders "$(kernel_pid n1 alice)")" -ge 2 ] || fail "the guest kernel does not serve it"
p tenant set alice cpus=2 >/dev/null || fail "tenant set"
wait_for 20 grep -q '"kind":"tenant.changed".*alice' "$work/follow" || fail "who follows is not told: $(cat "$work/follow")"

# ---- every route of a tenant ----
curl -sS --unix-socket "$CLUSTER_DIR/n1/run/control.sock" http://pando/v1/openapi.json >"$work/openapi" || fail "openapi"
inside http://pando/v1/openapi.json | cmp - "$work/openapi" || fail "another description inside"
cat >"$work/inside.py" <<'PY'
import http.client, json, os, socket, subprocess, sys, time

class Pando(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect("/run/pando/control.sock")

def ask(method, path, body=None):
    c = Pando("pando")
    try:
        c.request(method, path, json.dumps(body) if body is not None else None)
        r = c.getresponse()
        text = r.read().decode()
        if r.headers["Content-Type"] == "application/jsonl":
            return r.status, [json.loads(l) for l in text.splitlines()]
        return r.status, json.loads(text)
    finally:
        c.close()

def expect(status, method, path, body=None):
    got, answer = ask(method, path, body)
    assert got == status, (method, path, got, answer)
    if status >= 400:
        assert answer["status"] == status and answer["detail"], answer
    return answer

def routes():
    me = os.getpid()
    assert {n["name"] for n in expect(200, "GET", "/v1/nodes")["nodes"]} == {"n1", "n2"}
    assert [q["tenant"] for q in expect(200, "GET", "/v1/quota?tenant=alice")["quota"]] == ["alice"]
    # Others are none of hers, be there such a one or not: the same words.
    words = set()
    for other in ("bob", "bbo", "nobody", "x" * 40, "%zz"):
        for path in ("quota", "usage", "processes", f"processes/{me}/why"):
            words.add(expect(403, "GET", f"/v1/{path}?tenant={other}")["detail"])
        words.add(expect(403, "POST", f"/v1/processes/{me}/migrate", {"node": "n2", "tenant": other})["detail"])
    assert words == {"only the machine's operator may see other tenants"}, words
    assert {u["tenant"] for u in expect(200, "GET", "/v1/usage?since=60")["usage"]} <= {"alice"}
    assert me in [q["pid"] for q in expect(200, "GET", "/v1/processes")["processes"]]
    assert expect(200, "GET", f"/v1/processes/{me}/why")["node"] == "n1"
    assert expect(200, "GET", "/v1/tenants/-/sessions") == expect(200, "GET", "/v1/tenants/alice/sessions")
    events = expect(200, "GET", "/v1/events")
    assert not [e for e in events if e.get("tenant") not in (None, "alice")], events
    assert expect(200, "GET", "/v1/events?since=" + events[-2]["cursor"])[0] == events[-1]
    child = subprocess.Popen(["sleep", "300"])
    assert expect(200, "POST", f"/v1/processes/{child.pid}/migrate", {"node": "n2"})["node"] == "n2"
    child.kill()
    child.wait()
    # A long answer.
    many = [subprocess.Popen(["sh", "-c", "read x; : " + "y" * 200], stdin=subprocess.PIPE) for _ in range(150)]
    time_out = time.monotonic() + 30
    while len(expect(200, "GET", "/v1/processes")["processes"]) < 150:
        assert time.monotonic() < time_out
    for q in many:
        q.communicate()
    # Who hangs up leaves his place to others: there are eight to follow from.
    for _ in range(30):
        c = Pando("pando")
        c.request("GET", "/v1/events?follow=1")
        r = c.getresponse()
        assert r.status == 200 and json.loads(r.readline())["cursor"], r.status
        c.close()
    # What is no tenant's, or nobody's.
    for method, path in ("GET", "/v1/tenants"), ("GET", "/metrics"), ("GET", "/v1/tenants/bob/sessions"), ("POST", "/v1/node/leave"), \
            ("DELETE", "/v1/tenants/alice"), ("GET", "/v1/status"), ("POST", "/v1/debug/fault"):
        expect(403, method, path)
    for path in "/v1/processes/x/why", "/v1/processes/0/why", "/v1/processes/99999999/why", "/v1/usage?since=-1", "/v1/events?since=x-1":
        expect(400, "GET", path)
    expect(400, "POST", f"/v1/processes/{me}/migrate", {})
    expect(400, "POST", f"/v1/processes/{me}/migrate", {"node": "n" * 100})
    expect(404, "POST", f"/v1/processes/{me}/migrate", {"node": "n9"})
    expect(404, "GET", "/v1/processes/4000000/why")
    expect(404, "GET", "/v1/nothing")
    expect(405, "PUT", "/v1/nodes")
    expect(400, "POST", "/v1/tenants/-/sessions/1/attach", {"client": 1, "rows": 0, "cols": 80})
    expect(404, "POST", "/v1/tenants/-/sessions/1/attach", {"client": 1, "rows": 24, "cols": 80})
    expect(410, "GET", "/v1/events?since=1-1")

# Asks until the file is there; how each question ended.
def storm(stop):
    ended = {"answers": 0, "closed": 0, "away": 0}
    paths = "/v1/nodes", "/v1/processes", "/v1/quota", "/v1/events", "/v1/tenants/-/sessions"
    while not os.path.exists(stop):
        try:
            status, answer = ask("GET", paths[sum(ended.values()) % len(paths)])
            assert status in (200, 503), (status, answer)
            ended["answers" if status == 200 else "away"] += 1
        except (ConnectionError, http.client.HTTPException):
            ended["closed"] += 1
    expect(200, "GET", "/v1/nodes")
    print(json.dumps(ended))

if sys.argv[1] == "storm":
    storm(sys.argv[2])
else:
    routes()
PY
as_on n1 alice sh -c 'cat >inside.py' <"$work/inside.py" || fail "cat"
as_on n1 alice python3 inside.py routes || fail "a route"
inside -d '{"a":1,"a":2}' http://pando/v1/processes/1/migrate | grep -q '"status":400' || fail "a key twice"

for verb in 'ps bob' 'ps nobody' 'quota bob' 'usage bob' 'why --tenant bob 1' 'migrate --tenant bob 1 n2' 'ps allice'; do
	# shellcheck disable=SC2086
	as_on n1 alice pando $verb >"$work/theirs" 2>&1
	[ $? = 5 ] && grep -q "only the machine's operator may see other tenants" "$work/theirs" && ! grep -q "did you mean" "$work/theirs" ||
		fail "pando $verb: $(cat "$work/theirs")"
done
[ "$(as_on n1 alice pando status 2>&1; echo $?)" = "pando: cannot tell the status: only the machine's operator may; try: pando nodes
5" ] || fail "pando status inside"
[ "$(as_on n1 alice pando tenant ls 2>&1; echo $?)" = "pando: cannot list tenants: only the machine's operator may
5" ] || fail "pando tenant ls inside"
as_on n1 alice pando ps alice | grep -q 'pando ps alice' || fail "alice does not see what is hers"

# ---- why a program was not executed on another node: `on` prints it, its shell's `why` has it ----
as_on n1 alice sh -c 'cat >orphan.py' <<'PY' || fail "cat"
import ctypes, errno, os, time
# An orphan whose session was begun by a child of somebody who lives.
r, w = os.pipe()
leader = os.fork()
if leader == 0:
    os.setsid()
    if os.fork() > 0:
        os.wait()
        time.sleep(1000)
    if os.fork() > 0:
        os._exit(0)
    while os.getppid() != 1:
        time.sleep(0.01)
    code = 0
    if ctypes.CDLL(None).syscall(0x5511, b"n2") == 0:  # kernel/kernel.h: KERNEL_SYS_ON
        try:
            os.execv("/bin/true", ["true"])
        except OSError as e:
            code = e.errno
    os.write(w, b"EOPNOTSUPP" if code == errno.EOPNOTSUPP else str(code).encode())
    os._exit(0)
os.close(w)
print(os.read(r, 100).decode())
os.kill(leader, 9)
PY
[ "$(as_on n1 alice python3 orphan.py)" = EOPNOTSUPP ] || fail "an orphan is refused with $(as_on n1 alice python3 orphan.py)"
as_on n1 alice bash -c '
	setpriv --no-new-privs on n2 true; echo status $?
	setpriv --no-new-privs on n2 /bin/true
	on n2 /proc/self/maps
	on n2 nosuchprogram
	setsid sh -c "(on n2 true &) 2>&1 | cat"
	pando why $$; echo shell $$' >"$work/refused" 2>&1 || fail "refused: $(cat "$work/refused")"
shell=$(sed -n 's/^shell //p' "$work/refused")
for line in "pando: cannot run true on n2: it has given up new privileges (no_new_privs); try: pando why $shell" "status 126" \
	"pando: cannot run /proc/self/maps on n2: it executes a file that has no name on other nodes; try: pando why $shell" \
	"pando: cannot run nosuchprogram: No such file or directory" \
	"pando: cannot run true on n2: it, or a relative of it, is an orphan in a session; try: setsid on n2 true"; do
	grep -qxF "$line" "$work/refused" || fail "no line '$line': $(cat "$work/refused")"
done
grep -q "ago its child's exec on n2 failed with EOPNOTSUPP: it has given up new privileges (no_new_privs) (2 times)$" "$work/refused" &&
	grep -q "ago its child's exec on n2 failed with EOPNOTSUPP: it executes a file that has no name on other nodes$" "$work/refused" ||
	fail "why: $(cat "$work/refused")"
grep -q "child's exec.*nosuch\|ENOENT" "$work/refused" && fail "what is not there was refused: $(cat "$work/refused")"

wait $no_room
code=$?
[ $code = 6 ] && grep -qx "pando: cannot log in as dan: its processes are all lent and in use, most of it at n1; try: pando quota dan" "$work/no_room" ||
	fail "a login without room ends with $code: $(cat "$work/no_room")"

# ---- no process is listed twice while programs go elsewhere, or do not, and stubs come and go ----
as_on n1 alice sh -c 'until [ -e looked ]; do setsid sh -c "(on n2 true &) | cat" 2>/dev/null; (on n2 true &); on n2 true; done' >/dev/null 2>&1 &
goers=$!
for i in $(seq 60); do
	p ps alice -o csv | tail -n +2 >"$work/listed"
	twice=$(cut -d, -f2 "$work/listed" | sort | uniq -d)
	[ -z "$twice" ] || break
done
as_on n1 alice touch looked || fail "touch"
wait $goers || fail "the goers"
[ -z "$twice" ] || fail "twice: $twice in $(cat "$work/listed")"

# ---- daemons die meanwhile ----
as_on n1 alice python3 inside.py storm stop >"$work/storm" 2>"$work/storm.err" &
storm=$!
for i in 1 2 3 4 5 6; do
	old=$(kernel_pid n1 alice)
	kill -9 "$old"
	other() { [ -n "$(kernel_pid n1 alice)" ] && [ "$(kernel_pid n1 alice)" != "$old" ]; }
	wait_for 20 other || fail "no other guest kernel"
	inside http://pando/v1/nodes >"$work/nodes" || fail "after death $i: $(cat "$work/nodes")"
	grep -q '"name":"n2"' "$work/nodes" || fail "after death $i: $(cat "$work/nodes")"
done
for i in 1 2; do
	kill -9 "$(pandod_pid n1)"
	wait_for 30 sh -c "'$BIN/pando' --dir '$CLUSTER_DIR' --node n1 nodes >/dev/null 2>&1" || fail "no other pandod"
	inside http://pando/v1/nodes >"$work/nodes" || fail "after pandod's death: $(cat "$work/nodes")"
	grep -q '"name":"n2"' "$work/nodes" || fail "after pandod's death: $(cat "$work/nodes")"
done
[ "$(holders "$(pandod_pid n1)")" = 0 ] || fail "a new pandod holds the tenant's socket"
as_on n1 alice touch stop || fail "touch"
wait $storm || fail "the storm: $(cat "$work/storm.err")"
cat "$work/storm"
python3 -c 'import json, sys; e = json.load(open(sys.argv[1])); sys.exit(e["answers"] < 20)' "$work/storm" || fail "few answers: $(cat "$work/storm")"

# ---- and pando itself, its streams and lines ----
as_on n1 alice pando nodes -o csv | grep -q '^n2,' || fail "pando nodes inside"
# A pandod that has just begun has not heard of the others yet.
heard() { as_on n1 alice pando nodes -o csv | grep -q '^n2,[0-9]*,alive,'; }
wait_for 20 heard || fail "n2 is not alive for n1: $(p nodes)"
as_on n1 alice sh -c 'pando why $$ && pando migrate $$ n2 && pando ps' >"$work/moved" 2>&1 || fail "a shell moves itself: $(cat "$work/moved")"
grep -q 'runs on n2; it stood still' "$work/moved" || fail "a shell moves itself: $(cat "$work/moved")"
kill $follower 2>/dev/null
wait $follower 2>/dev/null
exit 0
