/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init_fuzz.c - bytes that claim to be messages of init.h, and payloads of INIT_SPAWN.
 *
 *	init_fuzz [FILE...]     without files: seeded random and mutated input
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/rand.h"
#include "kernel/tenant/client.h"
#include "tests/lib/fuzz.h"

#define ROUNDS 60000

static struct init_in in;
static int sock[2];
static unsigned long taken, refused, several;

/* Every string that comes out must lie in the payload, with its end. */
static void check_inside(const char *s, const char *payload, size_t len)
{
	CHECK(s >= payload && s < payload + len);
	CHECK(memchr(s, 0, (size_t)(payload + len - s)) != NULL);
}

static void try_spawn(const void *bytes, size_t len)
{
	char *argv[64], *envp[64], *cwd;
	struct init_spawn head;
	char *exact = fuzz_copy(bytes, len);
	int r = init_spawn_unpack(exact, len, &head, argv, envp, 64, &cwd);

	CHECK(r == 0 || r == -EPROTO || r == -E2BIG || r == -EINVAL);
	if (r == 0) {
		taken++;
		CHECK(head.argc > 0 && head.argc < 64 && head.envc < 64 && head.uid != 0);
		for (uint32_t i = 0; i < head.argc; i++)
			check_inside(argv[i], exact, len);
		for (uint32_t i = 0; i < head.envc; i++)
			check_inside(envp[i], exact, len);
		check_inside(cwd, exact, len);
		CHECK(argv[head.argc] == NULL && envp[head.envc] == NULL);
	} else {
		refused++;
	}
	free(exact);
}

static void try_keys(void)
{
	const char *keys[INIT_FDS_MAX];
	int n = init_keys(&in, keys);

	CHECK(n == -EPROTO || (n >= 1 && n <= INIT_FDS_MAX && keys[0] == in.msg.key));
	for (int i = 1; i < n; i++) {
		check_inside(keys[i], (const char *)in.payload, in.len);
		CHECK(strlen(keys[i]) < INIT_KEY_MAX);
	}
	several += n > 1;
}

/* The same bytes as a datagram, with descriptors or without. */
static void try_message(const void *bytes, size_t len, size_t nfds)
{
	char control[CMSG_SPACE(sizeof(int) * 32)];
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	int before = dup(0), after, r;

	CHECK(before >= 0);
	(void)close(before);
	if (nfds > 0) {
		struct cmsghdr *c;

		memset(control, 0, sizeof(control));
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds); /* all of them descriptor 0 */
	}
	if (len == 0 || sendmsg(sock[0], &mh, MSG_DONTWAIT) < 0)
		return;
	r = init_recv(sock[1], &in);
	CHECK(r == 1 || r == -EPROTO);
	if (r == 1) {
		CHECK(len >= sizeof(in.msg) && in.len == len - sizeof(in.msg));
		CHECK(strlen(in.msg.key) < INIT_KEY_MAX && in.nfds == nfds);
		try_spawn(in.payload, in.len);
		try_keys();
	} else {
		CHECK(in.nfds == 0);
	}
	init_in_close(&in);
	/* No descriptor stays open, whatever came. */
	after = dup(0);
	CHECK(after == before);
	(void)close(after);
}

static size_t good_message(uint8_t *out, size_t size)
{
	static char *const argv[] = { "-/bin/sh", "-c", "echo", NULL };
	static char *const envp[] = { "A=b", "C=", NULL };
	struct init_spawn head = { .uid = 1000, .flags = INIT_SPAWN_TTY };
	struct init_msg m = { .op = INIT_SPAWN, .key = "k" };
	int n;

	memcpy(out, &m, sizeof(m));
	n = init_spawn_pack(out + sizeof(m), size - sizeof(m), &head, argv, envp, "/");
	CHECK(n > 0);
	return sizeof(m) + (size_t)n;
}

static void mutate(struct rand *r, uint8_t *b, size_t *len, size_t size)
{
	for (uint64_t n = rand_below(r, 6); n > 0; n--) {
		size_t at = rand_below(r, *len);

		switch (rand_below(r, 4)) {
		case 0:
			b[at] = (uint8_t)rand_next(r);
			break;
		case 1:
			b[at] ^= (uint8_t)(1u << rand_below(r, 8));
			break;
		case 2: /* shorter */
			*len = at + 1;
			break;
		default: /* longer */
			at = *len;
			*len = MIN(size, *len + rand_below(r, 200));
			memset(b + at, (int)rand_below(r, 256), *len - at);
			break;
		}
	}
}

static void try_both(const uint8_t *bytes, size_t len)
{
	try_message(bytes, len, 0);
	try_spawn(bytes, len);
}

int main(int argc, char **argv)
{
	static uint8_t bytes[4096];
	struct rand r;
	int bad = 0;

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) == 0);
	for (int i = 1; i < argc; i++)
		bad |= fuzz_file(argv[i], try_both);
	rand_seed(&r, 11);
	for (int i = 0; argc == 1 && i < ROUNDS; i++) {
		size_t len;

		if (i % 4 == 0) {
			len = 1 + rand_below(&r, sizeof(bytes));
			for (size_t k = 0; k < len; k++)
				bytes[k] = (uint8_t)rand_next(&r);
		} else {
			len = good_message(bytes, sizeof(bytes));
			mutate(&r, bytes, &len, sizeof(bytes));
		}
		try_message(bytes, len, rand_chance(&r, 1, 4) ? rand_below(&r, 17) : 0);
		try_spawn(bytes, len);
	}
	printf("%lu payloads taken, %lu refused, %lu of keys\n", taken, refused, several);
	return bad || (argc == 1 && (taken < 1000 || refused < 1000 || several < 500));
}
