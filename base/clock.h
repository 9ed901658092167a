/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - where time comes from. Cores get the time as an argument; adapters
 * read it here. Nanoseconds everywhere; never compare two clocks.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in ns. */
uint64_t clock_mono_ns(void);

/* CLOCK_BOOTTIME in ns: goes on while the machine is suspended. */
uint64_t clock_boot_ns(void);

/* CLOCK_REALTIME in ns since 1970: for showing to people only. */
uint64_t clock_wall_ns(void);

#endif
