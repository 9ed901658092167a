/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail.c - seccomp(2) around the session program: it reads what a tenant and a stranger send, and
 * needs nothing but the descriptors that it has, memory, threads, unix sockets and to see one come.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cmd/gate/gate.h"

/* clang-format off */
static const unsigned short allowed[] = {
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_poll, SYS_ppoll, SYS_futex, SYS_ioctl,
	SYS_close, SYS_fcntl, SYS_lseek, SYS_fstat, SYS_dup,
	SYS_connect, SYS_accept4, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_shutdown,
	SYS_getsockopt, SYS_setsockopt,
	SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk,
	/* threads, and none that is a process */
	SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_set_tid_address, SYS_gettid,
	SYS_getpid, SYS_sched_yield, SYS_exit, SYS_exit_group, SYS_prlimit64, SYS_tgkill,
	SYS_sched_getaffinity,
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_signalfd4,
	SYS_restart_syscall,
	SYS_clock_gettime, SYS_gettimeofday, SYS_getrandom,
	/* for the socket of a daemon that is away */
	SYS_inotify_init1, SYS_inotify_add_watch,
};
/* clang-format on */

static struct sock_filter jump(unsigned k, unsigned jt, unsigned jf)
{
	return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, (unsigned char)jt,
					    (unsigned char)jf);
}

static struct sock_filter load(size_t offset)
{
	return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset);
}

static struct sock_filter answer(unsigned k)
{
	return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, k);
}

int gate_jail(void)
{
	struct sock_filter f[2 * ARRAY_LEN(allowed) + 10];
	struct sock_fprog prog = { .filter = f };
	unsigned short n = 0;

	f[n++] = load(offsetof(struct seccomp_data, arch));
	f[n++] = jump(AUDIT_ARCH_X86_64, 1, 0);
	f[n++] = answer(SECCOMP_RET_KILL_PROCESS);
	f[n++] = load(offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		f[n++] = jump(allowed[i], 0, 1);
		f[n++] = answer(SECCOMP_RET_ALLOW);
	}
	f[n++] = jump(SYS_socket, 0, 3);
	f[n++] = load(offsetof(struct seccomp_data, args));
	f[n++] = jump(AF_UNIX, 0, 1);
	f[n++] = answer(SECCOMP_RET_ALLOW);
	/* What the library may find missing, rather than forbidden: it knows what to do then. */
	f[n++] = answer(SECCOMP_RET_ERRNO | ENOSYS);
	prog.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) != 0)
		return -errno;
	return 0;
}
