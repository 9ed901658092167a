#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Running programs are moved between two nodes and back; they must not notice, nor anybody who reads them.
set -eu
B=${B:-build/gcc}
dir=$PANDO_TEST_DIR
mkdir -p "$dir/shared"
cp "$B/guest/movee" "$dir/movee"
chmod 755 "$dir" "$dir/movee"
chmod 777 "$dir/shared"
cat >"$dir/count.py" <<'END'
import hashlib, time
h = hashlib.sha256()
for i in range(60):
    h.update(str(i).encode() * 1000)
    print(i, h.hexdigest(), flush=True)
    time.sleep(0.01)
END
cat >"$dir/count.sh" <<'END'
i=0
while [ $i -lt 200000 ]; do i=$((i + 1)); [ $((i % 5000)) = 0 ] && echo $i; done
exit 3
END

move() {
	printf '%-28s ' "${*/#$dir\//}"
	"$B/int/move" "$dir" "$B/bin/pando-stub" "$@" >"$dir/log" 2>&1 || {
		echo failed
		cat "$dir/log"
		exit 1
	}
	tail -n 1 "$dir/log"
}

export EVERY=2
for threads in 1 2 4 8; do
	move "$dir/movee" compute $threads
done
move "$dir/movee" signals
EVERY=1 move "$dir/movee" sleep
move "$dir/movee" files "$dir/shared"
move "$dir/movee" mapped "$dir/shared"
move "$dir/movee" attributes
move "$dir/movee" events
move "$dir/movee" parent # it is in a stub with a live child that it becomes the process again
FEED=abcdefgh MOVES=4 move "$dir/movee" blocked
move /usr/bin/python3 "$dir/count.py"
move /bin/dash "$dir/count.sh"
AT_EXEC=1 EVERY=1 MOVES=1 move /bin/dash -c \
	"echo start; i=0; while [ \$i -lt 300000 ]; do i=\$((i + 1)); done; exec $dir/movee files $dir/shared"

refuse() { # words, kind
	REFUSED=$1 move "$dir/movee" refused "$2"
}
refuse "is shared" shared
refuse "is shared with another process" both
refuse "locked memory" locked
refuse "no_new_privs" privileges
refuse "inotify" inotify
refuse "holds a lock" lock
refuse "(deleted)" deleted
KILLED=freeze move "$dir/movee" compute 4
KILLED=build move "$dir/movee" compute 4

# Whoever dies at any step of either side: it goes on, here or there, and only once.
for point in gate.park.slot gate.park.mask image.freeze.parked gate.area.mapped gate.table.running \
	gate.call.entered image.dump.state image.leave.timers gate.exec.set gate.exec.entered \
	gate.exec.done; do
	printf 'source dies at %-22s ' "$point"
	FAULT_SOURCE=$point MOVES=2 move "$dir/movee" compute 2
done
for point in gate.park.regs gate.area.recorded gate.area.mapped gate.area.unmapped image.build.cleared \
	image.build.pages image.build.files image.build.born image.build.limits image.build.ready \
	image.go.unparked gate.unpark.mask gate.unpark.regs; do
	printf 'target dies at %-22s ' "$point"
	FAULT_TARGET=$point MOVES=2 move "$dir/movee" compute 2
done
