#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""attach.py WHAT CMD...: logs in by CMD on a pty of ours, loses the line, and looks for what comes back.

shell               a shell on a terminal: its window, ctrl-C, its status
lose PID_FILE       leaves a session behind whose line is lost without a word; its shell's pid goes to the file
again N             the next login says that session N is detached; attach N brings it back; it ends with status 5
noise X             leaves a session that will be noisy, and then end, without a line
begin               a login, first of its tenant, that ends with status 3
agent FINGERPRINT   a session that knows his ssh agent loses its line
brings FINGERPRINT  who comes back to it brings his agent
by-command MARK     CMD attaches by itself; MARK is shown again
taken CMD -- CMD    the second one takes the line of the first
through WHAT SHELL  output goes on, whole and in order, while SHELL (killing something) runs
"""
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from terminal import Session  # noqa: E402


def start(argv, rows=40, cols=100):
    return Session(["/usr/bin/env"] + argv, rows, cols)


def prompt(s, text="ready> "):
    # Never as it is typed, so that the echo is not taken for it.
    s.send(b"PS1='" + text[:2].encode() + b"''" + text[2:].encode() + b"'\n")
    s.expect(text.encode() + b"$")


def login(argv, rows=40, cols=100):
    s = start(argv, rows, cols)
    prompt(s)
    return s


def lose(s):
    os.kill(s.pid, signal.SIGKILL)
    os.waitpid(s.pid, 0)
    os.close(s.fd)


def shell(argv):
    s = login(argv)
    s.send(b"tty; stty size; echo $TERM\n")
    s.expect(rb"/dev/pts/\d+\r\n")
    s.expect(rb"40 100\r\n")
    s.expect(rb"dumb\r\n")
    s.send(b"trap 'stty size' WINCH; echo set\n")
    # Not before the prompt: a readline that begins reads the window's size and sets it again, on any system.
    s.expect(rb"\nset\r\nready> $")
    s.size(50, 120)
    s.expect(rb"50 120")
    s.send(b"\n")
    s.expect(rb"ready> $")
    # It says itself that it is there: a ctrl-C before that is the shell's own, on any system.
    s.send(b"sh -c 'echo sl''eeps; exec sleep 100'\n")
    s.expect(rb"\nsleeps\r\n")
    s.send(b"\x03")
    s.expect(rb"\^C")
    s.send(b"echo status $?\n")
    s.expect(rb"status 130\r\n")
    s.send(b"exit 3\n")
    code = s.status()
    assert code == 3, code


def leave_behind(pid_file, *argv):
    s = login(list(argv))
    s.send(b"echo mar''ker-$((6*7)); echo pid $$\n")
    s.expect(rb"marker-42\r\n")
    pid = s.expect(rb"pid (\d+)\r\n")[1].decode()
    # Output that comes when nobody is on the line.
    s.send(b"(sleep 1; echo la''ter) &\n")
    s.expect(rb"\[1\] \d+\r\n")
    lose(s)
    with open(pid_file, "w") as f:
        f.write(pid)


def again(number, *argv):
    n = number.encode()
    s = start(list(argv), 33, 99)
    s.expect(rb"session " + n + rb" from \d\d:\d\d, detached; `attach " + n + rb"`\r\n")
    prompt(s, "outer> ")
    s.send(b"attach " + n + b"\n")
    s.expect(rb"marker-42\r\n")
    s.expect(rb"later\r\n")
    s.send(b"stty size\n")
    s.expect(rb"33 99\r\n")
    # It can be left, and comes back; in the session itself another attach to it makes no sense.
    s.send(b"detach\n")
    s.expect(rb"\[detached\]\r\n")
    s.expect(rb"outer> $")
    s.send(b"attach\n")
    s.expect(rb"33 99\r\n")
    s.send(b"attach " + n + b"\n")
    s.expect(rb"this is that session")
    s.send(b"exit 5\n")
    s.expect(rb"outer> $")
    s.send(b"echo code $?; attach\n")
    s.expect(rb"code 5\r\n")
    s.expect(rb"no session is detached")
    s.send(b"exit\n")
    s.status()


def noise(mark, *argv):
    s = start(list(argv))
    # What leave_behind() has left may have said its word by now.
    s.expect(rb"ready> (later\r\n)?$")
    s.send(b"(sleep 1; yes) & (sleep 2; kill -9 $$) &\n")
    s.expect(rb"\[\d+\] \d+\r\n")
    lose(s)


def begin(*argv):
    s = login(list(argv))
    s.send(b"echo session-''$PANDO_SESSION\n")
    s.expect(rb"session-1\r\n")
    s.send(b"exit 3\n")
    code = s.status()
    assert code == 3, code


def agent(fingerprint, *argv):
    s = login(list(argv))
    s.send(b"ssh-add -l\n")
    s.expect(re.escape(fingerprint.encode()))
    lose(s)


def brings(fingerprint, *argv):
    s = start(list(argv))
    number = s.expect(rb"session (\d+) from \d\d:\d\d, detached")[1]
    prompt(s, "outer> ")
    s.send(b"attach " + number + b"\n")
    s.expect(rb"ssh-add -l\r\n")
    s.send(b"clear; ssh-add -l\n")
    s.expect(rb"clear; ssh-add -l\r\n")
    s.expect(re.escape(fingerprint.encode()))
    s.send(b"exit\n")
    s.expect(rb"outer> $")
    s.send(b"exit\n")
    s.status()


def by_command(mark, *argv):
    s = start(list(argv))
    s.expect(re.escape(mark.encode()))
    s.send(b"echo al''ive\n")
    s.expect(rb"alive\r\n")
    lose(s)


def taken(*words):
    cut = words.index("--")
    first = login(list(words[:cut]))
    first.send(b"echo ha''ve\n")
    first.expect(rb"have\r\n")
    second = start(list(words[cut + 1:]))
    second.expect(rb"have\r\n")
    first.expect(rb"\[detached\]")
    first.status()
    second.send(b"exit 6\n")
    code = second.status()
    assert code == 6, code


def through(what, command, *argv):
    s = login(list(argv))
    s.send(b"for i in $(seq 1 1600); do echo line $i; [ $((i % 20)) = 0 ] && sleep 0.02; done; echo do''ne\n")
    s.expect(rb"line 100\r\n")
    killer = subprocess.Popen(["bash", "-c", command])
    # Type meanwhile; all of it must arrive, once, for whoever reads after the loop.
    for word in (b"one", b"two", b"three"):
        s.send(b"echo typed-''" + word + b"\n")
        time.sleep(0.3)
    seen = s.expect(rb"(?s)(.*\n)done\r\n", 60)[1]
    assert killer.wait(60) == 0, "the command to go through failed"
    lines = [int(m) for m in re.findall(rb"(?m)^line (\d+)\r$", seen)]
    assert lines == list(range(101, 1601)), f"{what}: {len(lines)} lines, {lines[:3]}...{lines[-3:]}"
    for word in (b"one", b"two", b"three"):
        s.expect(rb"\ntyped-" + word + rb"\r\n")
    s.send(b"exit 4\n")
    code = s.status()
    assert code == 4, code
    assert b"typed" not in s.seen, s.seen


if __name__ == "__main__":
    {"shell": lambda *a: shell(list(a)), "lose": leave_behind, "again": again, "by-command": by_command, "agent": agent, "brings": brings, "begin": begin, "noise": noise,
     "taken": taken, "through": through}[sys.argv[1]](*sys.argv[2:])
