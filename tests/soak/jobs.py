# SPDX-License-Identifier: Apache-2.0
"""
What tenants do while the storm goes on. A job is a function that makes one attempt and returns None, or says what was
wrong. What nobody may ever see (other bytes, another status, a number twice) is Wrong; what a stopped node, a cut link
or a full disk may well refuse is Refused, and forgiven while there is one.
"""
import hashlib
import os
import random
import subprocess
import sys
import threading
import time

from cluster import NODES
from faults import GATE, HARSH, POD

FILES = 6
MAKEFILE = """
O = out
OBJ := $(patsubst %.c,$(O)/%.o,$(wildcard f*.c))
all: $(OBJ)
$(O)/%.o: %.c
	@mkdir -p $(O)
	$(ON) gcc -O1 -c -o $@ $<
"""


class Wrong(Exception):
    pass


class Refused(Exception):
    forgiven = HARSH


class NotBegun(Refused):
    forgiven = HARSH + POD


class ByGate(Refused):
    forgiven = HARSH + GATE + POD


class Jobs:
    def __init__(self, cluster, work, seed):
        self.c = cluster
        self.work = work
        self.seed = seed
        self.native = self.prepare()

    # ---- help

    def login(self, tenant, *words, node=None, stdin=b""):
        argv = [self.c.pando, "--dir", self.c.dir, "login", "-T"]
        argv += ["--node", node] if node else []
        r = subprocess.run([*argv, tenant, "--", *words], input=stdin, capture_output=True, check=False)
        return r.returncode, r.stdout, r.stderr.decode(errors="replace").strip()

    @staticmethod
    def expect(got, want_code, want_out):
        code, out, err = got
        if code == want_code and out == want_out:
            return
        if code == 125 and not out:
            raise NotBegun(err[-300:])
        if code == want_code and "pando: cannot run " in err:  # a stage of a pipeline that is not the last
            raise Refused(err[-300:])
        if code == want_code:
            raise Wrong(f"status {code}, but {out[-300:]!r} instead of {want_out[-300:]!r}; {err[-300:]}")
        raise Refused(f"status {code}, {out[-200:]!r}: {err[-300:]}")

    def prepare(self):
        """The project, at home of alice; returns what a native build gives."""
        src = f"{self.work}/src"
        os.makedirs(src)
        for i in range(FILES):
            with open(f"{src}/f{i}.c", "w", encoding="ascii") as f:
                f.write(f"#include <stdio.h>\nint f{i}(int x) {{ return printf(\"%d\\n\", x * {i} + {self.seed % 1000}); }}\n")
        with open(f"{src}/Makefile", "w", encoding="ascii") as f:
            f.write(MAKEFILE)
        tar = subprocess.run(["tar", "-C", src, "-cf", "-", "."], check=True, capture_output=True).stdout
        self.expect(self.login("alice", "sh", "-c", "mkdir src && tar -C src -xf -", stdin=tar), 0, b"")
        subprocess.run(["make", "-s", "-C", src, "ON="], check=True)
        data = b"".join(open(f"{src}/out/f{i}.o", "rb").read() for i in range(FILES))
        return hashlib.sha256(data).hexdigest()

    # ---- jobs

    def build(self, n, rng):
        node = "on n$(shell expr $(patsubst f%.c,%,$<) % 3 + 1)"
        got = self.login("alice", "sh", "-c", f"cd src && make -s -j4 O=out{n} 'ON={node}' && cat out{n}/f*.o | sha256sum; "
                         f"code=$?; rm -rf out{n}; exit $code", node=rng.choice(NODES))
        self.expect(got, 0, f"{self.native}  -\n".encode())

    def pipeline(self, n, rng):
        data = rng.randbytes(rng.randrange(1, 3_000_000))
        a, b, c = (rng.choice(NODES) for _ in range(3))
        got = self.login("alice", "sh", "-c", f"on {a} cat | on {b} cat | on {c} sha256sum", node=rng.choice(NODES), stdin=data)
        self.expect(got, 0, f"{hashlib.sha256(data).hexdigest()}  -\n".encode())

    def counter(self, n, rng):
        node = rng.choice(NODES)
        got = self.login("alice", "sh", "-c", f"i=0; while [ $i -lt 20 ]; do on {node} echo $i; i=$((i+1)); done; exit 9",
                         node=rng.choice(NODES))
        if got[0] == 9 and got[2] and got[1] != seq(20):  # the loop goes on after an exec that was refused
            raise Refused(got[2][-300:])
        self.expect(got, 9, seq(20))

    def statuses(self, n, rng):
        """K4: each child's status, once."""
        where = [rng.choice(NODES) for _ in range(8)]
        begin = "".join(f"on {node} sh -c 'exit {i + 20}' & p{i}=$!; " for i, node in enumerate(where))
        end = "".join(f"wait $p{i}; echo $?; wait $p{i}; echo $?; " for i in range(8))
        got = self.login("alice", "bash", "-c", f"{begin}{end}exit 4", node=rng.choice(NODES))
        # What bash remembers of a child that it has waited for is the same or 127.
        lines = got[1].split()
        if got[0] == 4 and len(lines) == 16 and all(lines[2 * i] == b"%d" % (i + 20) and lines[2 * i + 1] in (lines[2 * i], b"127")
                                                    for i in range(8)):
            return
        if got[0] == 125 and not lines:
            raise NotBegun(got[2])
        if got[2] or got[0] != 4:
            raise Refused(f"status {got[0]}, {lines}: {got[2][-300:]}")
        raise Wrong(f"statuses {lines}")

    def moved(self, n, rng, tenant="bob"):
        """A process that counts, here and there: never in two places, and without a gap."""
        program = ("import os, sys, time\nprint(os.getpid(), flush=True)\n"
                   "for i in range(120):\n  print(i, flush=True)\n  os.getpid() == int(sys.argv[1] or os.getpid()) or sys.exit(3)\n"
                   "  time.sleep(0.05)\nsys.exit(9)\n")
        argv = [self.c.pando, "--dir", self.c.dir, "login", "-T", "--node", rng.choice(NODES), tenant, "--",
                "python3", "-c", program, ""]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
            pid = job.stdout.readline().strip().decode()
            done = threading.Event()
            nodes = [rng.choice(NODES) for _ in range(60)]

            def move():
                for node in nodes:
                    if done.wait(0.4) or not pid:
                        return
                    self.c.p("migrate", "-t", tenant, pid, node, limit=30)

            mover = threading.Thread(target=move)
            mover.start()
            out = job.stdout.read()
            err = job.stderr.read().decode(errors="replace").strip()
            done.set()
            mover.join()
            code = job.wait()
        if not seq(120).startswith(out):
            raise Wrong(f"pid {pid} counts {out[-300:]!r}; {err[-300:]}")
        self.expect((code, out, err), 9, seq(120))

    def roamer(self, n, rng):
        """A shell is moved about while it starts one program after the other on all nodes."""
        text = ("echo $$; exec </dev/null >/dev/null 2>&1; for i in $(seq 40); do "
                f"on n$((i % 3 + 1)) sh -c \"exit $i\"; code=$?; [ $code = $i ] || echo $i $code >>roamer{n}; done; exit 9")
        argv = [self.c.pando, "--dir", self.c.dir, "login", "-T", "--node", rng.choice(NODES), "alice", "--", "bash", "-c", text]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
            pid = job.stdout.readline().strip().decode()
            while pid and job.poll() is None:
                self.c.p("migrate", "-t", "alice", pid, rng.choice(NODES), limit=30)
            err = job.stderr.read().decode(errors="replace").strip()
        if not pid:
            raise NotBegun(err)
        bad = self.login("alice", "sh", "-c", f"cat roamer{n} 2>/dev/null; rm -f roamer{n}")
        if bad[1]:
            raise Refused(f"programs of pid {pid} and how they ended: {bad[1][-300:]}")
        self.expect((job.returncode, b"", err), 9, b"")

    def shell(self, n, rng):
        argv = [sys.executable, f"{os.path.dirname(__file__)}/shell.py", self.c.pando, "--dir", self.c.dir, "login",
                "--node", rng.choice(NODES), "alice"]
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if r.returncode == 8:  # it has had longer than any fault lasts
            raise Wrong(f"ctrl-C does not end a job: {(r.stdout + r.stderr)[-300:]}")
        if r.returncode != 7:
            raise Refused(f"status {r.returncode}: {(r.stdout + r.stderr)[-600:]}")

    def ssh(self, n, rng):
        node = rng.choice(NODES)
        argv = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20", "-o",
                "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-i",
                f"{self.work}/key", "-p", self.c.ports[node], "bob@127.0.0.1", "echo $((6*7)); exit 5"]
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if r.returncode in (125, 255):
            raise ByGate(r.stderr[-300:])
        self.expect((r.returncode, r.stdout, r.stderr.decode(errors="replace")), 5, b"42\n")

    def visitor(self, n, rng):
        """A tenant comes, looks, and goes."""
        name = f"v{n}"
        at = ["--node", rng.choice(NODES)]
        r = self.c.p(*at, "tenant", "add", name, "--procs", "40")
        if r.returncode != 0 and "already" not in r.stderr:
            raise Refused(r.stderr)
        got = self.login(name, "sh", "-c", "on n1 true; on n2 true; on n3 true; exit 3", node=rng.choice(NODES))
        # Whatever it was: the tenant goes again.
        for _ in range(20):
            r = self.c.p("--node", rng.choice(NODES), "tenant", "rm", name)
            if r.returncode in (0, 3):
                break
            time.sleep(0.5)
        if r.returncode not in (0, 3):
            raise Refused(f"tenant rm {name}: {r.stderr}")
        self.expect(got, 3, b"")

    def hog(self, n, rng):
        """More than any node's processors can do."""
        text = "for i in 1 2 3; do timeout 4 sh -c 'while :; do :; done' & done; wait; exit 6"
        self.expect(self.login("bob", "sh", "-c", text, node=rng.choice(NODES)), 6, b"")

    def pressure(self, n, rng):
        """mallory takes what there is. How that ends is not sure under deaths; that others do not feel it is."""
        hogs = (
            "import os, time\nk = 0\ntry:\n  while k < 300:\n    if os.fork() == 0: time.sleep(3); os._exit(0)\n    k += 1\n"
            "except OSError as e: print(e.errno)\n",
            "a = []\ntry:\n  while True: a.append(bytearray(1 << 20))\nexcept MemoryError: print(12)\n",
            "try:\n  with open('big', 'wb', buffering=0) as f:\n    while True: f.write(b'x' * (1 << 20))\n"
            "except OSError as e: print(e.errno)\nimport os; os.unlink('big')\n",
        )
        which = rng.randrange(3)
        code, out, err = self.login("mallory", "python3", "-c", hogs[which], node=rng.choice(NODES))
        # A fork may meet the limit of memory first: the host's own of a child is counted too.
        if code == 0 and out.strip() not in ((b"11", b"12"), (b"12",), (b"28", b"122"))[which]:
            raise Wrong(f"hog {which} ends with {out!r} {err}")


