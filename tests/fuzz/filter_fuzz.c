/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter_fuzz.c - random calls: the compiled filter and the table always agree.
 *
 *	filter_fuzz          a million seeded random calls
 *	filter_fuzz FILE...  calls from the bytes of files: nr, arch, six arguments each
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "kernel/sys/sys.h"
#include "tests/lib/bpf.h"
#include "tests/lib/sysargs.h"

#define ROUNDS 1000000
#define SEED   20

static struct sock_filter prog[SYS_FILTER_MAX];
static size_t prog_len;

static int try(const struct seccomp_data *d)
{
	uint64_t args[6];
	uint32_t want, got;

	memcpy(args, d->args, sizeof(args));
	want = sys_filter_ret(sys_eval(d->nr, d->arch, args));
	got = bpf_eval(prog, prog_len, d).ret;
	if (want == got)
		return 0;
	fprintf(stderr,
		"nr %d arch %#x args %#lx %#lx %#lx %#lx %#lx %#lx: the table says %#x, the filter "
		"%#x\n",
		d->nr, d->arch, args[0], args[1], args[2], args[3], args[4], args[5], want, got);
	return 1;
}

/* A value that the row of the call could care about, or anything at all. */
static uint64_t random_arg(struct rand *r, const struct sysargs *vals)
{
	return rand_chance(r, 1, 8) ? rand_next(r) : vals->v[rand_below(r, vals->count)];
}

static int try_random(struct rand *r, struct sysargs *vals)
{
	size_t count;
	const struct sys_row *rows = sys_rows(&count);
	struct seccomp_data d = { .arch = AUDIT_ARCH_X86_64 };
	int bad = 0;

	d.nr = rand_chance(r, 7, 8) ? rows[rand_below(r, count)].nr : (int)rand_next(r);
	if (rand_chance(r, 1, 64))
		d.arch = (uint32_t)rand_next(r);
	sysargs_of(d.nr, vals);
	for (int same = 0; same < 64; same++) {
		for (int a = 0; a < 6; a++)
			d.args[a] = random_arg(r, vals);
		bad |= try(&d);
	}
	return bad;
}

static int try_file(const char *name)
{
	struct seccomp_data d;
	FILE *f = fopen(name, "rb");
	int bad = 0;

	if (f == NULL) {
		perror(name);
		return 1;
	}
	while (fread(&d, sizeof(d), 1, f) == 1)
		bad |= try(&d);
	fclose(f);
	return bad;
}

int main(int argc, char **argv)
{
	static struct sysargs vals;
	int n = sys_filter_build(prog, SYS_FILTER_MAX), bad = 0;
	struct rand r;

	if (n <= 0 || !bpf_valid(prog, (size_t)n)) {
		fprintf(stderr, "the table does not compile\n");
		return 1;
	}
	prog_len = (size_t)n;
	for (int i = 1; i < argc; i++)
		bad |= try_file(argv[i]);
	rand_seed(&r, SEED);
	for (int i = 0; argc == 1 && i < ROUNDS / 64; i++)
		bad |= try_random(&r, &vals);
	return bad;
}
