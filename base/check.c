/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"

void check_failed(const char *cond, const char *file, int line)
{
	log_error("check failed: %s (%s:%d); last events:", cond, file, line);
	trace_dump(STDERR_FILENO, 64);
	abort();
}
