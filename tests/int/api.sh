#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The control API with curl: the example of every route in its own description, refusals, events, metrics.
. tests/lib/cluster.sh
cluster_up 2 >/dev/null
export SOCK=$CLUSTER_DIR/n1/run/control.sock
work=$PANDO_TEST_DIR
api() { curl -sS --max-time 20 --unix-socket "$SOCK" "$@"; }

# ---- the description, and its examples as a reader would paste them ----
api http://pando/v1/openapi.json >"$work/openapi" || fail "no description"
# A tenant's world on n1 keeps the example of leaving from doing what it says.
p tenant add keeper >/dev/null || fail "tenant add"
as keeper true || fail "login"
python3 - "$work/openapi" <<'PY' || fail "an example does not work"
import json, subprocess, os, sys, re
sock = os.environ["SOCK"]
doc = json.load(open(sys.argv[1]))
assert doc["openapi"].startswith("3.1")
assert doc["components"]["schemas"]["Problem"]["required"] == ["title", "status", "detail"]

def curl(args, env, more=""):
    cmd = "curl -sS --max-time 20 -w '\\n%{http_code} %{content_type}' --unix-socket " + sock + " " + more + args
    r = subprocess.run(["bash", "-c", cmd], capture_output=True, text=True, env=dict(os.environ, **env))
    assert r.returncode == 0, (args, r.stderr)
    body, _, tail = r.stdout.rpartition("\n")
    code, _, kind = tail.partition(" ")
    return int(code), kind, body

# What can only be refused here, on a node that is a member and whose one caller waits for his session.
refused = {("/v1/node/bootstrap", "post"): 409, ("/v1/node/join", "post"): 409, ("/v1/node/leave", "post"): 409,
           ("/v1/tenants/{name}/sessions/{id}", "get"): 409, ("/v1/tenants/{name}/sessions/{id}/attach", "post"): 404}
env = {}
sleeper = None
count = 0
for path, item in doc["paths"].items():
    for method, op in item.items():
        assert op["summary"].endswith("."), path
        for name in re.findall(r"\{(\w+)\}", path):
            assert any(q["name"] == name and q["in"] == "path" for q in op["parameters"]), (path, name)
        codes = [c for c in op["responses"] if c != "default"]
        want = refused.get((path, method), int(codes[0]))
        if sleeper is None and "{id}" in path:
            env["SESSION"] = "4712"
            sleeper = subprocess.Popen(["curl", "-sSN", "--unix-socket", sock, "-d",
                '{"session":4712,"argv":["/bin/sh","-c","trap : TERM; while :; do sleep 0.2; done"]}',
                "http://pando/v1/tenants/carol/sessions"], stdout=subprocess.PIPE, text=True)
            env["PID"] = str(json.loads(sleeper.stdout.readline())["pid"])
        code, kind, body = curl(op["x-curl"], env)
        assert code == want, (path, method, code, body)
        if code >= 400:
            problem = json.loads(body)
            assert kind == "application/problem+json" and problem["status"] == code and problem["detail"], body
        elif kind == "application/json":
            answer = json.loads(body)
            if path.endswith("/keys") and method == "get":
                import base64
                assert len(answer["keys"]) == 1, answer
                fp = answer["keys"][0]["fingerprint"].removeprefix("SHA256:")
                env["KEY"] = base64.b64decode(fp + "=" * (-len(fp) % 4)).hex()
        elif "jsonl" in kind:
            [json.loads(l) for l in body.splitlines() if l]
        count += 1
sleeper.wait(20)
assert count >= 25, count
print(count, "examples")
PY

# ---- who may what ----
p tenant add alice >/dev/null || fail "tenant add"
inside() { as alice curl -sS --max-time 20 --unix-socket /run/pando/control.sock "$@"; }
inside http://pando/v1/nodes | grep -q '"name":"n2"' || fail "a tenant does not see the nodes"
inside -X DELETE http://pando/v1/tenants/alice | grep -q '"status":403' || fail "a tenant may remove tenants"
inside http://pando/metrics | grep -q '"status":403' || fail "a tenant may read the node's figures"

# ---- strict reading ----
raw() { printf "$1" | timeout 10 python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR)
sys.stdout.write(s.recv(65536).decode())' "$SOCK" | head -n 1 | tr -d '\r'; }
[ "$(raw 'GET /v1/node HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n')" = "HTTP/1.1 400 Bad Request" ] || fail "two lengths"
[ "$(raw 'GET /v1/node HTTP/1.1\nHost: x\n\n')" = "HTTP/1.1 400 Bad Request" ] || fail "bare LF"
[ "$(raw "GET /v1/node HTTP/1.1\r\nHost: x\r\nX: $(head -c 9000 /dev/zero | tr '\0' y)\r\n\r\n")" = "HTTP/1.1 413 Content Too Large" ] || fail "a head of 9 KB"
[ "$(raw 'PUT /v1/node HTTP/1.1\r\nHost: x\r\n\r\n')" = "HTTP/1.1 405 Method Not Allowed" ] || fail "PUT"

