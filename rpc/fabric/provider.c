/* SPDX-License-Identifier: Apache-2.0 */
/* provider.c - addresses, and which of libfabric's providers reaches them. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "rpc/fabric/fabric.h"
#include "rpc/fabric/verbs.h"

#define API FI_VERSION(1, 17)

/* "10.0.0.1:7300" or "[fe80::1]:7300". */
static int split_addr(const char *addr, char *host, size_t cap, const char **port)
{
	const char *colon = strrchr(addr, ':');
	uint8_t ip[16];
	size_t n;

	if (!colon || colon == addr || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    atoi(colon + 1) < 1 || atoi(colon + 1) > 65535)
		return -EINVAL;
	n = (size_t)(colon - addr);
	if (addr[0] == '[' && colon[-1] == ']') {
		addr++;
		n -= 2;
	}
	if (n == 0 || n >= cap)
		return -EINVAL;
	memcpy(host, addr, n);
	host[n] = '\0';
	*port = colon + 1;
	return inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1 ? 0
										       : -EINVAL;
}

/*
 * Before the first fi_ call: libfabric would load every provider, and those for hardware that is
 * not there read the kernel's whole symbol table (0.2 s here). An operator's own choice stands.
 */
static bool choose_providers(void)
{
	static int verbs = -1;

	if (verbs < 0) {
		verbs = rpc_verbs_port_active();
		if (setenv("FI_PROVIDER", verbs ? "tcp,verbs" : "tcp", 0) < 0)
			log_warn("rpc: no memory to choose libfabric's providers");
	}
	return verbs;
}

static int ask_provider(const char *provider, const char *host, const char *port, bool listens,
			struct fi_info **out)
{
	struct fi_info *h = fi_allocinfo();
	int r;

	if (!h)
		return -ENOMEM;
	h->ep_attr->type = FI_EP_MSG;
	h->caps = FI_MSG;
	h->mode = 0;
	h->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;
	h->domain_attr->threading = FI_THREAD_DOMAIN;
	h->fabric_attr->prov_name = strdup(provider);
	r = h->fabric_attr->prov_name
		    ? fi_getinfo(API, host, port, FI_NUMERICHOST | (listens ? FI_SOURCE : 0), h,
				 out)
		    : -ENOMEM;
	fi_freeinfo(h);
	return r;
}

int fab_provider_find(const char *provider, const char *addr, bool listens, struct fi_info **out)
{
	static const char *const in_order[] = { "verbs", "tcp" };
	char host[256];
	const char *port;
	bool verbs;
	int r = split_addr(addr, host, sizeof(host), &port);

	if (r < 0)
		return r;
	if (provider && strcmp(provider, "tcp") != 0 && strcmp(provider, "verbs") != 0)
		return -ENODEV;
	verbs = choose_providers();
	for (size_t i = verbs ? 0 : 1; i < ARRAY_LEN(in_order); i++) {
		if (provider && strcmp(provider, in_order[i]) != 0)
			continue;
		r = ask_provider(in_order[i], host, port, listens, out);
		if (r == 0)
			return 0;
	}
	if (r == 0 || r == -FI_ENODATA || r == -FI_ENOSYS)
		return -ENODEV;
	return r == -FI_EINVAL ? -EINVAL : r;
}
