/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - may a program that has looked at one processor go on on another? */
#include "migrate/image/priv.h"

#include <cpuid.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* Leaf 1 ECX, EDX; leaf 7 EBX, ECX, EDX; leaf 0x80000001 ECX. (SDM volume 2A, CPUID) */
void cpu_features(uint32_t words[CPU_WORDS])
{
	unsigned a, b, c, d;

	memset(words, 0, CPU_WORDS * sizeof(*words));
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		words[0] = c;
		words[1] = d;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		words[2] = b;
		words[3] = c;
		words[4] = d;
	}
	if (__get_cpuid(0x80000001, &a, &b, &c, &d))
		words[5] = c;
}

static const struct {
	uint8_t word, bit;
	const char *name;
} features[] = {
	{ 0, 0, "sse3" },       { 0, 1, "pclmulqdq" },    { 0, 9, "ssse3" },
	{ 0, 12, "fma" },       { 0, 13, "cx16" },        { 0, 19, "sse4_1" },
	{ 0, 20, "sse4_2" },    { 0, 22, "movbe" },       { 0, 23, "popcnt" },
	{ 0, 25, "aes" },       { 0, 26, "xsave" },       { 0, 28, "avx" },
	{ 0, 29, "f16c" },      { 0, 30, "rdrand" },      { 2, 0, "fsgsbase" },
	{ 2, 3, "bmi1" },       { 2, 5, "avx2" },         { 2, 8, "bmi2" },
	{ 2, 9, "erms" },       { 2, 11, "rtm" },         { 2, 16, "avx512f" },
	{ 2, 17, "avx512dq" },  { 2, 18, "rdseed" },      { 2, 19, "adx" },
	{ 2, 29, "sha_ni" },    { 2, 30, "avx512bw" },    { 2, 31, "avx512vl" },
	{ 3, 1, "avx512vbmi" }, { 3, 8, "gfni" },         { 3, 9, "vaes" },
	{ 3, 4, "ospke" },      { 3, 11, "avx512_vnni" }, { 4, 4, "fsrm" },
	{ 4, 24, "amx_tile" },  { 5, 5, "abm" },          { 5, 8, "3dnowprefetch" },
};

int cpu_fits(const uint32_t *words, size_t n, struct buf *why)
{
	uint32_t here[CPU_WORDS];
	int r = 0;

	if (n != CPU_WORDS)
		return -EBADMSG;
	cpu_features(here);
	for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
		uint32_t bit = 1u << features[i].bit;

		if (!(words[features[i].word] & bit) || (here[features[i].word] & bit))
			continue;
		why_add(why, "the processor here lacks %s", features[i].name);
		r = -ENOTSUP;
	}
	return r;
}

int vdso_info_get(int proc, struct vdso_info *out)
{
	cleanup_close int fd = openat(proc, "self/maps", O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	char line[512];
	int r = -ENOEXEC;

	*out = (struct vdso_info){ 0 };
	if (!f)
		return -errno;
	(void)take_fd(&fd); /* it is the stream's now */
	while (fgets(line, sizeof(line), f)) {
		char *end;
		uint64_t a = strtoull(line, &end, 16);
		uint64_t b = *end == '-' ? strtoull(end + 1, NULL, 16) : a;

		if (strstr(line, "[vvar"))
			out->vvar_bytes += b - a;
		if (!strstr(line, "[vdso]"))
			continue;
		out->hash = XXH3_64bits((const void *)(uintptr_t)a, b - a);
		r = 0;
	}
	(void)fclose(f);
	return r;
}
