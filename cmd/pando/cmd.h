/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - what the verbs of `pando` share: the table of commands, options, printing, the API.
 *
 * A verb is one file with one `struct cmd`. It speaks the control API only (cmd/ctl/ctl.h); `up`,
 * `down` and `join` also start and end the daemons of this host. Printing lives in this folder and
 * nowhere below. One thread, no state between calls.
 */
#ifndef CMD_PANDO_CMD_H
#define CMD_PANDO_CMD_H

#include <jansson.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/buf.h"
#include "cmd/ctl/ctl.h"

/* Exit codes; `on` and `login` give the program's own, 128+n for signals, and docker's three. */
enum {
	CODE_DONE = 0,
	CODE_REFUSED = 1, /* refused or failed */
	CODE_USAGE = 2,
	CODE_NOT_FOUND = 3, /* the named thing is not there */
	CODE_UNREACHABLE = 4,
	CODE_NOT_ALLOWED = 5,
	CODE_LIMIT = 6,
	CODE_SESSION_FAILED = 125, /* pando itself could not run the program */
	CODE_CANNOT_EXEC = 126,
	CODE_NO_PROGRAM = 127,
};

enum format {
	FORMAT_TABLE = 0,
	FORMAT_JSON,
	FORMAT_CSV,
};

struct ctx {
	const char *dir;  /* of the local cluster or of this host's node */
	const char *said; /* as --dir said it; NULL: to be said again by nobody */
	const char *node; /* whose control socket; NULL: the first that answers */
	enum format format;
	bool colour;          /* standard output is a terminal */
	const char *try_else; /* where a refusal names nothing to be tried; NULL: nothing then */
};

/* An option of one verb. With @value it takes an argument, else it sets @flag. */
struct opt {
	const char *name;
	char letter; /* 0: none */
	const char *arg;
	const char *help;
	const char **value;
	bool *flag;
};

struct cmd {
	const char *name;
	const char *usage;      /* "ps [TENANT]" */
	const char *help;       /* one sentence, shown in the list */
	const char *more;       /* paragraphs for --help, or NULL */
	const struct opt *opts; /* ends with a NULL name; or NULL */
	unsigned args_min, args_max;
	unsigned stop_after; /* no options behind this many arguments; 0: anywhere before -- */
	int (*run)(struct ctx *c, int argc, char **argv); /* argv: arguments without options */
};

extern const struct cmd cmd_sched, cmd_up, cmd_down, cmd_status, cmd_nodes, cmd_tenant, cmd_login,
	cmd_attach, cmd_detach, cmd_on, cmd_ps, cmd_migrate, cmd_why, cmd_invite, cmd_join,
	cmd_leave, cmd_doctor, cmd_debug, cmd_sim, cmd_what_if, cmd_events, cmd_quota, cmd_usage,
	cmd_drain;

/* tenant key add|ls|rm ...: tenant_key.c; @argv begins behind "key". */
int tenant_key(struct ctx *c, int argc, char **argv);

/* ---- errors ---- */
/* "pando: cannot X: reason; try: COMMAND"; @try_next may be NULL. Returns @code. */
int fail(struct ctx *c, int code, const char *try_next, const char *fmt, ...) printf_like(4, 5);
/*
 * @word, behind @verb ("tenant"), is not among @known, or is and has not what @usage ("tenant ls")
 * says. Returns CODE_USAGE. typo.c.
 */
int fail_word(struct ctx *c, const char *verb, const char *word, const char *const *known, size_t n,
	      const char *usage);
/* @word, quoted for a shell where it has to be. -ENOMEM. */
must_check int add_shell_word(struct buf *b, const char *word);
/* "; try: COMMAND" and a newline, where each "pando" has the --dir that we were called with. */
void print_try(FILE *to, const struct ctx *c, const char *fmt, ...) printf_like(3, 4);
/* A line for each node in the array "silent" of @body: what it would have added is missing. */
void tell_silent(const struct ctx *c, const json_t *body);

/* ---- tables ---- */
enum col_kind {
	COL_TEXT = 0,
	COL_NUMBER,
	COL_BYTES, /* shown as 12.3M in a table, as it is elsewhere */
	COL_NS,    /* shown as a time */
	COL_SINCE, /* ms since 1970: shown as the time that has passed since then */
	COL_STATE, /* coloured: alive green, others red */
};

struct col {
	const char *title;
	const char *key; /* member of each row's object */
	enum col_kind kind;
};

/* Prints an array of objects in the format that was asked for. Returns CODE_DONE. */
int print_rows(struct ctx *c, const json_t *rows, const struct col *cols, size_t n);
/* Prints any JSON with two spaces of indentation. */
int print_json(const json_t *j);
/* What a guest has named: what could move the cursor is shown as '?'. Returns how many bytes. */
int print_plain(const char *text);
/* For tables: "1.5G", "3.2s"; @out of 32 bytes. */
void text_bytes(char out[32], uint64_t bytes);
void text_ns(char out[32], uint64_t ns);

/* ---- the API ---- */
/* Prints why not and returns a code, or 0 and @out. */
must_check int api_open(struct ctx *c, const char *what, struct ctl_client **out);
/* The same, silently; -errno. */
must_check int api_dial(struct ctx *c, uint64_t until_ns, struct ctl_client **out);
/* We are in a session of a tenant, and speak for that tenant. */
bool api_is_inside(const struct ctx *c);
/* A connection to one node's daemon, silently; -errno. */
must_check int api_open_node(const struct ctx *c, const char *node, struct ctl_client **out);

/*
 * One request on a connection of its own. Prints "cannot @what: ..." and returns a code, or 0 and
 * the body in @out (to be decref'd). @body is taken, may be NULL.
 */
must_check int api_call(struct ctx *c, const char *what, const char *method, json_t *body,
			json_t **out, const char *fmt, ...) printf_like(6, 7);
/* Prints a refusal (problem+json) and returns its code. */
int api_refused(struct ctx *c, const char *what, const struct ctl_answer *a);

const char *json_text(const json_t *o, const char *key); /* "" when it is not there */
int64_t json_number(const json_t *o, const char *key);   /* 0 when it is not there */

/* ---- numbers ---- */
/* "0.25" -> 250. -EINVAL. */
must_check int parse_milli(const char *text, long *milli);
/* "512M", "2G" -> bytes. -EINVAL. */
must_check int parse_bytes(const char *text, uint64_t *bytes);
must_check int parse_count(const char *text, long min, long max, long *out);

#endif
