#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""terminals.py STEP LOGIN...: drives a shell on node n1 whose programs run on n2 and n3, as a person would."""
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from terminal import Session  # noqa: E402

WAIT = 40  # seconds: a limit for a loaded machine, not a pace


class Shell:
    """An interactive bash with a prompt that no echo contains."""

    def __init__(self, argv, *more):
        self.s = Session(argv + list(more))
        self.turn = 0
        self.send("PS1='rea''dy> '; PS2=; unset PROMPT_COMMAND; bind 'set enable-bracketed-paste off'\n")
        self.prompt()
        self.run("IGNOREEOF=9")  # who loses the terminal says so, instead of leaving

    def send(self, text):
        self.s.send(text.encode())

    def expect(self, pattern, seconds=WAIT):
        return self.s.expect(pattern.encode(), seconds)

    def prompt(self):
        self.expect(r"ready> ")

    def run(self, line, *patterns):
        """Runs a line to its prompt and returns what it printed."""
        self.send(line + "\n")
        m = self.expect(r"(?s)%s\r\n(.*?)ready> " % re.escape(line[-20:]))
        out = m.group(1).decode().replace("\r\n", "\n")
        for p in patterns:
            if not re.search(p, out):
                sys.exit(f"terminals: {line!r} gave {out!r}, not {p!r}")
        return out

    def wait_run(self, line, pattern):
        until(f"{line!r} gives {pattern!r}", lambda: re.search(pattern, self.run(line)))

    def end(self, want=0):
        self.send(f"exit {want}\n")
        got = self.s.status()
        assert got == want, got


def number(argv):
    sh = Shell(argv)
    home = sh.run("tty").strip()
    assert re.fullmatch(r"/dev/pts/\d+", home), home
    for node in ("n2", "n3", "n1"):
        assert sh.run(f"on {node} tty").strip() == home, node
    sh.run("on n2 test -t 0 && on n3 test -t 1 && echo both", r"^both$")
    sh.run("on n2 sh -c 'echo to the terminal >/dev/tty' </dev/null >/dev/null 2>&1", "^to the terminal$")
    n2 = sh.run("on n2 ps -o tty=,tpgid=,pgid= -p '$$'; on n2 sh -c 'ps -o tty=,tpgid=,pgid= -p $$'")
    tty, tpgid, pgid = n2.split()[-3:]
    assert "/dev/" + tty == home and tpgid == pgid, n2
    sh.end(7)


def modes(argv):
    sh = Shell(argv)
    home = sh.run("stty -a")
    away = sh.run("on n2 stty -a")
    assert home == away, (home, away)
    # Set at the site, seen at home and on the third node; and back.
    sh.run("on n2 stty tostop -ixon intr ^G")
    for node in ("n1", "n2", "n3"):
        sh.run(f"on {node} stty -a", r"intr = \^G", r"[^-]tostop", "-ixon")
    sh.run("stty -tostop ixon intr ^C")
    sh.run("on n3 stty -a", r"intr = \^C", "-tostop")
    # The size, and a change of it while a program elsewhere waits for one.
    sh.run("on n2 stty size", "^40 100$")
    # (A shell would do: but one that gets ctrl-C just when its child has ended by itself goes on, on any host.)
    # It writes past python's buffer: a print in a handler that interrupts a print is an error of python's.
    sh.send("on n2 python3 -c 'import os,signal,time\n"
            "signal.signal(signal.SIGWINCH, lambda *a: os.write(1, b\"%d %d\\n\" % os.get_terminal_size()))\n"
            "print(\"se\"+\"t\", flush=True)\n"
            "while 1: time.sleep(0.05)'\n")
    sh.expect(r"\nset\r\n")
    sh.s.size(50, 120)
    sh.expect(r"120 50\r\n")
    sh.send("\x03")
    sh.prompt()
    sh.run("on n2 stty rows 33; stty size", "^33 120$")
    # What is written before a change of modes is written in the modes of then.
    sh.run("on n2 sh -c 'for i in 1 2 3 4 5 6 7 8 9; do stty opost; echo a; stty -opost; echo b; done; stty opost' "
           "| cat")
    out = sh.run("on n2 sh -c 'for i in 1 2 3 4 5; do stty opost; echo a; stty -opost; echo b; done; stty opost'")
    assert sh.s is not None and out.count("a\n") == 5, out
    sh.end()


