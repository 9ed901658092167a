#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One open file, its holders on three nodes: offset and O_APPEND are shared, nothing is lost or doubled, whichever
# guest kernel dies.
. tests/lib/cluster.sh
cluster_up 3
p tenant add alice >/dev/null || fail "tenant add"
home=$CLUSTER_DIR/vol/alice/home

here() { # a script of alice's that starts on n1 and must end well
	timeout -k 5 60 "$BIN/pando" --dir "$CLUSTER_DIR" login -T --node n1 alice -- bash -c "$1" 2>&1
}

same() { # what wanted got
	[ "$2" = "$3" ] || fail "$1: wanted '$2', got '$3'"
}

here true >/dev/null || fail "login"

# ---- writers ----
here '(echo a; on n2 echo b; echo c) >f' || fail "three writers in turn"
same "in turn" "$(printf 'a\nb\nc')" "$(cat "$home/f")"

cat >"$home/lines" <<'END'
for i in $(seq 1 $2); do echo "$1 $i"; done
END
for how in '>' '>>'; do
	here "for n in n1 n2 n3; do on \$n bash lines \$n 80 & done ${how}out; wait" || fail "three writers at once, $how"
	for n in n1 n2 n3; do
		same "$how $n" "$(seq -f "$n %g" 80)" "$(tail -n 240 "$home/out" | grep "^$n")"
	done
done
same "no line more" 480 "$(wc -l <"$home/out")"

# ---- readers ----
here 'seq 1 100 >in' || fail "in"
same "readers in turn" "1 2 3 4 5 6 7 8" "$(here 'exec <in
	read x; echo $x
	on n2 dash -c "read x; echo \$x; read x; echo \$x"
	read x; echo $x
	on n3 bash -c "read x; echo \$x; on n2 dash -c \"read x; echo \\\$x\"; on n1 dash -c \"read x; echo \\\$x\"; read x; echo \$x"' | xargs)"
same "end of file" "100 0 1" "$(here 'exec <in; cat >/dev/null; on n2 bash -c "read x; echo \$(stat -Lc %s in | wc -l) >/dev/null; exit 0"
	echo 100; on n2 cat | wc -c; on n3 dash -c "read x"; echo $?' | xargs)"
same "an input of its own can seek" "1" "$(here 'on n2 head -n 1 <in')"

# ---- locks: who execs elsewhere with a lock of its description keeps it, until it ends; a lock of the process keeps that here ----
cat >"$home/locked.sh" <<'END'
eval "exec 8$2lock"
flock $1 8
exec on n2 sh -c 'echo in; read x <go'
END
for how in "-x >" "-s <"; do
	same "a lock that goes away, $how" "in held free" "$(here ": >lock; rm -f go; mkfifo go; bash locked.sh $(printf '%q ' $how) >said & until grep -qs in said; do sleep 0.05; done
		flock -n lock true || echo held >>said; echo >go; wait; flock -w 10 lock true && echo free >>said; xargs <said")"
