/* SPDX-License-Identifier: Apache-2.0 */
/* longjmp.c - leaving a handler by siglongjmp; nested handlers; SA_NODEFER, SA_RESETHAND, masks. */
#include "tests/guest/guest.h"

#include <setjmp.h>

static sigjmp_buf back;
static volatile int depth, deepest;

static void jump(int sig)
{
	siglongjmp(back, sig);
}

static void nest(int sig)
{
	depth++;
	deepest = depth > deepest ? depth : deepest;
	if (deepest < 4)
		raise(sig);
	depth--;
}

static void masked(int sig)
{
	sigset_t now;

	must(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
	say("in the handler blocked: USR1 %d USR2 %d TERM %d", sigismember(&now, SIGUSR1),
	    sigismember(&now, SIGUSR2), sigismember(&now, SIGTERM));
}

int main(void)
{
	struct sigaction sa = { .sa_handler = masked, .sa_flags = SA_RESETHAND };
	sigset_t now;

	on_signal(SIGUSR1, jump, 0);
	for (int i = 0; i < 1000; i++)
		if (sigsetjmp(back, 1) == 0)
			raise(SIGUSR1);
	must(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && !sigismember(&now, SIGUSR1));
	say("a thousand jumps, mask restored");
	on_signal(SIGUSR2, nest, SA_NODEFER);
	raise(SIGUSR2);
	say("nested %d deep", deepest);
	sigaddset(&sa.sa_mask, SIGTERM);
	must(sigaction(SIGUSR1, &sa, NULL) == 0);
	raise(SIGUSR1);
	must(sigaction(SIGUSR1, NULL, &sa) == 0);
	say("reset after one: %d", sa.sa_handler == SIG_DFL);
	fails(EINVAL, sigaction(SIGKILL, &sa, NULL));
	return 0;
}