def typing(argv):
    sh = Shell(argv)
    # A line, edited; the end of input; what is typed ahead waits for who reads next, wherever that is.
    # Not before the program runs: what is typed while the shell's own modes are on is not edited.
    sh.send("on n2 cat\n")
    away(sh, argv, ("n2", "cat"))
    sh.send("hellp\x7fo\n")
    sh.expect(r"\nhello\r\n")
    sh.send("\x04")
    sh.prompt()
    sh.send("on n2 sleep 1\n")
    away(sh, argv, ("n2", "sleep"))
    sh.send("echo typed ''ahead\n")
    sh.expect(r"\ntyped ahead\r\n")
    sh.prompt()
    sh.send("on n2 head -n 1 | tr a-z A-Z; on n3 head -n 1 | tr a-z A-Z; head -n 1 | tr a-z A-Z\n")
    away(sh, argv, ("n2", "head"))
    sh.send("one\ntwo\nthree\n")
    for word in ("ONE", "TWO", "THREE"):
        sh.expect(word)
    sh.prompt()
    # Two readers: the one at home waits, so it is his; the one elsewhere only writes.
    sh.send("on n2 sleep 3 | (read a </dev/tty; echo it is $a)\n")
    away(sh, argv, ("n2", "sleep"))
    sh.send("mine\n")
    sh.expect("it is mine")
    sh.prompt()
    # Raw: each key as it is pressed, no echo.
    sh.send("on n2 python3 -c 'import sys,tty,os; tty.setraw(0); os.write(1,b\"r\"b\"aw\\r\\n\")\n"
            "while 1:\n c=os.read(0,99)\n os.write(1,repr(c).encode()+b\"\\r\\n\")\n if c==b\"q\": break\n"
            "os.system(\"stty sane\")'\n")
    sh.expect(r"raw\r\n")
    for key, seen in (("x", "b'x'"), ("\x03", r"b'\\x03'"), ("\x1b[A", r"b'\\x1b\[A'"), ("\x04", r"b'\\x04'")):
        sh.send(key)
        sh.expect(seen)
    sh.send("q")
    sh.prompt()
    sh.run("echo sa''ne", "^sane$")
    # A prompt without echo, and a program that edits its line itself.
    sh.send("on n3 bash -c 'read -s -p \"wo\"\"rd: \" x; echo; echo got $x'\n")
    sh.expect(r"word: ")
    sh.send("secret\n")
    m = sh.expect(r"(?s)^(.*?)got secret\r\n")
    assert b"secret" not in m.group(1), m.group(1)
    sh.prompt()
    sh.send("on n2 python3 -q -i\n")
    sh.expect(r">>> ")
    sh.send("6*7\n")
    sh.expect(r"42\r\n")
    sh.send("import sys; sys.stdin.isatty() and sys.stdout.isatty()\n")
    sh.expect(r"True\r\n")
    sh.send("exit()\n")
    sh.prompt()
    sh.end()


def vi(argv):
    sh = Shell(argv)
    sh.send("export TERM=xterm; on n2 vi -u NONE -n text\n")
    sh.expect(r"text.*\[New")
    sh.send("ihello from vi\x1b")
    sh.send(":wq\n")
    sh.expect("written")
    sh.prompt()
    sh.run("cat text", "^hello from vi$")
    sh.send("seq 300 | on n3 less\n")
    sh.expect(r"\b20\b")
    sh.send("G")
    sh.expect(r"\b300\b")
    sh.send("q")
    sh.prompt()
    sh.send("on n2 top -d 1\n")
    sh.expect(r"PID USER")
    sh.send("q")
    sh.prompt()
    sh.end()


