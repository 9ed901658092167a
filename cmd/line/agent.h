/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - lets the programs of a session reach an ssh agent that is on our side: @listener is a
 * socket that they see in their world, @path the agent's. Bytes only; a thread per connection. It
 * ends with the process.
 */
#ifndef CMD_LINE_AGENT_H
#define CMD_LINE_AGENT_H

#include "base/attr.h"

/* Takes @listener; @path is borrowed for ever. -errno of the thread. */
must_check int agent_serve(int listener, const char *path);

#endif