done
same "a lock of the process" "126 0" "$(here 'python3 -c "
import fcntl, os, sys
f = open(\"lock\", \"w\")
fcntl.lockf(f, fcntl.LOCK_EX)
os.set_inheritable(f.fileno(), True)
os.execvp(\"on\", [\"on\", \"n2\", \"true\"])" >/dev/null 2>&1; echo $?; on n2 true; echo $?' | xargs)"

# ---- what a stream is not ----
cat >"$home/calls.py" <<'END'
import errno, mmap, os, select, stat
def t(f):
    try: return f()
    except OSError as e: return errno.errorcode[e.errno]
st = os.fstat(0)
print(t(lambda: os.lseek(0, 0, 1)), t(lambda: os.pread(0, 1, 0)), t(lambda: mmap.mmap(0, 10, prot=mmap.PROT_READ)),
      t(lambda: os.sendfile(1, 0, None, 10)), t(lambda: os.fsync(0)), t(lambda: os.ftruncate(0, 5)),
      st.st_size, stat.S_ISREG(st.st_mode), st.st_uid, select.select([0], [], [], 0)[0], t(lambda: os.write(0, b"x")))
END
same "calls" "ESPIPE ESPIPE ENODEV EINVAL None EINVAL 292 True 1000 [0] EBADF" "$(here 'exec <in; on n2 python3 calls.py; true')"
same "read and write" "hello b'hello\nthere\nmore\n'" "$(here 'python3 -c "
import os
f = os.open(\"rw\", os.O_RDWR | os.O_CREAT, 0o600)
os.write(f, b\"hello\nworld\n\"); os.lseek(f, 0, 0); os.dup2(f, 7)
os.system(\"on n2 sh -c \\\"read x <&7; echo \\\\\$x; echo there >&7; echo more >&7\\\"\")
os.ftruncate(f, 17); os.lseek(f, 0, 0); print(os.read(f, 100))"' | xargs -d '\n')"
same "truncate" "3" "$(here 'exec 7<>rw; on n2 python3 -c "import os; os.ftruncate(7, 3); os.fsync(7)"; stat -c %s rw')"
# Its name is good for its process alone, and only while that gets it.
here 'exec 9>f; on n2 sh -c "ls /proc/.stream; cat \$(readlink /proc/self/fd/9)" 2>/dev/null; [ $? != 0 ]' ||
	fail "a stream was opened by its name"

# ---- a running process moves with its files ----
cat >"$home/moves.py" <<'END'
import os, sys, time
for i in range(40):
    while i == 30 and not os.path.exists("moved"): time.sleep(0.02)
    n = b""
    while not n.endswith(b"\n"): n += os.read(0, 1) or sys.exit("the end")
    os.write(1, b"python %s" % n)
    time.sleep(0.03)
print(open("/proc/%d/node" % os.getpid()).read().strip(), file=sys.stderr)
END
got=$(here 'exec 6<in >m 5>nodes
	python3 moves.py <&6 2>&5 & pid=$!
	for n in n2 n3 n1 n2; do
		sleep 0.2
		echo $n >/proc/$pid/node || echo "not to $n" >&5
		echo "shell $n"
	done
	touch moved
	wait $pid; read -r x <&6; echo "last $x"; cat nodes >&2')
same "where it ended" n2 "$got"
same "read and written on the way" "$(seq -f "python %g" 40)" "$(grep python "$home/m")"
same "written meanwhile" "shell n2 shell n3 shell n1 shell n2 last 41" "$(grep -v python "$home/m" | xargs)"

# ---- it is let go ----
let_go() { # no descriptor of the guest kernel is that file
	[ "$(ls -l "/proc/$(kernel_pid n1 alice)/fd" | grep -c "home/big")" = 0 ]
}
here 'exec 5>big; on n2 true; on n3 sh -c "echo x >&5"' || fail "big"
wait_for 10 let_go || fail "the owner keeps what nobody holds"

# ---- deaths ----
# At each step of a request, on the owner's side (n1) and on the site's (n2).
arm() { # node point
	p debug fault "$1" alice "$2:20" >/dev/null || fail "arm $2"
	victim=$(kernel_pid "$1" alice)
}
died() { # node
	wait_for 10 sh -c '[ ! -d "/proc/$1" ]' _ "$victim" || fail "$step: nobody died"
	wait_for 20 kernel_pid "$1" alice >/dev/null || fail "$step: no successor"
}
for step in n1:before n1:intent n1:made n1:done n2:asked n2:answered n2:answer; do
	node=${step%:*} point=kernel.stream.${step#*:}
	arm "$node" "$point"
	here 'exec 5>w; for i in 1 2; do on n2 bash lines b 30 >&5; echo a $i >&5; done' || fail "$step: the writers failed"
	same "$step: written" "$(for i in 1 2; do seq -f "b %g" 30; echo "a $i"; done)" "$(cat "$home/w")"
	died "$node"
	arm "$node" "$point"
	same "$step: read" "$(seq 1 31 | xargs)" "$(here 'exec <in; on n2 dash -c "for i in \$(seq 30); do read x; echo \$x; done"; read x; echo $x' | xargs)"
	died "$node"
done
exit 0
