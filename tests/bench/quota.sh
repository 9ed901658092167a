#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How long a node waits for a loan, beside a plain command of the tables in the same seconds: a limit comes and goes.
set -eu
. tests/lib/cluster.sh
cluster_up 3 >/dev/null
p tenant add alice --procs 400 >/dev/null
for n in n1 n2 n3; do as_on $n alice true; done

python3 - "$CLUSTER_DIR" <<'PY'
import http.client, json, socket, sys, time

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host_path)

def ask(node, method, path, body=None):
    c = Unix("pando")
    c.host_path = f"{sys.argv[1]}/{node}/run/control.sock"
    c.request(method, path, json.dumps(body) if body else None)
    r = c.getresponse()
    return r.read().decode()

def loans():
    n = s = 0
    for node in ("n1", "n2", "n3"):
        for line in ask(node, "GET", "/metrics").splitlines():
            if line.startswith("pando_loan_answers_total "): n += float(line.split()[1])
            if line.startswith("pando_loan_answer_seconds_total "): s += float(line.split()[1])
    return n, s

n0, s0 = loans()
plain = []
for i in range(40):
    t = time.monotonic()
    ask("n1", "POST", "/v1/tenants/alice/limits", {"procs": 300 if i % 2 else 0})
    plain.append(time.monotonic() - t)
    time.sleep(0.3)
n, s = loans()
ours, ref = (s - s0) / max(n - n0, 1) * 1e3, sorted(plain)[len(plain) // 2] * 1e3
ratio = ours / ref
print(f"row a_loan_from_the_ledger ms {ours:.3f} {ref:.3f} {ratio:.2f} <=2.00 {'ok' if ratio <= 2 else 'over'}")
print(f"# {int(n - n0)} loans changed in {len(plain)} changes of the limit", file=sys.stderr)
PY