def jobs(argv):
    sh = Shell(argv)
    # ctrl-C and ctrl-\ end a pipeline on three nodes; each member got it once.
    three = "on n1 yes | on n2 cat | on n3 cat >/dev/null"
    sh.run("set -o pipefail")
    sh.send(three + "\n")
    away(sh, argv, ("n1", "yes"), ("n2", "cat"), ("n3", "cat"))
    front(argv, "yes", "cat")
    sh.send("\x03")
    sh.prompt()
    sh.run("echo status ''$? ${PIPESTATUS[@]}", "^status 130")
    sh.send(three + "\n")
    away(sh, argv, ("n1", "yes"), ("n2", "cat"), ("n3", "cat"))
    front(argv, "yes", "cat")
    # ctrl-Z stops it, bg and fg continue it.
    sh.send("\x1a")
    sh.expect(r"Stopped")
    sh.prompt()
    sh.run("jobs", r"Stopped.*yes")
    stopped(argv, "yes", "cat")
    sh.send("bg\n")
    sh.prompt()
    states(sh, argv, "[RS]", "yes", "cat")
    sh.run("jobs", r"Running.*yes")
    sh.send("fg\n")
    sh.expect(r"yes \| on n2 cat")
    front(argv, "yes", "cat")
    sh.send("\x1a")
    sh.expect(r"Stopped")
    sh.prompt()
    sh.send("fg\n")
    sh.expect(r"yes \| on n2 cat")
    front(argv, "yes", "cat")
    sh.send("\x03")
    sh.prompt()
    sh.run("echo status ''${PIPESTATUS[@]}", "^status 130")
    sh.run("jobs; echo none", "^none$")
    # Who reads in the background is stopped, and reads when it is in front.
    sh.run("on n2 head -n 1 &")
    stopped(argv, "head")
    sh.wait_run("jobs", "Stopped.*head")
    sh.send("fg\n")
    front(argv, "head")
    sh.send("now\n")
    sh.expect(r"now\r\nnow\r\n")
    sh.prompt()
    # Who writes there too, when the terminal says so.
    sh.run("stty tostop")
    sh.run("on n3 sh -c 'echo out; echo of back' &")
    stopped(argv, "sh")
    sh.wait_run("jobs", "Stopped.*of back")
    sh.run("stty -tostop")
    sh.run("fg", r"out\nof back")
    # A signal that a member handles comes once.
    sh.send("on n2 python3 -c 'import os,signal,time; n=[0]\n"
            "def f(*a): n[0]+=1; os.write(1,b\"got %d\\n\"%n[0])\n"
            "signal.signal(signal.SIGINT,f); print(\"re\"+\"ady\",flush=True)\n"
            "while n[0]<2: time.sleep(0.1)\n"
            "time.sleep(1); print(\"total\",n[0])'\n")
    sh.expect(r"ready\r\n")
    sh.send("\x03")
    sh.expect(r"got 1\r\n")
    sh.send("\x03")
    sh.expect(r"got 2\r\n")
    sh.expect(r"total 2\r\n")
    sh.prompt()
    # The children that a program bears elsewhere are of its group.
    sh.send("on n2 sh -c 'sleep 100; echo no'\n")
    away(sh, argv, ("n2", "sleep"))
    front(argv, "sleep")
    sh.send("\x1a")
    sh.expect(r"Stopped")
    sh.prompt()
    stopped(argv, "sleep")
    sh.send("fg\n")
    sh.expect(r"sleep 100")
    front(argv, "sleep")
    until("sleep goes on", lambda: all(f[0] == "S" for f in tasks(argv, "sleep")))
    sh.send("\x1c")
    sh.prompt()
    gone(sh, argv, "sleep")
    sh.end()


def pid_of(argv, command):
    """The pid, as the tenant sees it, of the one process with this command line."""
    found = []

    def there():
        found[:] = [r[1] for r in listing(argv) if r[-1] == command]
        return len(found) == 1
    until(f"one {command!r} runs", there)
    return found[0]


