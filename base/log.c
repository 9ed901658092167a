/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static char program[48] = "pando";
static int level_max;

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

static int level_from_env(void)
{
	const char *want = getenv("PANDO_LOG");

	for (int i = LOG_ERROR; want && i <= LOG_DEBUG; i++)
		if (strcmp(want, level_names[i]) == 0)
			return i;
	return LOG_INFO;
}

void log_init(const char *name)
{
	(void)snprintf(program, sizeof(program), "%s", name);
	level_max = level_from_env();
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	uint64_t now = clock_wall_ns();
	time_t secs = (time_t)(now / 1000000000);
	struct tm tm;
	va_list ap;
	int n;

	if (level_max == 0)
		level_max = level_from_env();
	if ((int)level > level_max)
		return;
	gmtime_r(&secs, &tm);
	n = snprintf(line, sizeof(line), "%02d:%02d:%02d.%03d %s %s: ", tm.tm_hour, tm.tm_min,
		     tm.tm_sec, (int)(now / 1000000 % 1000), program, level_names[level]);
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody left to tell */
}
