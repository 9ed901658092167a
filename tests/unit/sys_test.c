/* SPDX-License-Identifier: Apache-2.0 */
/* sys_test.c - the table is sane, and the compiled filter means what the table says. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kernel/stub/stub.h"
#include "kernel/kernel.h"
#include "kernel/sys/sys.h"
#include "tests/lib/bpf.h"
#include "tests/lib/sysargs.h"

static struct sock_filter prog[SYS_FILTER_MAX];
static size_t prog_len;

static int build(void **state)
{
	int n = sys_filter_build(prog, SYS_FILTER_MAX);

	if (n <= 0)
		return -1;
	prog_len = (size_t)n;
	return 0;
}

static bool has_native_exception(const struct sys_row *row)
{
	size_t count;
	const struct sys_when *w = sys_whens(&count) + row->when_first;

	for (unsigned i = 0; i < row->when_count; i++)
		if (w[i].verdict == SYS_NATIVE)
			return true;
	return false;
}

static void every_row_says_what_it_must(void **state)
{
	size_t count;
	const struct sys_row *row = sys_rows(&count);

	assert_true(count > 370);
	for (; count > 0; count--, row++) {
		bool denied = SYS_VERDICT_KIND(row->verdict) == SYS_DENY;

		assert_ptr_equal(sys_find(row->nr), row);
		assert_ptr_equal(sys_find_name(row->name), row);
		if (row->level != SYS_FULL || row->verdict == SYS_KERNEL)
			assert_string_not_equal(row->note, "");
		assert_int_equal(row->level == SYS_NONE, denied && !has_native_exception(row));
		if (denied)
			assert_in_range(SYS_VERDICT_ERRNO(row->verdict), 1, 133);
	}
}

/* A guest may put anything into the half of an argument that the host ignores. */
static void conditions_look_at_what_the_host_looks_at(void **state)
{
	size_t count;
	const struct sys_when *w = sys_whens(&count);

	for (; count > 0; count--, w++) {
		const struct sys_row *row = sys_find(w->nr);

		for (unsigned c = 0; c < 2 && w->cond[c].op != 0; c++) {
			const struct sys_cond *cond = &w->cond[c];
			bool narrow = row->args[cond->arg] <= SYS_ARG_SIG;

			assert_in_range(cond->arg, 0, row->args_count - 1);
			if (cond->op == SYS_COND_ANY) /* flags beyond 32 bits: none exist */
				continue;
			assert_int_equal(narrow, cond->op == SYS_COND_EQ);
		}
	}
}

/* libseccomp has the numbers from another source. */
static void numbers_and_names_are_those_of_linux(void **state)
{
	size_t count, compared = 0;
	const struct sys_row *row = sys_rows(&count);

	for (; count > 0; count--, row++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, row->nr);

		if (name != NULL) {
			assert_string_equal(name, row->name);
			compared++;
		}
		free(name);
	}
	assert_true(compared >= 350);
	for (int nr = 0; nr < 512; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);

		if (name != NULL)
			assert_non_null(sys_find(nr));
		free(name);
	}
}

static void magic_numbers_are_the_ones_of_their_users(void **state)
{
	const uint64_t none[6] = { 0 };

	assert_int_equal(sys_eval(STUB_MAGIC, AUDIT_ARCH_X86_64, none), SYS_KERNEL);
	assert_int_equal(sys_eval(KERNEL_SYS_ON, AUDIT_ARCH_X86_64, none), SYS_KERNEL);
}

static void a_small_buffer_is_refused(void **state)
{
	struct sock_filter small[64];

	assert_int_equal(sys_filter_build(small, 0), -ENOSPC);
	assert_int_equal(sys_filter_build(small, 1), -ENOSPC);
	assert_int_equal(sys_filter_build(small, 64), -ENOSPC);
	assert_int_equal(sys_filter_build(prog, prog_len - 1), -ENOSPC);
	assert_int_equal(sys_filter_build(prog, prog_len), prog_len);
}

static void agree(int nr, uint32_t arch, const uint64_t args[6])
{
	struct seccomp_data d = { .nr = nr, .arch = arch, .instruction_pointer = 0x1234 };
	uint32_t want = sys_filter_ret(sys_eval(nr, arch, args)), got;

	memcpy(d.args, args, sizeof(d.args));
	got = bpf_eval(prog, prog_len, &d).ret;
	if (want != got)
		fail_msg("nr %d arch %x args %lx %lx %lx: table says %x, filter %x", nr, arch,
			 args[0], args[1], args[2], want, got);
}