def move(argv, pid, node):
    out = os.popen(" ".join(argv[:argv.index("login")] + ["migrate", pid, node]) + " 2>&1").read()
    at = [r for r in listing(argv) if r[1] == pid and node in r]
    assert at, f"{pid} shall be on {node}: {out} {listing(argv)}"


def counted(sh, last, n=20):
    """The next numbers of count.py: none is missing, none comes twice."""
    for _ in range(n):
        got = int(sh.expect(r"n (\d+)\r\n").group(1))
        assert last is None or got == last + 1, (got, last)
        last = got
    return last


def moves(argv):
    """What is in front of the terminal is moved round the machine: nothing written or typed is lost or comes twice,
    and keys mean what they mean anywhere."""
    sh = Shell(argv)
    sh.run("rm -f moved.txt")
    sh.run("printf '%s\\n' 'import time' 'i = 0' 'while 1:' ' print(\"n\", i, flush=True)' ' i += 1' ' time.sleep(0.01)' >count.py")
    sh.send("python3 count.py\n")
    last = counted(sh, None)
    pid = pid_of(argv, "python3 count.py")
    for node in ("n2", "n3", "n1", "n3"):
        move(argv, pid, node)
        last = counted(sh, last)
    sh.send("\x1a")
    sh.expect("Stopped")
    sh.prompt()
    move(argv, pid, "n2")
    sh.run("jobs", "Stopped.*count.py")
    sh.send("fg\n")
    counted(sh, None)
    front(argv, "python3")
    sh.send("\x03")
    sh.prompt()
    sh.run("echo status ''$?", "^status 130")
    # A reader, and what is typed for it and ahead of the next.
    sh.send("cat; head -n 1 | tr a-z A-Z\n")
    pid = pid_of(argv, "cat")
    for node in ("n2", "n3", "n1"):
        move(argv, pid, node)
        sh.send(f"typed on {node}x\x7f\n")
        sh.expect(rf"\ntyped on {node}\r\n")
    move(argv, pid, "n2")
    sh.send("\x04next\n")
    sh.expect(r"NEXT\r\n")
    sh.prompt()
    # Who draws the screen, and who has the terminal open as /dev/tty alone.
    sh.send("export TERM=xterm; vi -u NONE -n moved.txt\n")
    sh.expect(r"moved.txt.*\[New")
    pid = pid_of(argv, "vi -u NONE -n moved.txt")
    sh.send("ihere")
    sh.expect("here")
    move(argv, pid, "n2")
    sh.send(" and there\x1b")
    sh.s.size(45, 110)
    sh.send(":set lines? columns?\n")
    sh.expect(r"lines=45(?s:.*)columns=110")
    move(argv, pid, "n3")
    sh.s.size(40, 100)
    sh.send(":set lines?\n")
    sh.expect(r"lines=40")
    sh.send("\x1a")
    sh.expect("Stopped")
    sh.prompt()
    sh.send("fg\n")
    sh.send(":wq\n")
    sh.expect("written")
    sh.prompt()
    sh.run("cat moved.txt", "^here and there$")
    sh.send("seq 300 | less\n")
    sh.expect(r"\b20\b")
    pid = pid_of(argv, "less")
    move(argv, pid, "n2")
    sh.send("G")
    sh.expect(r"\b300\b")
    move(argv, pid, "n1")
    sh.send("q")
    sh.prompt()
    sh.end()


