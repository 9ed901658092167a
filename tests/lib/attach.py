#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""attach.py WHAT CMD...: logs in by CMD on a pty of ours, loses the line, and looks for what comes back.

shell   a shell on a terminal: its window, ctrl-C, its status
"""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from terminal import Session  # noqa: E402


def login(argv, rows=40, cols=100):
    s = Session(["/usr/bin/env"] + argv, rows, cols)
    s.send(b"PS1='ready> '\n")
    s.expect(rb"ready> $")
    return s


def shell(argv):
    s = login(argv)
    s.send(b"tty; stty size; echo $TERM\n")
    s.expect(rb"/dev/pts/\d+\r\n")
    s.expect(rb"40 100\r\n")
    s.expect(rb"dumb\r\n")
    s.send(b"trap 'stty size' WINCH; echo set\n")
    s.expect(rb"\nset\r\n")
    s.size(50, 120)
    s.expect(rb"50 120")
    s.send(b"\n")
    s.expect(rb"ready> $")
    s.send(b"sleep 100\n")
    s.expect(rb"sleep 100\r\n")
    time.sleep(0.3)
    s.send(b"\x03")
    s.expect(rb"\^C")
    s.send(b"echo status $?\n")
    s.expect(rb"status 130\r\n")
    s.send(b"exit 3\n")
    code = s.status()
    assert code == 3, code


if __name__ == "__main__":
    {"shell": shell}[sys.argv[1]](sys.argv[2:])
