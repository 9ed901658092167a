#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""terminal.py CMD...: runs a login command on a pty of ours and checks what a person would see."""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time


class Session:
    def __init__(self, argv, rows=40, cols=100):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            # The size is set by the parent; wait for its word.
            sys.stdin.readline()
            os.execv(argv[0], argv)
        self.size(rows, cols)
        os.write(self.fd, b"\n")
        self.seen = b""

    def size(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def send(self, data):
        os.write(self.fd, data)

    def expect(self, pattern, seconds=40):
        end = time.monotonic() + seconds
        while not (m := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                sys.exit(f"tty: no {pattern!r} in {self.seen!r}")
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                sys.exit(f"tty: ended without {pattern!r} in {self.seen!r}")
            self.seen += chunk
        self.seen = self.seen[m.end():]
        return m

    def status(self):
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main():
    argv = sys.argv[1:]
    s = Session(argv + ["--", "sh", "-c", "tty; stty size; echo $TERM; exit 5"])
    s.expect(rb"/dev/pts/\d+\r\n")
    s.expect(rb"40 100\r\n")
    s.expect(rb"dumb\r\n")
    code = s.status()
    assert code == 5, code

    # A shell without a command; a change of the window reaches it; ctrl-C ends a program, not the shell.
    s = Session(argv)
    s.send(b"PS1='ready> '\n")
    s.expect(rb"ready> $")
    s.send(b"trap 'stty size' WINCH; echo set\n")
    # Not before the prompt: a readline that begins reads the window's size and sets it again, on any system.
    s.expect(rb"\nset\r\nready> $")
    s.size(50, 120)
    s.send(b"\n")
    s.expect(rb"50 120")
    # A program says itself that it is there: a ctrl-C before that is the shell's own, on any system.
    s.send(b"sh -c 'echo sl''eeps; exec sleep 100'\n")
    s.expect(rb"\nsleeps\r\n")
    s.send(b"\x03")
    s.expect(rb"\^C")
    s.send(b"echo status $?\n")
    s.expect(rb"status 130\r\n")
    # Job control: ctrl-Z stops, fg goes on.
    s.send(b"sh -c 'echo sl''eeps; exec sleep 100'\n")
    s.expect(rb"\nsleeps\r\n")
    s.send(b"\x1a")
    s.expect(rb"Stopped")
    s.send(b"kill %1; fg; echo over\n")
    s.expect(rb"\nover\r\n")
    s.send(b"exit 3\n")
    code = s.status()
    assert code == 3, code

    # Much output arrives whole before the end.
    s = Session(argv + ["--", "sh", "-c", "seq 20000; echo last"])
    s.expect(rb"\n20000\r\nlast\r\n", 30)
    assert s.status() == 0


if __name__ == "__main__":
    main()