def shell_moves(argv):
    """The session's leader itself."""
    sh = Shell(argv)
    home = sh.run("tty").strip()
    pid = sh.run("echo $$").strip()
    sh.run("tail -f /dev/null &")
    for node in ("n2", "n3", "n1", "n2"):
        move(argv, pid, node)
        sh.run("cat /proc/$$/node; tty", rf"^{node}\n{home}$")
        sh.run("seq 3 | tac | tr '\\n' ' '", "^3 2 1 ")
        sh.send("sleep 100\n")
        away(sh, argv, (node, "sleep 100"))
        front(argv, "sleep")
        sh.send("\x1a")
        sh.expect("Stopped")
        sh.prompt()
        sh.send("fg\n")
        sh.expect(r"fg\r\nsleep 100\r\n")
        front(argv, "sleep")
        sh.send("\x03")
        sh.prompt()
        sh.run("echo status ''$?", "^status 130")
        # One that it began before it moved.
        sh.send("fg %1\n")
        sh.expect(r"fg %1\r\ntail -f /dev/null\r\n")
        front(argv, "tail")
        sh.send("\x1a")
        sh.expect("Stopped")
        sh.prompt()
        sh.run("bg %1")
        sh.run("jobs", "Running.*tail")
    sh.s.size(44, 99)
    sh.run("stty size", "^44 99$")
    sh.run("kill %1; wait; echo over", "over")
    sh.end(7)


def shells(argv):
    """A shell with jobs of its own on another node, below the shell at home."""
    sh = Shell(argv)
    sh.send("PS1='in''ner> ' on n2 bash --norc -i\n")
    sh.expect(r"inner> ")
    sh.send("bind 'set enable-bracketed-paste off'\n")
    sh.expect(r"inner> ")
    sh.send("tty; cat /proc/$$/node\n")
    sh.expect(r"/dev/pts/\d+\r\nn2")
    sh.expect(r"inner> ")
    sh.send("sleep 100\n")
    away(sh, argv, ("n2", "sleep"))
    front(argv, "sleep")
    sh.send("\x03")
    sh.expect(r"inner> ")
    sh.send("echo status $?\n")
    sh.expect(r"status 130\r\n")
    sh.expect(r"inner> ")
    sh.send("sleep 100\n")
    away(sh, argv, ("n2", "sleep"))
    front(argv, "sleep")
    sh.send("\x1a")
    sh.expect(r"Stopped")
    sh.expect(r"inner> ")
    sh.send("fg\n")
    sh.expect(r"fg\r\nsleep 100\r\n")
    front(argv, "sleep")
    sh.send("\x03")
    sh.expect(r"inner> ")
    # Of one group, a member here and one at the terminal's own node; each gets it once.
    sh.send("sleep 307 | on n1 python3 -c 'import os,signal,time; n=[0]\n"
            "def f(*a): n[0]+=1\n"
            "signal.signal(signal.SIGINT,f); os.write(2,b\"re\"+b\"ady\\n\")\n"
            "while n[0]<1: time.sleep(0.1)\n"
            "time.sleep(1); os.write(2,b\"total %d\\n\"%n[0])'\n")
    sh.expect(r"ready\r\n")
    away(sh, argv, ("n2", "sleep"), ("n1", "python3"))
    front(argv, "sleep", "python3")
    sh.send("\x03")
    sh.expect(r"total 1\r\n")
    sh.expect(r"inner> ")
    # The other way round: nobody at the terminal's own node stands for the member here.
    sh.send("on n1 sleep 306 | on n3 sleep 306 | python3 -c 'import os,signal,time; n=[0]\n"
            "def f(*a): n[0]+=1\n"
            "signal.signal(signal.SIGINT,f); os.write(2,b\"re\"+b\"ady\\n\")\n"
            "while n[0]<1: time.sleep(0.1)\n"
            "time.sleep(1); os.write(2,b\"total %d\\n\"%n[0])'\n")
    sh.expect(r"ready\r\n")
    away(sh, argv, ("n1", "sleep"), ("n3", "sleep"), ("n2", "python3"))
    front(argv, "sleep", "python3")
    sh.send("\x1a")
    sh.expect(r"Stopped")
    sh.expect(r"inner> ")
    stopped(argv, "sleep", "python3")
    sh.send("fg\n")
    sh.expect(r"fg\r\non n1 sleep 306")
    front(argv, "sleep", "python3")
    sh.send("\x03")
    sh.expect(r"total 1\r\n")
    sh.expect(r"inner> ")
    # What is in the background, and was in front, is not meant.
    sh.send("sleep 308\n")
    away(sh, argv, ("n2", "sleep 308"))
    front(argv, "sleep")
    sh.send("\x1a")
    sh.expect(r"Stopped")
    sh.expect(r"inner> ")
    sh.send("bg\n")
    sh.expect(r"inner> ")
    sh.send("on n1 sleep 309\n")
    away(sh, argv, ("n1", "sleep 309"))
    until("309 is in front", lambda: any(f[2] == f[5] for f in tasks(argv, "sleep")))
    sh.send("\x03")
    sh.expect(r"inner> ")
    sh.send("kill %1; echo was there: $?\n")
    sh.expect(r"was there: 0\r\n")
    sh.expect(r"inner> ")
    sh.send("on n3 cat\ndeep\n")
    sh.expect(r"cat\r\n(?s:.*)deep\r\n")
    sh.send("\x03")
    sh.expect(r"inner> ")
    sh.send("suspend\n")
    sh.expect(r"Stopped")
    sh.prompt()
    sh.send("fg\n")
    sh.send("\n")
    sh.expect(r"inner> ")
    sh.send("exit 9\n")
    sh.prompt()
    sh.run("echo was $?", "^was 9$")
    sh.end()