/* Every value alone in each argument; for rows with exceptions also every pair. */
static void agree_on_classes(int nr, uint32_t arch)
{
	static struct sysargs vals;
	const struct sys_row *row = sys_find(nr);

	sysargs_of(nr, &vals);
	for (unsigned a = 0; a < 6; a++) {
		for (size_t i = 0; i < vals.count; i++) {
			uint64_t args[6] = { 0 };

			args[a] = vals.v[i];
			agree(nr, arch, args);
			for (size_t j = 0; row && row->when_count && a < 2 && j < vals.count; j++) {
				for (unsigned b = a + 1; b < 3; b++) {
					args[b] = vals.v[j];
					agree(nr, arch, args);
					args[b] = 0;
				}
			}
		}
	}
}

static void filter_is_the_table_for_every_number_and_argument_class(void **state)
{
	static const int others[] = { STUB_MAGIC,    STUB_MAGIC + 1,    STUB_MAGIC - 1,
				      KERNEL_SYS_ON, KERNEL_SYS_ON + 1, 0x10000,
				      INT32_MAX,     INT32_MIN };

	assert_true(bpf_valid(prog, prog_len));
	for (int nr = -8; nr < 1024; nr++) {
		agree_on_classes(nr, AUDIT_ARCH_X86_64);
		agree_on_classes(0x40000000 | (nr & 0x3ff), AUDIT_ARCH_X86_64);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		agree_on_classes(others[i], AUDIT_ARCH_X86_64);
}

static void other_architectures_are_killed_whatever_they_call(void **state)
{
	static const uint32_t archs[] = { AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0, UINT32_MAX };
	const uint64_t none[6] = { 0 };

	for (size_t a = 0; a < sizeof(archs) / sizeof(archs[0]); a++) {
		for (int nr = -8; nr < 1024; nr++) {
			assert_int_equal(sys_eval(nr, archs[a], none), SYS_KILL);
			agree(nr, archs[a], none);
		}
	}
}

/*
 * The host answers a NATIVE call from a bitmap if the program says ALLOW without
 * looking at arguments: that is what makes read and futex cost nothing.
 */
static void native_calls_are_decided_by_their_number(void **state)
{
	static const int hot[] = { SYS_read, SYS_write, SYS_futex, SYS_ioctl, SYS_epoll_wait };
	size_t count, natives = 0, steps = 0, steps_max = 0;
	const struct sys_row *row = sys_rows(&count);

	for (; count > 0; count--, row++) {
		struct seccomp_data d = { .nr = row->nr, .arch = AUDIT_ARCH_X86_64 };
		struct bpf_run run = bpf_eval(prog, prog_len, &d);

		if (row->verdict == SYS_NATIVE && row->when_count == 0) {
			assert_false(run.looks_at_args);
			natives++;
			steps += run.steps;
		}
		steps_max = run.steps > steps_max ? run.steps : steps_max;
	}
	print_message("filter: %zu instructions; %zu NATIVE calls decided by number, %.1f steps on "
		      "average, %zu at most for any row without arguments\n",
		      prog_len, natives, (double)steps / (double)natives, steps_max);
	for (size_t i = 0; i < sizeof(hot) / sizeof(hot[0]); i++) {
		struct seccomp_data d = { .nr = hot[i], .arch = AUDIT_ARCH_X86_64 };
		struct bpf_run run = bpf_eval(prog, prog_len, &d);

		print_message("filter: %s: %u steps\n", sys_find(hot[i])->name, run.steps);
		assert_in_range(run.steps, 1, 24);
	}
	assert_in_range(steps_max, 1, 64);
	assert_in_range(prog_len, 100, 1000);
}

/* ---- the oracle: libseccomp compiles the same rules in its own way ---- */
static uint32_t oracle_action(int verdict)
{
	switch (SYS_VERDICT_KIND(verdict)) {
	case SYS_NATIVE:
		return SCMP_ACT_ALLOW;
	case SYS_KERNEL:
		return SCMP_ACT_NOTIFY;
	default:
		return SCMP_ACT_ERRNO((uint32_t)SYS_VERDICT_ERRNO(verdict));
	}
}

/* libseccomp always compares 64 bits, and knows no "any of": one rule per bit says the same. */
static struct scmp_arg_cmp oracle_cmp(const struct sys_cond *c, uint32_t bit)
{
	struct scmp_arg_cmp cmp = { .arg = c->arg };

	if (c->op == SYS_COND_EQ64) {
		cmp.op = SCMP_CMP_EQ;
		cmp.datum_a = c->value;
		return cmp;
	}
	cmp.op = SCMP_CMP_MASKED_EQ;
	cmp.datum_a = c->op == SYS_COND_EQ ? c->mask : bit;
	cmp.datum_b = c->op == SYS_COND_EQ ? c->value : bit;
	return cmp;
}

static void oracle_add_when(scmp_filter_ctx ctx, const struct sys_when *w)
{
	unsigned n = w->cond[1].op != 0 ? 2 : 1;
	const struct sys_cond *any = NULL;

	for (unsigned i = 0; i < n; i++)
		if (w->cond[i].op == SYS_COND_ANY)
			any = &w->cond[i];
	for (unsigned b = 0; b < 32; b++) {
		uint32_t bit = UINT32_C(1) << b;
		struct scmp_arg_cmp cmp[2];

		if (any != NULL ? !(any->mask & bit) : b > 0)
			continue;
		cmp[0] = oracle_cmp(&w->cond[0], bit);
		if (n == 2)
			cmp[1] = oracle_cmp(&w->cond[1], bit);
		assert_int_equal(
			seccomp_rule_add_exact_array(ctx, oracle_action(w->verdict), w->nr, n, cmp),
			0);
	}
}

/*
 * libseccomp has no order of rules, so a row's own verdict must be its default
 * action: one program for each verdict that a row with exceptions has. Rows whose
 * exceptions overlap cannot be said in it at all; that is socket alone.
 */
static size_t oracle_compare(int verdict)
{
	static struct sock_filter oracle[32768];
	static struct sysargs vals;
	size_t count, len, compared = 0;
	const struct sys_row *row = sys_rows(&count);
	scmp_filter_ctx ctx = seccomp_init(oracle_action(verdict));
	int fd = memfd_create("oracle", MFD_CLOEXEC);
	ssize_t bytes;

	assert_non_null(ctx);
	assert_true(fd >= 0);
	for (size_t i = 0; i < count; i++) {
		if (row[i].when_count == 0 && row[i].verdict != verdict)
			assert_int_equal(seccomp_rule_add_exact(ctx, oracle_action(row[i].verdict),
								row[i].nr, 0),
					 0);
		else if (row[i].verdict == verdict && row[i].nr != SYS_socket)
			for (unsigned w = 0; w < row[i].when_count; w++)
				oracle_add_when(ctx,
						sys_whens(&(size_t){ 0 }) + row[i].when_first + w);
	}
	assert_int_equal(seccomp_export_bpf(ctx, fd), 0);
	seccomp_release(ctx);
	bytes = pread(fd, oracle, sizeof(oracle), 0);
	assert_true(bytes > 0 && (size_t)bytes < sizeof(oracle));
	close(fd);
	len = (size_t)bytes / sizeof(oracle[0]);
	assert_true(bpf_valid(oracle, len));

	for (size_t i = 0; i < count; i++) {
		if (row[i].nr == SYS_socket ||
		    (row[i].when_count != 0 && row[i].verdict != verdict))
			continue;
		sysargs_of(row[i].nr, &vals);
		for (size_t v = 0; v < vals.count; v++) {
			for (size_t w = 0; w < (row[i].when_count ? vals.count : 1); w++) {
				struct seccomp_data d = { .nr = row[i].nr,
							  .arch = AUDIT_ARCH_X86_64,
							  .args = {
								  vals.v[v], vals.v[w],
								  vals.v[(v + w) % vals.count] } };

				assert_int_equal(bpf_eval(prog, prog_len, &d).ret,
						 bpf_eval(oracle, len, &d).ret);
				compared++;
			}
		}
	}
	return compared;
}

static void libseccomp_compiles_the_same_verdicts(void **state)
{
	size_t count, seen_count = 0, compared = 0;
	const struct sys_row *row = sys_rows(&count);
	int seen[16];

	for (; count > 0; count--, row++) {
		bool again = false;

		for (size_t i = 0; i < seen_count; i++)
			again |= seen[i] == row->verdict;
		if (row->when_count == 0 || row->nr == SYS_socket || again)
			continue;
		assert_in_range(seen_count, 0, 15);
		seen[seen_count++] = row->verdict;
		compared += oracle_compare(row->verdict);
	}
	print_message("oracle: %zu verdicts compared in %zu programs\n", compared, seen_count);
	assert_true(seen_count >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_says_what_it_must),
		cmocka_unit_test(conditions_look_at_what_the_host_looks_at),
		cmocka_unit_test(numbers_and_names_are_those_of_linux),
		cmocka_unit_test(magic_numbers_are_the_ones_of_their_users),
		cmocka_unit_test(a_small_buffer_is_refused),
		cmocka_unit_test(filter_is_the_table_for_every_number_and_argument_class),
		cmocka_unit_test(other_architectures_are_killed_whatever_they_call),
		cmocka_unit_test(native_calls_are_decided_by_their_number),
		cmocka_unit_test(libseccomp_compiles_the_same_verdicts),
	};

	return cmocka_run_group_tests(tests, build, NULL);
}
