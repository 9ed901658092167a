/* SPDX-License-Identifier: Apache-2.0 */
/* registers.c - vector registers, x87 and MXCSR live through signals, calls and sleeps. */
#include "tests/guest/guest.h"

#include <immintrin.h>

static volatile sig_atomic_t hits;

static void handler(int sig)
{
	__asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm7, %%xmm7\n\tpxor %%xmm15, %%xmm15\n\t"
			 "fninit\n\t" ::
				 : "xmm0", "xmm7", "xmm15");
	hits++;
}

__attribute__((target("avx"))) static int avx_kept(void)
{
	float in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[8] = { 0 };
	long r, pid = getpid(), sig = SIGUSR1;

	/* kill(getpid(), SIGUSR1) while ymm7 holds the values: the handler wipes it */
	__asm__ volatile("vmovups %2, %%ymm7\n\tsyscall\n\tvmovups %%ymm7, %1\n\tvzeroupper"
			 : "=a"(r), "=m"(out)
			 : "m"(in), "a"(62L), "D"(pid), "S"(sig)
			 : "rcx", "r11", "memory", "xmm7");
	must(r == 0);
	return memcmp(in, out, sizeof(in)) == 0;
}

static unsigned short x87_control(void)
{
	unsigned short cw;

	__asm__ volatile("fnstcw %0" : "=m"(cw));
	return cw;
}

static void set_x87_control(unsigned short cw)
{
	__asm__ volatile("fldcw %0" : : "m"(cw));
}

int main(void)
{
	long double third = 1.0L / 3;
	unsigned csr = (_mm_getcsr() & ~0x6000U) | 0x4000; /* round up */
	unsigned short cw = (x87_control() & ~0x0c00) | 0x0800;
	pid_t pid;

	on_signal(SIGUSR1, handler, 0);
	say("AVX through a signal: %d", !__builtin_cpu_supports("avx") || avx_kept());
	_mm_setcsr(csr);
	set_x87_control(cw);
	raise(SIGUSR1);
	pause_ms(1);
	say("rounding kept: SSE %d, x87 %d", (_mm_getcsr() & 0x6000) == 0x4000,
	    (x87_control() & 0x0c00) == 0x0800);
	_mm_setcsr(csr & ~0x6000U);
	set_x87_control(cw & ~0x0c00);
	say("x87: %.19Lf", third * 3);
	say("handlers %d", hits);
	pid = fork_child();
	if (pid == 0) {
		volatile double zero = 0, r;

		_mm_setcsr(0x1f80 & ~0x0200U); /* division by zero traps */
		r = 1 / zero;
		(void)r;
		_exit(0);
	}
	say("enabled exception: signal %d", WTERMSIG(reap(pid)));
	return 0;
}