def groups(argv):
    """Groups and sessions agree on all nodes; signals find who has no stub where they are sent."""
    sh = Shell(argv)
    sh.run("rm -f pid pid2")
    # A child born elsewhere is nobody here, but can be signalled from here; so can its group.
    sh.run("on n2 sh -c 'sleep 300 & echo $! >pid; wait; echo over; sleep 1' & until test -s pid; do sleep 0.05; done")
    sh.run("kill -0 $(cat pid) && echo there; kill $(cat pid); wait; rm pid", r"there", r"over")
    sh.run("kill -0 4194000", "No such process")
    sh.run("on n2 bash -c 'sleep 300 & echo $! >pid; wait; sleep 300' & until test -s pid; do sleep 0.05; done; "
           "kill -TERM -$!; wait $!; echo was $?", "was 143")
    gone(sh, argv, "sleep 300")
    # Upwards: from a node that has no stub of the target.
    sh.run("on n3 sleep 301 & echo $! >pid; sleep 302 & echo $! >pid2; sleep 0.5; on n2 sh -c 'kill $(cat pid pid2)'; wait")
    gone(sh, argv, "sleep 30[12]")
    # Who founds a session elsewhere does so where its stub is.
    sh.run("printf '%s\\n' 'import os,time' 'os.setsid()' 'open(\"pid\",\"w\").write(str(os.getpid()))' 'time.sleep(300)' >s.py")
    sh.run("rm -f pid; sh -c 'on n2 python3 s.py; true' & until test -s pid; do sleep 0.05; done")
    sh.run("python3 -c 'import os; p=int(open(\"pid\").read()); print(os.getpgid(p)==p, os.getsid(p)==p)'", "True True")
    sh.run("kill -9 $(cat pid); wait; rm pid")
    sh.end()


def crash(argv):
    """Guest kernels of both sides die under a program that is in front of the terminal elsewhere: nothing typed or
    written is lost."""
    sh = Shell(argv)
    sh.send("on n2 cat\n")
    away(sh, argv, ("n2", "cat"))
    for n, node in enumerate(("n2", "n1", "n2", "n1")):
        kill_kernel(argv, node)
        sh.send(f"line {n}\n")
        sh.expect(rf"\nline {n}\r\n")
    sh.send("\x04")
    sh.prompt()
    sh.send("on n2 sh -c 'stty -echo; while read x; do stty -a | grep -o -e \"-echo \"; echo =$x; done'\n")
    away(sh, argv, ("n2", "sh"))
    front(argv, "sh")
    for n, node in enumerate(("n1", "n2")):
        kill_kernel(argv, node)
        sh.send(f"raw {n}\n")
        sh.expect(rf"-echo \r\n=raw {n}\r\n")
    sh.s.size(60, 90)
    sh.send("\x03")
    sh.prompt()
    sh.run("stty echo; on n2 stty size", "60 90")
    sh.send("on n2 sleep 303 | on n3 sleep 303\n")
    away(sh, argv, ("n2", "sleep"), ("n3", "sleep"))
    front(argv, "sleep")
    kill_kernel(argv, "n1")
    kill_kernel(argv, "n3")
    sh.send("\x1a")
    sh.expect("Stopped")
    sh.prompt()
    sh.send("fg\n")
    front(argv, "sleep")
    kill_kernel(argv, "n2")
    sh.send("\x03")
    sh.prompt()
    gone(sh, argv, "sleep 303")
    sh.end()


