/* SPDX-License-Identifier: Apache-2.0 */
/* seccomp(2): a list of numbers, the most frequent first (the host caches always-allow), then a few
 * by argument. */
#include "kernel/host/jail.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/check.h"

/* clang-format off */
static const unsigned short allowed[] = {
	/* bytes */
	SYS_read, SYS_write, SYS_close, SYS_lseek, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev,
	SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_splice, SYS_tee, SYS_pipe2, SYS_dup,
	SYS_dup2, SYS_dup3, SYS_fcntl, SYS_ioctl, SYS_ftruncate, SYS_fchown, SYS_memfd_create, SYS_fsync,
	SYS_fdatasync,
	SYS_close_range,
	/* names: there are none but procfs, cgroup directories and what a helper hands us */
	SYS_openat, SYS_openat2, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_readlinkat, SYS_readlink,
	SYS_getdents64, SYS_mkdirat, SYS_unlinkat, SYS_faccessat, SYS_faccessat2,
	/* memory */
	SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk,
	/* waiting */
	SYS_poll, SYS_ppoll, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_wait, SYS_epoll_pwait,
	SYS_epoll_pwait2, SYS_eventfd2, SYS_timerfd_create, SYS_timerfd_settime, SYS_futex,
	SYS_timer_create, SYS_timer_settime, SYS_timer_delete,
	SYS_nanosleep, SYS_clock_nanosleep, SYS_restart_syscall, SYS_sched_yield,
	/* sockets that we were given; new ones: see socket below */
	SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_accept4, SYS_getsockname,
	SYS_getpeername, SYS_getsockopt, SYS_setsockopt,
	/* ourselves */
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_exit,
	SYS_exit_group, SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid,
	SYS_getegid, SYS_tgkill, SYS_set_robust_list, SYS_get_robust_list, SYS_rseq, SYS_prlimit64,
	SYS_getrandom, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_uname,
	SYS_sysinfo, SYS_getrusage, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_getcpu,
	SYS_prctl, SYS_arch_prctl, SYS_membarrier, SYS_set_tid_address,
	/* guests */
	SYS_pidfd_open, SYS_pidfd_getfd, SYS_pidfd_send_signal, SYS_process_vm_readv,
	SYS_process_vm_writev, SYS_ptrace, SYS_wait4, SYS_waitid, SYS_kcmp, SYS_seccomp,
};
/* clang-format on */

static struct sock_filter jump(unsigned code, unsigned k, unsigned jt, unsigned jf)
{
	return (struct sock_filter)BPF_JUMP((unsigned short)(BPF_JMP | code | BPF_K), k,
					    (unsigned char)jt, (unsigned char)jf);
}

static struct sock_filter load(size_t offset)
{
	return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset);
}

static struct sock_filter answer(unsigned k)
{
	return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, k);
}

/* If the call is @nr: allowed with the bits @mask of argument @arg equal to @want, else refused. */
static unsigned by_argument(struct sock_filter *f, unsigned nr, unsigned arg, unsigned mask,
			    unsigned want)
{
	f[0] = jump(BPF_JEQ, nr, 0, 5);
	f[1] = load(offsetof(struct seccomp_data, args) + 8ul * arg);
	f[2] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask);
	f[3] = jump(BPF_JEQ, want, 0, 1);
	f[4] = answer(SECCOMP_RET_ALLOW);
	f[5] = answer(SECCOMP_RET_ERRNO | EPERM);
	return 6;
}

int jail_enter(void)
{
	struct sock_filter f[2 * ARRAY_LEN(allowed) + 40];
	struct sock_fprog prog = { .filter = f };
	unsigned n = 0;

	f[n++] = load(offsetof(struct seccomp_data, arch));
	f[n++] = jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
	f[n++] = answer(SECCOMP_RET_KILL_PROCESS);
	f[n++] = load(offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		f[n++] = jump(BPF_JEQ, allowed[i], 0, 1);
		f[n++] = answer(SECCOMP_RET_ALLOW);
	}
	n += by_argument(f + n, SYS_socket, 0, ~0u, AF_UNIX);
	n += by_argument(f + n, SYS_socketpair, 0, ~0u, AF_UNIX);
	/* Threads only. clone3 hides its flags behind a pointer: glibc falls back on ENOSYS. */
	n += by_argument(f + n, SYS_clone, 0, CLONE_THREAD, CLONE_THREAD);
	f[n++] = jump(BPF_JEQ, SYS_clone3, 0, 1);
	f[n++] = answer(SECCOMP_RET_ERRNO | ENOSYS);
	f[n++] = answer(SECCOMP_RET_ERRNO | EPERM);
	CHECK(n <= ARRAY_LEN(f));
	prog.len = (unsigned short)n;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	/* TSYNC answers with the id of a thread that could not follow. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) != 0)
		return errno != 0 ? -errno : -ESRCH;
	return 0;
}
