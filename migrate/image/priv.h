/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priv.h - what the kinds of resources in this folder share. Each kind is a
 * file that can say why it cannot move (check), write itself (dump) and be made
 * in a stub (build).
 */
#ifndef MIGRATE_IMAGE_PRIV_H
#define MIGRATE_IMAGE_PRIV_H

#include <errno.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "migrate/image/image.pb-c.h"
#include "migrate/image/record.h"

#define PAGE             4096u
#define SIGNALS          64
#define KERNEL_SIGACTION 32 /* bytes: handler, flags, restorer, mask */
#define USER_END         UINT64_C(0x7ffffffff000)

/* ---- words for people: one line each ---- */
void why_add(struct buf *why, const char *fmt, ...) printf_like(2, 3);
/* Adds "cannot WHAT: errno text" and gives @err back. */
int why_err(struct buf *why, int err, const char *what);

/* ---- calls in the guest, many at once ---- */
#define BATCH_CALLS   256
#define BATCH_SCRATCH 28672
#define BATCH_AREA    (PAGE + BATCH_CALLS * sizeof(struct stub_call) + BATCH_SCRATCH)

struct batch {
	struct gate *g;
	struct buf *why;
	unsigned n;
	size_t used; /* of scratch */
	struct stub_call call[BATCH_CALLS];
	const char *what[BATCH_CALLS]; /* NULL: it may fail */
	int64_t *out[BATCH_CALLS];
	uint8_t scratch[BATCH_SCRATCH];
};

/* The area of @g must be there. On the heap: it is large. Free with free(). NULL: no memory. */
struct batch *batch_new(struct gate *g, struct buf *why);
/* Runs what is there unless @calls more calls and @bytes more scratch bytes fit. */
must_check int batch_room(struct batch *b, unsigned calls, size_t bytes);
/* Scratch bytes for the calls of this run; gives their address in the guest. NULL @bytes: zeros. */
uint64_t batch_data(struct batch *b, const void *bytes, size_t len);
uint64_t batch_text(struct batch *b, const char *text);
/* @out, if not NULL, is set when the batch has run. @what, if not NULL: failing is an error. */
void batch_call(struct batch *b, const char *what, int64_t *out, int64_t nr, const uint64_t arg[6]);
#define BATCH(b, what, out, nr, ...)                                                               \
	batch_call((b), (what), (out), (nr), (const uint64_t[6]){ __VA_ARGS__ })
/* Makes the calls; scratch is then what the guest's is. Scratch stays readable until batch_room. */
must_check int batch_run(struct batch *b);
/* What is at the guest's address @at of the scratch now. */
const void *batch_at(const struct batch *b, uint64_t at);

/* ---- maps.c: the address map ---- */
enum {
	VMA_SHARED = 1, /* of a file */
	VMA_GROWSDOWN = 2,
	VMA_NORESERVE = 4,
	VMA_DONTFORK = 8,
	VMA_DONTDUMP = 16,
	VMA_HUGEPAGE = 32,
	VMA_NOHUGEPAGE = 64,
	VMA_WIPEONFORK = 128,
	VMA_MERGEABLE = 256,
	VMA_WRITES = 512, /* what is shared may be written: the file was open for that */
	VMA_ALL = 1023,
};

enum map_kind { MAP_KIND_ANON = 1, MAP_KIND_FILE, MAP_KIND_VVAR, MAP_KIND_VDSO };

struct image_map {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t ino;
	dev_t dev;
	uint64_t pages; /* to carry; image_pages_count sets it */
	uint32_t prot;
	uint32_t flags;
	uint32_t kind;
	bool whole; /* its file is not to be had there: carry every page that can be read */
	char *path; /* of files */
};

struct image_maps {
	struct image_map *map;
	unsigned count;
};

/* Reads smaps; lines in @why for what cannot move. */
must_check int image_maps_read(const struct image_env *env, pid_t pid, struct image_maps *out,
			       struct buf *why);
void image_maps_fini(struct image_maps *m);
struct image_frozen;
/* What the process wrote to files by shared mappings is in the files when this returns. */
must_check int image_maps_sync(struct image_frozen *f, struct buf *why);
must_check int image_maps_dump(struct record_writer *w, const struct image_env *env, pid_t pid,
			       const struct image_maps *m, struct buf *why);

/* ---- pages.c ---- */
must_check int image_pages_count(const struct image_env *env, pid_t pid, struct image_maps *m,
				 uint64_t *pages);
must_check int image_pages_dump(struct record_writer *w, const struct image_env *env, pid_t pid,
				const struct image_maps *m);

/* Field @n (from 1, as proc(5) counts) of the text of a stat file. */
int64_t stat_field(const char *stat, int n);

/* ---- a file and how to know it again ---- */
struct file_id {
	Pando__Image__FileId msg;
	char *path; /* owned */
};
/* Of what /proc/@pid/@link leads to. -EIO: nobody answers there; then the path alone is known. */
must_check int file_id_read(const struct image_env *env, pid_t pid, const char *link,
			    struct file_id *out);
