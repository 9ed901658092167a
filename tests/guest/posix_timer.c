/* SPDX-License-Identifier: Apache-2.0 */
/* posix_timer.c - timer_create: signal with value, periodic, CPU clock, overrun. */
#include "tests/guest/guest.h"

static volatile int value;
static volatile sig_atomic_t fired;

static void handler(int sig, siginfo_t *si, void *ctx)
{
	value = si->si_value.sival_int;
	must(si->si_code == SI_TIMER);
	fired++;
}

int main(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec t = { { 0, 1000000 }, { 0, 1000000 } }, now, off = { 0 };
	timer_t id, cpu;
	struct timespec limit = { 10, 0 };
	siginfo_t si;
	sigset_t set;

	ev.sigev_value.sival_int = 99;
	on_siginfo(SIGRTMIN, handler, 0);
	must(timer_create(CLOCK_MONOTONIC, &ev, &id) == 0 && timer_settime(id, 0, &t, NULL) == 0);
	while (fired < 3)
		pause_ms(1);
	say("value %d", value);
	must(timer_gettime(id, &now) == 0 && now.it_interval.tv_nsec == 1000000);
	block_signal(SIGRTMIN);
	pause_ms(20);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	must(sigtimedwait(&set, &si, &limit) == SIGRTMIN);
	say("overruns %d", si.si_overrun >= 5);
	must(timer_settime(id, 0, &off, NULL) == 0 && timer_delete(id) == 0);
	ev.sigev_notify = SIGEV_NONE;
	must(timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &cpu) == 0);
	t = (struct itimerspec){ { 0, 0 }, { 0, 1000000 } };
	must(timer_settime(cpu, 0, &t, NULL) == 0);
	do {
		must(timer_gettime(cpu, &now) == 0);
	} while (now.it_value.tv_nsec != 0 || now.it_value.tv_sec != 0);
	say("CPU timer ran out");
	must(timer_delete(cpu) == 0);
	return 0;
}
