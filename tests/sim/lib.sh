# SPDX-License-Identifier: Apache-2.0
# Sourced. small_sim OUT CC FLAGS...: the simulator and the cores it runs, and nothing else, as a program of its own.
small_sim() {
	local out=$1 cc=$2
	shift 2
	mkdir -p "$(dirname "$out")"
	printf '#include "sim/sim.h"\nint main(int c, char **v) { return sim_main(c, v); }\n' >"$out.c"
	"$cc" -std=gnu11 -D_GNU_SOURCE -I. -Ibuild/gcc/gen -w "$@" -o "$out" "$out.c" sim/*.c migrate/core/*.c naming/core/*.c \
		naming/member/core/*.c naming/raft/*.c naming/wire.c build/gcc/gen/naming/naming.pb-c.c dsm/core/*.c quota/core/share.c quota/quota.c \
		rpc/core/*.c kernel/sched/*.c base/rand.c base/check.c base/trace.c base/log.c base/clock.c base/mutant.c base/buf.c \
		-lraft -lprotobuf-c -lxxhash -pthread
}
