/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_atomic.c - writes up to PIPE_BUF of several writers never mix. */
#include "tests/guest/guest.h"

#include <limits.h>

enum { WRITERS = 4, RECORDS = 400, SIZE = 3000 };

static void writer(int fd, int id)
{
	char record[SIZE];

	memset(record, 'a' + id, sizeof(record));
	for (int i = 0; i < RECORDS; i++)
		must(write(fd, record, sizeof(record)) == sizeof(record));
	_exit(0);
}

static void read_record(int fd, char *record)
{
	for (size_t n = 0; n < SIZE;) {
		ssize_t got = read(fd, record + n, SIZE - n);

		must(got > 0);
		n += (size_t)got;
	}
}

int main(void)
{
	int fds[2], seen[WRITERS] = { 0 }, torn = 0;
	char record[SIZE];
	pid_t pid[WRITERS];

	must(SIZE <= PIPE_BUF && pipe(fds) == 0);
	for (int i = 0; i < WRITERS; i++) {
		pid[i] = fork_child();
		if (pid[i] == 0)
			writer(fds[1], i);
	}
	close(fds[1]);
	for (int i = 0; i < WRITERS * RECORDS; i++) {
		read_record(fds[0], record);
		for (int k = 1; k < SIZE; k++)
			torn += record[k] != record[0];
		must(record[0] >= 'a' && record[0] < 'a' + WRITERS);
		seen[record[0] - 'a']++;
	}
	must(read(fds[0], record, 1) == 0);
	for (int i = 0; i < WRITERS; i++)
		say("writer %d: %d records, %s", i, seen[i], status_text(reap(pid[i])));
	say("torn: %d", torn);
	return torn != 0;
}