def seq(n):
    return "".join(f"{i}\n" for i in range(n)).encode()


# How many do each at once. What nobody does by himself is done for --jobs NAME.
CREWS = (("build", 1), ("pipeline", 1), ("counter", 1), ("statuses", 1), ("moved", 2), ("roamer", 0), ("shell", 1), ("ssh", 1), ("visitor", 1),
         ("pressure", 1), ("hog", 0))


class Crew(threading.Thread):
    """Does one job again and again until told to stop."""

    def __init__(self, jobs, name, index, weather):
        super().__init__(daemon=True, name=f"{name}{index}")
        self.jobs, self.job, self.index, self.weather = jobs, name, index, weather
        self.rng = random.Random(f"{jobs.seed}/{name}/{index}")
        self.stopped = threading.Event()
        self.done, self.forgiven = 0, []
        self.found = None
        self.since = None

    def run(self):
        n = 0
        while not self.stopped.is_set() and self.found is None:
            n += 1
            self.since = time.monotonic()
            try:
                getattr(self.jobs, self.job)(n * 10 + self.index, self.rng)
                self.done += 1
            except Wrong as e:
                self.found = f"wrong: {e}"
            except Refused as e:
                if self.weather.harsh(self.since, time.monotonic(), e.forgiven):
                    self.forgiven.append(str(e))
                else:
                    self.found = f"refused: {e}"
            except Exception as e:  # pylint: disable=broad-except
                self.found = f"{type(e).__name__}: {e}"
            self.stopped.wait(0.2)