# What a path has is said with the refusal of what it has not: as the description has it, here and inside.
python3 - "$work/openapi" >"$work/methods" <<'PY'
import json, re, sys
for path, item in json.load(open(sys.argv[1]))["paths"].items():
    has = {m.upper() for m in item}
    print(next(m for m in ("PUT", "DELETE", "POST") if m not in has), re.sub(r"\{\w+\}", "x", path), ",".join(sorted(has)))
PY
[ "$(wc -l <"$work/methods")" -ge 25 ] && grep -q ' GET,POST$' "$work/methods" || fail "few paths: $(cat "$work/methods")"
allowed() {
	tr -d '\r' >"$work/answer.head"
	echo "$(awk '/^HTTP/ { print $2 }' "$work/answer.head") $(sed -n 's/^Allow: //p' "$work/answer.head" | tr -d ' ' | tr , '\n' | sort | paste -sd,)"
}
while read -r method path has; do
	[ "$(api -o /dev/null -D - -X "$method" "http://pando$path" | allowed)" = "405 $has" ] || fail "$method $path: not 405 $has"
done <"$work/methods"
[ "$(api -o /dev/null -D - -X PUT http://pando/v1/nothing | allowed)" = "404 " ] || fail "a path that there is not has methods"
[ "$(inside -o /dev/null -D - -X PUT http://pando/v1/tenants/-/sessions | allowed)" = "405 GET,POST" ] || fail "inside: no Allow"
[ "$(api -o /dev/null -D - http://pando/v1/node | allowed)" = "200 " ] || fail "an Allow where nothing is refused"

# A limit with a typo in it would be none.
while read -r body text; do
	[ "$(api -o "$work/answer" -w '%{http_code}' -d "$body" http://pando/v1/tenants)" = 400 ] || fail "$body is taken: $(cat "$work/answer")"
	grep -qF "$text" "$work/answer" || fail "$body: $(cat "$work/answer")"
done <<'BODIES'
{"name":"eve","procs":"60"} 'procs' is no integer
{"name":"eve","procs":6.5} 'procs' is no integer
{"name":"eve","procs":-1} 'procs' is no integer from 0 on
{"name":"eve","proc":60} the body has a member 'proc', which means nothing here
{"name":"eve","procs":5000000000} a limit is no amount
{"name":["eve"]} 'name' is no string
{"procs":60} the body has no member 'name'
[] the body is not a JSON object
BODIES
p tenant ls | grep -q '^eve' && fail "a tenant comes of a body that was refused"

# ---- events ----
api 'http://pando/v1/events' >"$work/events" || fail "events"
grep -q '"kind":"kernel.ready"' "$work/events" || fail "no event of a kernel: $(cat "$work/events")"
cursor=$(tail -n 1 "$work/events" | sed -E 's/.*"cursor":"([^"]+)".*/\1/')
api -N "http://pando/v1/events?since=$cursor&follow=1" >"$work/follow" &
follower=$!
p tenant add dave >/dev/null || fail "tenant add"
wait_for 10 grep -q '"tenant":"dave"' "$work/follow" || fail "who follows is not told"
kill -9 "$(kernel_pid n1 alice)"
wait_for 10 grep -q '"kind":"kernel.died"' "$work/follow" || fail "a kernel's death is no event"
kill $follower
wait $follower 2>/dev/null
grep -qF "\"cursor\":\"$cursor\"" "$work/follow" && fail "the event of the cursor comes again"
as alice curl -sS --unix-socket /run/pando/control.sock http://pando/v1/events | grep -q dave && fail "alice sees events of dave"
[ "$(p events --since "$cursor" --json | head -n 1 | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())["kind"])')" = tenant.changed ] || fail "pando events"
p events --since 12-99999999 2>&1 | grep -q "pando: cannot list events: the cursor is of a daemon that has ended.*; try: pando events" || fail "an old life's cursor"
p events --since xyz 2>&1 | grep -q "is no cursor" || fail "a malformed cursor"

# ---- metrics ----
api -D "$work/head" http://pando/metrics >"$work/metrics" || fail "metrics"
grep -qi '^content-type: application/openmetrics-text; version=1.0.0; charset=utf-8' "$work/head" || fail "media type"
python3 - "$work/metrics" <<'PY' || fail "the metrics are not OpenMetrics"
import re, sys
lines = open(sys.argv[1]).read().split("\n")
assert lines[-1] == "" and lines[-2] == "# EOF"
families, seen = {}, set()
for l in lines[:-2]:
    m = re.fullmatch(r"# (TYPE|HELP) (\S+) (.+)", l)
    if m:
        if m[1] == "TYPE":
            assert m[2] not in families and m[3] in ("gauge", "counter"), l
            families[m[2]] = m[3]
            name = m[2]
        continue
    m = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[a-z0-9_-]+"\})? (-?[0-9.e+]+)', l)
    assert m and m[1] == name + ("_total" if families[name] == "counter" else ""), l
    assert (m[1], m[2]) not in seen, l
    seen.add((m[1], m[2]))
assert ("pando_node_up", '{node="n2"}') in seen and len(families) >= 15
PY
exit 0
