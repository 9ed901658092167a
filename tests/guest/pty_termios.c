/* SPDX-License-Identifier: Apache-2.0 */
/* pty_termios.c - a pseudo terminal: modes, line discipline, window size, hang-up. */
#include "tests/guest/guest.h"

#include <sys/ioctl.h>
#include <termios.h>

static void show(const char *what, int fd)
{
	char text[64] = "";
	ssize_t n = read(fd, text, sizeof(text) - 1);

	printf("%s:", what);
	for (ssize_t i = 0; i < n; i++)
		printf(text[i] < ' ' ? " \\%d" : " %c", text[i]);
	say("%s", "");
}

int main(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	struct winsize ws = { .ws_row = 33, .ws_col = 99 }, got;
	struct termios t;

	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	must(strncmp(ptsname(master), "/dev/pts/", 9) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(slave >= 0 && isatty(slave) && tcgetattr(slave, &t) == 0);
	say("canonical %d echo %d", (t.c_lflag & ICANON) != 0, (t.c_lflag & ECHO) != 0);
	must(write(master, "abx\177c\n", 6) == 6);
	show("line", slave);
	show("echo", master);
	must(write(slave, "one\n", 4) == 4);
	show("output", master);
	must(ioctl(master, TIOCSWINSZ, &ws) == 0 && ioctl(slave, TIOCGWINSZ, &got) == 0);
	say("%d x %d", got.ws_row, got.ws_col);
	cfmakeraw(&t);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	must(tcsetattr(slave, TCSANOW, &t) == 0);
	must(write(master, "\003r", 2) == 2);
	show("raw", slave);
	must(write(slave, "\n", 1) == 1);
	show("raw output", master);
	must(tcgetattr(master, &t) == 0);
	say("seen by the master: canonical %d", (t.c_lflag & ICANON) != 0);
	close(slave);
	fails(EIO, (int)read(master, &t, 1));
	return 0;
}
