/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pando-keys - sshd's AuthorizedKeysCommand: prints the key of this fingerprint if it lets this
 * tenant in, else nothing.
 *
 *	pando-keys TENANT SHA256:FINGERPRINT
 *
 * Asks the node's daemon each time: a key that was removed is not there any more. What sshd hands
 * to it comes from strangers: it has an id of its own, and a filter before it looks at that.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/ctl/ctl.h"
#include "cmd/gate/gate.h"

/* The daemon may be being restarted, also under a question; sshd waits 30 s. */
enum { PATIENCE_S = 20, LOST_MAX = 20 };

static int ask(const char *path, uint64_t until_ns)
{
	struct ctl_client *c;
	struct ctl_answer a;
	const char *line;
	int r = ctl_client_new_soon(&c, GATE_SOCKET, until_ns);

	if (r < 0)
		return r;
	r = ctl_client_call(c, "GET", path, NULL, &a);
	line = r == 0 && a.status == 200 ? json_string_value(json_object_get(a.body, "line"))
					 : NULL;
	if (line != NULL)
		(void)puts(line);
	if (r == 0)
		ctl_answer_fini(&a);
	ctl_client_free(c);
	return r;
}

static int ask_patiently(const char *path)
{
	uint64_t until_ns = clock_mono_ns() + PATIENCE_S * NS_PER_S;
	int r;

	for (int lost = 0; lost < LOST_MAX; lost++) {
		r = ask(path, until_ns);
		if (r != -ECONNRESET && r != -EPIPE)
			break;
	}
	return r;
}

/* Where the daemon has the key, or -EINVAL: it is of a kind that cannot have been added. */
static int key_path(const char *tenant, const char *fingerprint, char out[HTTP_PATH_MAX])
{
	uint8_t hash[32];
	char hex[65];

	if (strchr(tenant, '/') != NULL || strlen(tenant) > 64 ||
	    gate_fingerprint_parse(fingerprint, hash) < 0)
		return -EINVAL;
	(void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	(void)snprintf(out, HTTP_PATH_MAX, "/v1/tenants/%s/keys/%s", tenant, hex);
	return 0;
}

int main(int argc, char **argv)
{
	int r = gate_jail();
	char path[HTTP_PATH_MAX];

	if (r == 0) {
		if (argc != 3 || key_path(argv[1], argv[2], path) < 0)
			return 0;
		r = ask_patiently(path);
	}
	if (r < 0)
		(void)fprintf(stderr, "pando-keys: cannot ask for a key: %s\n", strerror(-r));
	return r < 0 || fflush(stdout) != 0;
}
