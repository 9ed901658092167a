#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The control API: a null call against an echo over a unix socket by the same client, and how long after a change of the
# tables who follows the events of another node knows of it, against how long the change itself takes.
set -eu
. tests/lib/cluster.sh
cluster_up 3 >/dev/null
p tenant add alice >/dev/null
python3 - "$CLUSTER_DIR" "$PANDO_TEST_DIR/echo" <<'PY'
import json, os, socket, sys, time

cluster, echo_path = sys.argv[1:]
N = 2000


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s


def node(n):
    return connect(f"{cluster}/{n}/run/control.sock")


def call(s, head, body=b""):
    """One answer with a length, in as few reads as it takes."""
    s.sendall(head + body)
    got = b""
    while True:
        got += s.recv(65536)
        end = got.find(b"\r\n\r\n")
        if end >= 0:
            lines = dict(x.split(b": ", 1) for x in got[:end].lower().split(b"\r\n")[1:])
            if len(got) >= end + 4 + int(lines.get(b"content-length", b"0")):
                return got[:end].split()[1], got[end + 4:]


def median(fn):
    v = []
    for _ in range(N):
        t = time.perf_counter()
        fn()
        v.append(time.perf_counter() - t)
    return sorted(v)[N // 2] * 1e6


# The null call: one that only reads, over a connection that stays.
null = b"GET /v1/node HTTP/1.1\r\nHost: pando\r\n\r\n"
api = node("n1")
status, answer = call(api, null)
assert status == b"200", status
listener = socket.socket(socket.AF_UNIX)
listener.bind(echo_path)
listener.listen()
pid = os.fork()
if pid == 0:
    s = listener.accept()[0]
    while s.recv(65536):
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
    os._exit(0)
echo = connect(echo_path)
for _ in range(2):  # the second time all is warm
    ours, ref = median(lambda: call(api, null)), median(lambda: call(echo, null))
echo.close()
os.waitpid(pid, 0)
print(f"row api_null_call us {ours:.1f} {ref:.1f} {ours / ref:.2f} <=2.00 {'ok' if ours <= 2 * ref else 'over'}")

# An event: a change through n1 is a line for who follows on n2.
follow = node("n2")
follow.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: pando\r\n\r\n")
follow.setblocking(False)
time.sleep(0.5)


def drained():
    got = b""
    try:
        while chunk := follow.recv(65536):
            got += chunk
    except BlockingIOError:
        pass
    return got


drained()
late, took = [], []
for i in range(100):
    body = json.dumps({"procs": 300 + i}).encode()
    t = time.perf_counter()
    status, text = call(api, b"POST /v1/tenants/alice/limits HTTP/1.1\r\nHost: pando\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n" % len(body), body)
    assert status == b"200", (status, text)
    took.append(time.perf_counter() - t)
    follow.setblocking(True)
    follow.settimeout(5)
    got = b""
    while b"tenant.changed" not in got:
        got += follow.recv(65536)
    late.append(time.perf_counter() - t)
    follow.setblocking(False)
    time.sleep(0.02)
    drained()
ours, ref = sorted(late)[50] * 1e3, sorted(took)[50] * 1e3
print(f"row event_on_another_node ms {ours:.2f} {ref:.2f} {ours / ref:.2f} <=2.00 {'ok' if ours <= 2 * ref else 'over'}")
PY
