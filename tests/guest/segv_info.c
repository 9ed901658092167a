/* SPDX-License-Identifier: Apache-2.0 */
/* segv_info.c - SIGSEGV and SIGBUS say where and why; a handler can repair. */
#include "tests/guest/guest.h"

#include <setjmp.h>

static volatile int code;
static char *volatile fault;
static char *page;

static void repair(int sig, siginfo_t *si, void *ctx)
{
	code = si->si_code;
	fault = si->si_addr;
	must(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
}

static sigjmp_buf back;

static void jump(int sig, siginfo_t *si, void *ctx)
{
	code = si->si_code;
	fault = si->si_addr;
	siglongjmp(back, sig);
}

int main(void)
{
	int fd = scratch("segv.tmp", false);
	char *file;
	pid_t pid;

	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	on_siginfo(SIGSEGV, repair, 0);
	page[100] = 5;
	say("ACCERR %d, at the byte %d, repaired %d", code == SEGV_ACCERR, fault == page + 100,
	    page[100]);
	must(munmap(page, 4096) == 0);
	on_siginfo(SIGSEGV, jump, 0);
	if (sigsetjmp(back, 1) == 0)
		page[0] = 1;
	say("MAPERR %d, at the byte %d", code == SEGV_MAPERR, fault == page);
	must(ftruncate(fd, 4096) == 0);
	file = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	on_siginfo(SIGBUS, jump, 0);
	if (sigsetjmp(back, 1) == 0)
		code = file[4096];
	say("behind the end of a file: SIGBUS, ADRERR %d", code == BUS_ADRERR);
	fails(EFAULT, (int)write(1, page, 1));
	pid = fork_child();
	if (pid == 0) {
		on_signal(SIGSEGV, SIG_DFL, 0);
		page[0] = 1;
		_exit(0);
	}
	say("default: signal %d", WTERMSIG(reap(pid)));
	return 0;
}
