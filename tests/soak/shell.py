#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shell.py CMD...: a person at a shell on a terminal; ends with status 7 when all was as it should be, 8 if ctrl-C ended nothing."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from terminal import Session  # noqa: E402


def main():
    s = Session(sys.argv[1:])
    # Never as it is typed, so that the echo is not taken for it.
    s.send(b"PS1='rea''dy> '\n")
    s.expect(rb"ready> $", 120)
    for i in range(4):
        s.send(b"on n%d sh -c 'echo x%d; exit %d'; echo \"<$?>\"\n" % (i % 3 + 1, i, i))
        s.expect(rb"\nx%d\r?\n" % i, 120)
        s.expect(rb"<%d>" % i, 120)
    s.send(b"sleep 1000 | on n2 sleep 1000\n")
    s.expect(rb"sleep 1000\r?\n", 120)
    # A ctrl-C before the job is in front is the shell's own.
    for _ in range(40):
        s.send(b"\x03")
        time.sleep(1)
        s.send(b"echo \"<over>\"\n")
        try:
            s.expect(rb"\n<over>", 3)
            break
        except SystemExit as why:
            last = why
            if str(why).startswith("tty: ended"):
                print(f"{why}, status {s.status()}")
                sys.exit(9)
    else:
        print(last)
        sys.exit(8)
    s.send(b"exit 7\n")
    sys.exit(s.status())


main()
