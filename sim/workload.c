/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Quantiles of the exponential distribution with mean 1024, in the middle of 256 equal parts. */
static const uint16_t exp_quantile[256] = {
	2,    6,    10,   14,   18,   22,   26,   30,   35,   39,   43,   47,   51,   55,   60,
	64,   68,   73,   77,   81,   85,   90,   94,   99,   103,  107,  112,  116,  121,  125,
	130,  134,  139,  144,  148,  153,  158,  162,  167,  172,  176,  181,  186,  191,  196,
	200,  205,  210,  215,  220,  225,  230,  235,  240,  245,  250,  255,  260,  266,  271,
	276,  281,  287,  292,  297,  303,  308,  313,  319,  324,  330,  335,  341,  347,  352,
	358,  364,  369,  375,  381,  387,  392,  398,  404,  410,  416,  422,  428,  434,  441,
	447,  453,  459,  465,  472,  478,  484,  491,  497,  504,  510,  517,  524,  530,  537,
	544,  551,  558,  565,  572,  579,  586,  593,  600,  607,  614,  622,  629,  636,  644,
	651,  659,  667,  674,  682,  690,  698,  706,  714,  722,  730,  738,  746,  755,  763,
	772,  780,  789,  797,  806,  815,  824,  833,  842,  851,  860,  870,  879,  889,  898,
	908,  917,  927,  937,  947,  957,  968,  978,  988,  999,  1010, 1020, 1031, 1042, 1054,
	1065, 1076, 1088, 1099, 1111, 1123, 1135, 1147, 1160, 1172, 1185, 1197, 1210, 1224, 1237,
	1250, 1264, 1278, 1292, 1306, 1321, 1335, 1350, 1365, 1380, 1396, 1412, 1428, 1444, 1460,
	1477, 1494, 1512, 1529, 1547, 1565, 1584, 1603, 1622, 1642, 1662, 1683, 1704, 1725, 1747,
	1769, 1792, 1815, 1839, 1863, 1888, 1914, 1940, 1967, 1995, 2023, 2052, 2082, 2113, 2145,
	2179, 2213, 2248, 2285, 2322, 2362, 2403, 2445, 2490, 2537, 2585, 2637, 2690, 2747, 2808,
	2872, 2940, 3013, 3092, 3177, 3270, 3373, 3487, 3615, 3762, 3933, 4138, 4395, 4740, 5263,
	6388,
};

static const struct {
	const char *name;
	const char *text;
} shipped[] = {
	{ "timeshare", "# people at terminals over a working day: editors, mail, commands, builds\n"
		       "node 8000 32G\n"
		       "shape 10 20 60 100 110 90 110 100 80 50 30 15\n"
		       "class session 40/h life exp 12m cpu 30 mem 40M stay 100\n"
		       "class command 900/h life heavy 20ms 60s cpu 700 mem 20M\n"
		       "class build 40/h burst 12 life heavy 500ms 90s cpu 1000 mem 180M\n"
		       "class job 50/h life heavy 1m 40m cpu 1000 mem 400M\n" },
	{ "buildfarm", "# make -j of big trees, one after the other, on every node\n"
		       "node 8000 32G\n"
		       "class compile 90/h burst 48 life heavy 800ms 60s cpu 1000 mem 250M\n"
		       "class link 30/h life uniform 5s 60s cpu 1000 mem 1500M\n"
		       "class test 60/h burst 6 life exp 25s cpu 600 mem 120M stay 20\n" },
	{ "requests", "# a process per request: very many, very short\n"
		      "node 8000 32G\n"
		      "class front 20/h life fixed 10m cpu 200 mem 60M stay 100\n"
		      "class request 3000/h life heavy 5ms 20s cpu 900 mem 30M\n"
		      "class report 150/h life exp 90s cpu 1000 mem 300M\n" },
};

uint64_t workload_exp(uint64_t mean, struct rand *r)
{
	return mean * exp_quantile[rand_below(r, 256)] / 1024 + rand_below(r, mean / 64 + 1);
}

uint64_t workload_life_ms(const struct workload_class *c, struct rand *r)
{
	const uint64_t k = 1u << 20;

	switch (c->life) {
	case LIFE_UNIFORM:
		return c->a_ms + rand_below(r, c->b_ms - c->a_ms + 1);
	case LIFE_EXP:
		return workload_exp(c->a_ms, r) + 1;
	case LIFE_HEAVY: /* inverse of 1 - (min / x) cut off at max */
		return c->a_ms * k / (k - rand_below(r, k) * (c->b_ms - c->a_ms) / c->b_ms);
	default:
		return c->a_ms;
	}
}

static bool parse_time(const char *t, uint64_t *ms)
{
	char *end;

	*ms = strtoull(t, &end, 10);
	if (end == t || *ms > 1000000)
		return false;
	if (strcmp(end, "s") == 0)
		*ms *= 1000;
	else if (strcmp(end, "m") == 0)
		*ms *= 60000;
	else if (strcmp(end, "ms") != 0)
		return false;
	return *ms > 0;
}