void file_id_fini(struct file_id *f);
/* Is @st, of what @id names here, the same? @writable: then even its inode must be. */
bool file_id_same(const Pando__Image__FileId *id, const struct stat *st, bool writable);

/* ---- source.c: what a dump works on ---- */
struct image_frozen {
	struct image_env env;
	struct tracee_set set;
	struct gate *gates; /* one per thread, the leader's first; the leader has an area */
	unsigned parked;
	struct image_maps maps;
	/* What only the process itself is told. */
	uint64_t brk;
	uint32_t personality, dumpable;
	int32_t pdeathsig, subreaper;
	bool thp_disable;
	uint8_t actions[SIGNALS * KERNEL_SIGACTION];
	struct itimerval itimers[3];
};

/* ---- target.c: a whole image but its pages, and what is built from it ---- */
struct image_model {
	Pando__Image__Head *head;
	Pando__Image__Mm *mm;
	Pando__Image__Limits *limits;
	Pando__Image__Fs *fs;
	Pando__Image__Signals *signals;
	Pando__Image__Timers *timers;
	Pando__Image__Vma **vma;
	Pando__Image__Fd **fd;
	Pando__Image__Thread **thread;
	unsigned vmas, fds, threads;
};

/* Frees the slots of a process that was killed: a successor has nothing to do there. */
/* @pid 0: it is known to be dead. */
void image_forget_dead(const struct image_env *env, pid_t pid, struct gate *gates, unsigned n);

/* Reads and checks everything up to the first record of pages, whose type it gives. */
must_check int image_model_read(struct record_reader *r, struct image_model *m, struct buf *why);
void image_model_fini(struct image_model *m);

struct image_built {
	struct image_env env;
	struct tracee_set set;
	struct gate *gates;
	unsigned parked;
	struct image_model m;
	struct batch *batch;
	struct buf *why;
	uint64_t fds_open[(64 * 1024) / 64]; /* numbers taken in the stub */
};

/* ---- mm.c ---- */
must_check int image_mm_dump(struct record_writer *w, struct image_frozen *f, struct buf *why);
must_check int image_clear_build(struct image_built *b);
must_check int image_vmas_build(struct image_built *b);
/* Whether the record that has been read last is a run of pages of one mapping. -EBADMSG. */
must_check int image_pages_check(const struct image_built *b, const struct record_reader *r);
/* @type: of the record that has been read last. */
must_check int image_pages_build(struct image_built *b, struct record_reader *r, int type);
must_check int image_mm_build(struct image_built *b);

/* ---- files.c ---- */
must_check int image_fds_check(const struct image_env *env, pid_t pid, struct buf *why);
must_check int image_fds_dump(struct record_writer *w, struct image_frozen *f, struct buf *why);
must_check int image_fds_build(struct image_built *b);

/* ---- events.c: eventfd, signalfd, timerfd, epoll ---- */
/* Is @kind one of these? */
bool image_event_kind(uint32_t kind);
/* Fills @m from the text of fdinfo. -ENOTSUP: with words. Free with image_event_fini. */
must_check int image_event_dump(const char *fdinfo, int fd, Pando__Image__Fd *m, struct buf *why);
void image_event_fini(Pando__Image__Fd *m);
/* Makes it as the lowest free descriptor @n. */
must_check int image_event_build(struct image_built *b, const Pando__Image__Fd *m, unsigned n);
/* When all descriptors are there: what the epoll instances wait for. */
must_check int image_watches_build(struct image_built *b);

/* ---- process.c: limits, working directory, signal actions, timers, credentials ---- */
must_check int image_status_check(const struct image_env *env, pid_t pid, bool traced_by_us,
				  struct buf *why);
must_check int image_head_dump(struct record_writer *w, struct image_frozen *f, struct buf *why);
/* By injection, into @f. */
must_check int image_process_ask(struct image_frozen *f, struct buf *why);
must_check int image_process_dump(struct record_writer *w, struct image_frozen *f, struct buf *why);
must_check int image_process_build(struct image_built *b);
must_check int image_timers_build(struct image_built *b);
must_check int image_limits_build(struct image_built *b);
/* @tid 0: to the whole process. @at: scratch in the guest. */
must_check int image_pending_build(struct gate *g, const ProtobufCBinaryData *infos, pid_t tgid,
				   pid_t tid, uint64_t at);

/* ---- thread.c ---- */
must_check int image_threads_dump(struct record_writer *w, struct image_frozen *f, struct buf *why);
must_check int image_threads_build(struct image_built *b);
/* The last step: what each thread's slot gives back. */
must_check int image_threads_ready(struct image_built *b);

/* ---- cpu.c ---- */
#define CPU_WORDS 6
void cpu_features(uint32_t words[CPU_WORDS]);
/* 0, or -ENOTSUP with the names of what is missing. */
must_check int cpu_fits(const uint32_t *words, size_t n, struct buf *why);
struct vdso_info {
	uint64_t hash;
	uint64_t vvar_bytes;
};
/* Of this host, from our own map: @proc shows us as "self". */
must_check int vdso_info_get(int proc, struct vdso_info *out);

#endif