GOES_ON = """python3 -c 'import ctypes,os,signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.write(2, b"wai" + b"ts %d\\n" % os.getpid())
signal.sigwait([signal.SIGUSR1])
ctypes.CDLL(None).syscall(0x5511, b"{}")
os.execv("/usr/bin/sleep", ["sleep", "305"])'
"""


def late(argv):
    """A ctrl-C finds a member of a pipeline on its way from one node to another."""
    pando = argv[:argv.index("login")]

    def fault(node, point):
        subprocess.run([*pando, "debug", "fault", node, "alice", point], check=True)

    def leaves(pid):
        subprocess.run([*pando, "login", "-T", "--node", "n1", "alice", "--", "kill", "-USR1", pid],
                       stdin=subprocess.DEVNULL, check=True)

    # From n2 to n3, where the key has ended another one already. Its stub at n2 has no processor until the record has
    # followed the process: the signal is n2's to tell all the same.
    sh = Shell(argv)
    sh.send("on n3 sleep 304 | on n2 " + GOES_ON.format("n3"))
    pid = sh.expect(r"waits (\d+)\r\n").group(1).decode()
    away(sh, argv, ("n3", "sleep"))
    front(argv, "sleep", "python3")
    for point in ("place.parked", "place.stub", "follow.let_go"):
        fault("n2", f"kernel.{point}:1:stop")
    kernel = next(kernels(argv, "n2"))
    leaves(pid)
    stopped_at(argv, "n2", "kernel.place.parked")
    sh.send("\x03")
    until("the other one ends", lambda: not any(tasks(argv, "sleep")))
    os.kill(kernel, signal.SIGCONT)
    stopped_at(argv, "n2", "kernel.place.stub")
    freeze(kernel, 1)
    os.kill(kernel, signal.SIGCONT)
    stopped_at(argv, "n2", "kernel.follow.let_go")
    os.kill(kernel, signal.SIGCONT)
    fault("n2", "kernel.follow.let_go:1000000:stop")  # answered: the loop is past it
    freeze(kernel, 0)
    sh.prompt()
    gone(sh, argv, "sleep 305")
    # From home to n2, where nobody else is, while one whose stub speaks for the group has been told of the key.
    sh.send("on n3 sh -c 'trap \"echo g\\\"\\\"ot >&2\" INT; echo o\"\"ne >&2; while :; do sleep 0.1; done' | "
            + GOES_ON.format("n2"))
    seen = sh.expect(r"(?s)(one\r\n.*)?waits (\d+)\r\n")
    if not seen.group(1):
        sh.expect(r"one\r\n")
    pid = seen.group(2).decode()
    front(argv, "python3")
    fault("n2", "kernel.site.run:1:stop")
    leaves(pid)
    stopped_at(argv, "n2", "kernel.site.run")
    sh.send("\x03")
    sh.expect(r"got\r\n")
    os.kill(next(kernels(argv, "n2")), signal.SIGCONT)
    until("it ends", lambda: not any(r[1] == pid for r in listing(argv)))
    sh.send("\x1c")
    sh.prompt()
    sh.end()


def hangup(argv):
    """The terminal goes: what is in front of it on another node hears of it."""
    sh = Shell(argv)
    sh.send("on n2 python3 -c 'import signal,time\n"
            "def f(*a):\n open(\"hup\",\"w\").write(\"hup\")\n raise SystemExit\n"
            "signal.signal(signal.SIGHUP,f); print(\"wai\"+\"ts\",flush=True)\n"
            "while 1: time.sleep(0.1)'\n")
    sh.expect(r"waits\r\n")
    os.close(sh.s.fd)
    os.waitpid(sh.s.pid, 0)