static bool parse_size(const char *t, uint64_t *bytes)
{
	char *end;

	*bytes = strtoull(t, &end, 10);
	if (end == t || *bytes > 1000000)
		return false;
	*bytes <<= *end == 'G' ? 30 : 20;
	return strcmp(end, "G") == 0 || strcmp(end, "M") == 0;
}

static bool parse_u32(const char *t, const char *unit, uint32_t max, uint32_t *out)
{
	char *end;
	unsigned long v = strtoul(t, &end, 10);

	*out = (uint32_t)v;
	return end != t && v <= max && strcmp(end, unit) == 0;
}

static bool parse_life(struct workload_class *c, const char *kind, char **save)
{
	const char *a = strtok_r(NULL, " \t", save), *b;

	if (!kind || !a || !parse_time(a, &c->a_ms))
		return false;
	if (strcmp(kind, "fixed") == 0 || strcmp(kind, "exp") == 0) {
		c->life = *kind == 'f' ? LIFE_FIXED : LIFE_EXP;
		return true;
	}
	b = strtok_r(NULL, " \t", save);
	c->life = strcmp(kind, "uniform") == 0 ? LIFE_UNIFORM : LIFE_HEAVY;
	return (c->life == LIFE_UNIFORM || strcmp(kind, "heavy") == 0) && b &&
	       parse_time(b, &c->b_ms) && c->b_ms > c->a_ms;
}

static bool parse_class(struct workload *w, char **save)
{
	struct workload_class *c = &w->classes[w->class_count];
	const char *name = strtok_r(NULL, " \t", save), *rate = strtok_r(NULL, " \t", save), *key;
	bool ok;

	if (w->class_count == WORKLOAD_CLASSES || !name || !rate)
		return false;
	*c = (struct workload_class){ .burst = 1, .cpu_milli = 1000 };
	snprintf(c->name, sizeof(c->name), "%s", name);
	ok = parse_u32(rate, "/h", 1000000, &c->per_hour) && c->per_hour > 0;
	while (ok && (key = strtok_r(NULL, " \t", save)) != NULL) {
		const char *v = strtok_r(NULL, " \t", save);

		ok = v != NULL;
		if (!ok)
			break;
		if (strcmp(key, "life") == 0)
			ok = parse_life(c, v, save);
		else if (strcmp(key, "burst") == 0)
			ok = parse_u32(v, "", 4096, &c->burst) && c->burst > 0;
		else if (strcmp(key, "cpu") == 0)
			ok = parse_u32(v, "", 1000, &c->cpu_milli) && c->cpu_milli > 0;
		else if (strcmp(key, "stay") == 0)
			ok = parse_u32(v, "", 100, &c->stay);
		else
			ok = strcmp(key, "mem") == 0 && parse_size(v, &c->mem_bytes);
	}
	w->class_count++;
	return ok && c->life != 0;
}

static bool parse_line(struct workload *w, char *line)
{
	char *save = NULL;
	const char *word, *v;

	line[strcspn(line, "#\r\n")] = 0;
	word = strtok_r(line, " \t", &save);
	if (!word)
		return true;
	if (strcmp(word, "class") == 0)
		return parse_class(w, &save);
	if (strcmp(word, "node") == 0) {
		const char *cpu = strtok_r(NULL, " \t", &save), *mem = strtok_r(NULL, " \t", &save);

		return cpu && mem && parse_u32(cpu, "", 1000000, &w->cpu_milli) &&
		       w->cpu_milli > 0 && parse_size(mem, &w->mem_bytes);
	}
	if (strcmp(word, "shape") != 0)
		return false;
	while ((v = strtok_r(NULL, " \t", &save)) != NULL) {
		if (w->shape_count == WORKLOAD_SHAPE ||
		    !parse_u32(v, "", 10000, &w->shape[w->shape_count++]))
			return false;
	}
	return true;
}

static int workload_parse(struct workload *w, const char *name, FILE *f)
{
	char line[512];
	unsigned number = 0;

	while (fgets(line, sizeof(line), f)) {
		number++;
		if (!parse_line(w, line)) {
			fprintf(stderr,
				"pando: cannot use workload %s: line %u is none that it knows; "
				"try: pando sim --workload timeshare\n",
				name, number);
			return -EINVAL;
		}
	}
	return w->class_count ? 0 : -EINVAL;
}

const char *workload_text(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(shipped); i++) {
		if (strcmp(shipped[i].name, name) == 0)
			return shipped[i].text;
	}
	return NULL;
}

int workload_load(struct workload *w, const char *name)
{
	const char *text = workload_text(name);
	FILE *f = text ? fmemopen((void *)(uintptr_t)text, strlen(text), "r") : fopen(name, "r");
	int r;

	*w = (struct workload){ .cpu_milli = 8000,
				.mem_bytes = UINT64_C(32) << 30,
				.shipped = text != NULL };
	snprintf(w->name, sizeof(w->name), "%s", name);
	if (!f)
		return -errno;
	r = workload_parse(w, name, f);
	fclose(f);
	return r;
}
