/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per event on standard error: time, program, level, text.
 *
 * Text for people. The level comes from PANDO_LOG (error, warn, info, debug);
 * info without it. A line is written with one write(2), so lines of several
 * processes on one file do not mix. Thread-safe.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/attr.h"

enum log_level {
	LOG_ERROR = 1,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
};

/* Names the program in every line ("pandod n1"). Copies @name; at most 47 bytes. */
void log_init(const char *name);

void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