# ---- what `pando ps` says: it is the host's view of each node ----
def listing(argv):
    at = argv.index("login")
    out = os.popen(" ".join(argv[:at] + ["ps", "-o", "csv"])).read()
    return [line.split(",") for line in out.splitlines()[1:]]


def until(what, cond):
    end = time.monotonic() + WAIT
    while not cond():
        if time.monotonic() > end:
            sys.exit(f"terminals: never: {what}")
        time.sleep(0.05)


def away(sh, argv, *pairs):
    def there():
        rows = listing(argv)
        return all(any(node in row and any(re.search(r"\b%s\b" % comm, x) for x in row) for row in rows)
                   for node, comm in pairs)
    until(f"{pairs} run", there)


def states(sh, argv, want, *comms):
    def all_so():
        rows = [r for r in listing(argv) if any(c in r[-1].split() or c in r for c in comms)]
        return rows and all(any(re.fullmatch(want, x) for x in r) for r in rows)
    until(f"{comms} are {want}", all_so)


def kernels(argv, node):
    """Host pids of alice's guest kernel there."""
    cluster = os.path.basename(argv[argv.index("--dir") + 1])
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup") as f:
                if re.search(rf"/pando-{cluster}-[^/]*/{node}/alice/kernel$", f.read(), re.M):
                    yield int(pid)
        except OSError:
            pass


def state(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def stopped_at(argv, node, point):
    """Until the fault point has stopped alice's guest kernel there."""
    with open(os.path.join(argv[argv.index("--dir") + 1], node, "log/kernel-alice.log")) as f:
        def there():
            f.seek(0)
            fired = [r for r in f if "fault point" in r]
            return fired and f" {point} " in fired[-1] and state(next(kernels(argv, node))) == "T"
        until(f"it stops at {point}", there)


def freeze(kernel, on):
    """The guests of this guest kernel."""
    with open(f"/proc/{kernel}/cgroup") as f:
        group = re.search(r"^0::(.*)/kernel$", f.read(), re.M).group(1)
    with open("/proc/mounts") as f:
        root = next(r.split()[1] for r in f if r.split()[2] == "cgroup2")
    with open(f"{root}{group}/guests/cgroup.freeze", "w") as f:
        f.write(str(on))


def kill_kernel(argv, node):
    """kill -9 of alice's guest kernel there, and its successor answers."""
    for pid in list(kernels(argv, node)):
        os.kill(pid, 9)


def tasks(argv, comm):
    """The host's own view: stat fields, from the state on, of a cluster's tasks with this name."""
    cluster = os.path.basename(argv[argv.index("--dir") + 1])
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
            with open(f"/proc/{pid}/cgroup") as f:
                ours = f"/pando-{cluster}-" in f.read()
        except OSError:
            continue
        if ours and name == comm:
            yield rest.split()


def front(argv, *comms):
    """They are in front of their terminals, each on its node."""
    def all_so():
        rows = [f for comm in comms for f in tasks(argv, comm)]
        return rows and all(f[2] == f[5] for f in rows)
    until(f"{comms} are in front", all_so)


def stopped(argv, *comms):
    def all_so():
        rows = [f for comm in comms for f in tasks(argv, comm)]
        return rows and all(f[0] == "T" for f in rows)
    until(f"{comms} are stopped", all_so)


def gone(sh, argv, comm):
    until(f"{comm} is gone", lambda: not any(comm in " ".join(r) for r in listing(argv)))


STEPS = {f.__name__: f for f in (number, modes, typing, vi, jobs, shells, groups, moves, shell_moves, crash, late, hangup)}


def main():
    steps = sys.argv[1].split(",")
    for step in steps:
        start = time.monotonic()
        STEPS[step](sys.argv[2:])
        print(f"ok: {step} [{time.monotonic() - start:.1f} s]", flush=True)


if __name__ == "__main__":
    main()
