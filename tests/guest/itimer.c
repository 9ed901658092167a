/* SPDX-License-Identifier: Apache-2.0 */
/* itimer.c - setitimer, alarm, ITIMER_VIRTUAL; not inherited by fork. */
#include "tests/guest/guest.h"

static volatile sig_atomic_t alarms, virtuals;

static void note(int sig)
{
	if (sig == SIGALRM)
		alarms++;
	else
		virtuals++;
}

int main(void)
{
	struct itimerval t = { { 0, 2000 }, { 0, 2000 } }, old, off = { 0 };
	pid_t pid;

	on_signal(SIGALRM, note, 0);
	on_signal(SIGVTALRM, note, 0);
	must(setitimer(ITIMER_REAL, &t, NULL) == 0);
	while (alarms < 5)
		pause();
	say("five ticks");
	pid = fork_child();
	if (pid == 0) {
		must(getitimer(ITIMER_REAL, &old) == 0);
		_exit(old.it_value.tv_sec != 0 || old.it_value.tv_usec != 0);
	}
	must(setitimer(ITIMER_REAL, &off, &old) == 0);
	say("interval was %ld us; child had none: %s", old.it_interval.tv_usec,
	    status_text(reap(pid)));
	must(setitimer(ITIMER_VIRTUAL, &t, NULL) == 0);
	while (virtuals < 2)
		;
	must(setitimer(ITIMER_VIRTUAL, &off, NULL) == 0);
	say("virtual time ticks");
	must(alarm(100) == 0);
	say("alarm: %u", alarm(0));
	return 0;
}
