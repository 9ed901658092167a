/* SPDX-License-Identifier: Apache-2.0 */
/* personality.c - personality: asked, set to what it is. */
#include "tests/guest/guest.h"

#include <sys/personality.h>

int main(void)
{
	say("is %#x", (unsigned)personality(0xffffffff));
	must(personality(ADDR_NO_RANDOMIZE) == 0);
	say("is %#x", (unsigned)personality(0xffffffff));
	must(personality(PER_LINUX) == ADDR_NO_RANDOMIZE);
	return 0;
}
