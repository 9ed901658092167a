# SPDX-License-Identifier: Apache-2.0
# hogs.py - programs that take all of something and never stop; each says once what it is told then ("EAGAIN ...").
# Run by python3 inside a session. HOGS[name] is the text.
HOGS = {
    "fork_bomb": """
import errno, os
def bomb():
    while True:
        try:
            if os.fork() == 0: bomb()
        except OSError as e:
            os.write(1, errno.errorcode[e.errno].encode() + b"\\n")
            break
    while True:
        try:
            if os.fork() == 0: bomb()
        except OSError:
            sum(range(10000))
bomb()
""",
    "memory_hog": """
import os
def hog():
    told = False
    while True:
        a = []
        try:
            while True: a.append(bytearray(b"x" * (1 << 20)))
        except MemoryError:
            a = None
            if not told: os.write(1, b"ENOMEM\\n")
            told = True
# Several that grow at once may be ended by the control group before they are told.
n = 0
while True:
    while n < 8:
        if os.fork() == 0: hog()
        n += 1
    _, status = os.wait()
    n -= 1
    if status == 9: os.write(1, b"SIGKILL\\n")
""",
    # What no malloc sees: the control group's own limit ends this one.
    "shared_memory_hog": """
import mmap, os, time
m = mmap.mmap(-1, 1 << 30)
if os.fork() == 0:
    for at in range(0, 1 << 30, 4096): m[at] = 1
_, status = os.wait()
os.write(1, b"SIGKILL\\n" if status == 9 else b"status %d\\n" % status)
while True: time.sleep(60)
""",
    "disk_hog": """
import errno, os
told = False
while True:
    try:
        with open("big", "wb", buffering=0) as f:
            while True: f.write(b"x" * (1 << 20))
    except OSError as e:
        if not told: os.write(1, errno.errorcode[e.errno].encode() + b"\\n")
        told = True
        os.unlink("big")
""",
}
