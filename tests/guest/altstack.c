/* SPDX-License-Identifier: Apache-2.0 */
/* altstack.c - a handler on an alternate stack survives a stack overflow. */
#include "tests/guest/guest.h"

#pragma GCC diagnostic ignored "-Winfinite-recursion"

#include <setjmp.h>
#include <sys/resource.h>

static sigjmp_buf back;
static char *stack;
static size_t size = 65536;
static volatile int inside;

static void handler(int sig)
{
	char here;
	stack_t now;

	inside = &here >= stack && &here < stack + size;
	must(sigaltstack(NULL, &now) == 0);
	inside += 2 * (now.ss_flags == SS_ONSTACK);
	siglongjmp(back, 1);
}

static int deep(volatile int n)
{
	volatile char block[4096];

	block[0] = (char)n;
	return deep(n + 1) + block[0];
}

int main(void)
{
	struct rlimit l = { 1 << 20, 1 << 20 };
	stack_t ss = { .ss_size = size };

	must(setrlimit(RLIMIT_STACK, &l) == 0);
	stack = malloc(size);
	ss.ss_sp = stack;
	must(sigaltstack(&ss, NULL) == 0);
	on_signal(SIGSEGV, handler, SA_ONSTACK);
	if (sigsetjmp(back, 1) == 0)
		deep(0);
	say("handler on its stack and it knows: %d", inside);
	ss.ss_size = 100;
	fails(ENOMEM, sigaltstack(&ss, NULL));
	ss.ss_flags = SS_DISABLE;
	must(sigaltstack(&ss, NULL) == 0);
	free(stack);
	return 0;
}
