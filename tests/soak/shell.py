#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shell.py CMD...: a person at a shell on a terminal; ends with status 7 when all was as it should be, 8 if ctrl-C did not end a job."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from terminal import Session  # noqa: E402


def main():
    s = Session(sys.argv[1:])
    # Never as it is typed, so that the echo is not taken for it.
    s.send(b"PS1='rea''dy> '\n")
    s.expect(rb"ready> $", 120)
    for i in range(4):
        s.send(b"on n%d sh -c 'echo x%d; exit %d'; echo \"<$?>\"\n" % (i % 3 + 1, i, i))
        m = s.expect(rb"\nx%d\r?\n|\n(pando: [^\n]*)\n" % i, 120)
        if m[1]:
            sys.exit(f"refused: {m[1]!r}")
        s.expect(rb"<%d>" % i, 120)
    # Each says that it is there: of a ctrl-C while they are begun the shell itself makes on any system that the first of
    # them dies and the next is in a group that is not in front, or the other way round.
    s.send(b"sh -c 'echo fir''st >&2; exec sleep 1000' | on n2 sh -c 'echo sec''ond >&2; exec sleep 1000'\n")
    m = s.expect(rb"(?s)first.*(second|pando: )|(second|pando: ).*first", 120)
    s.send(b"\x03")
    try:
        s.expect(rb"ready> $", 120)
    except SystemExit as why:
        if str(why).startswith("tty: ended"):
            print(f"{why}, status {s.status()}")
            sys.exit(9)
        print(why)
        sys.exit(8)
    s.send(b"echo \"<$?>\"\n")
    s.expect(rb"\n<130>" if b"second" in m.groups() else rb"\n<\d+>", 120)
    s.send(b"exit 7\n")
    sys.exit(s.status())


main()
