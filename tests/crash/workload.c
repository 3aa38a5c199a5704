// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"
#include "sector.h"
#include "workload.h"

#define HOT_SPOTS	6
#define PLAN_MAX	6
#define MOST_SNAPSHOTS	6
#define MOST_READ	16U	/* sectors: as many as a mark has room for */

enum op_type {
	OP_WRITE = 'w', OP_ZEROES = 'z', OP_DISCARD = 'd', OP_READ = 'r', OP_FLUSH = 'f',
	OP_CREATE = 'S', OP_APPLY = 'A', OP_DELETE = 'D', OP_RESIZE = 'R',
};

struct op {
	enum op_type type;
	uint64_t lba;
	uint64_t count;
	bool slow;
};

/* What the threads of one run share. */
struct shared {
	const struct workload *w;
	uint64_t hot[HOT_SPOTS];	/* first sectors of places that many go to */
	uint64_t next;			/* of a sequential writer */
	unsigned int id;		/* last one given out */
	unsigned int failed;
	bool is_file;
	uint64_t slow;			/* sector plus one that a slow request is at, or 0 */
	uint64_t sectors;		/* of the disk; only grows */
	pthread_mutex_t snapshot_lock;	/* protects the rest; held while one is created... */
	char names[MOST_SNAPSHOTS + 1][SNAPSHOT_NAME_MAX + 1];
	unsigned int snapshots;		/* of @names: those that there are */
};

struct thread {
	struct shared *shared;
	pthread_t thread;
	uint64_t random;
	char *buf;
	char mark[MARK_MAX + 64];	/* of what is done already, to go with the next one */
	struct op plan[PLAN_MAX];	/* what comes next, last first */
	unsigned int planned;
};

static uint64_t sectors_of(struct thread *t)
{
	return __atomic_load_n(&t->shared->sectors, __ATOMIC_ACQUIRE);
}

static uint64_t below(struct thread *t, uint64_t limit)
{
	return limit ? rig_random(&t->random) % limit : 0;
}

/* --- which --------------------------------------------------------------------------------- */

static enum op_type draw_type(struct thread *t)
{
	unsigned int dice = below(t, 100);

	if (dice < 58)
		return OP_WRITE;
	if (dice < 68)
		return OP_ZEROES;
	if (dice < 80)
		return OP_DISCARD;
	return dice < 91 ? OP_READ : OP_FLUSH;
}

static uint64_t draw_place(struct thread *t)
{
	const struct workload *w = t->shared->w;
	uint64_t clusters = (sectors_of(t) + w->cluster - 1) / w->cluster;

	/* Mostly one of a few places, of a few clusters each. */
	if (below(t, 100) < 75)
		return t->shared->hot[below(t, HOT_SPOTS)] + below(t, 4) * w->cluster;
	return below(t, clusters) * w->cluster;
}

static uint64_t draw_count(struct thread *t)
{
	const struct workload *w = t->shared->w;
	uint64_t most = w->most;

	switch (below(t, 4)) {
	case 0:
		return 1 + below(t, 8);
	case 1:
		return w->cluster;
	case 2:
		return w->cluster * (1 + below(t, 4));
	default:
		return 1 + below(t, 2 * w->cluster < most ? 2 * w->cluster : most);
	}
}

/* A writer that goes from start to end: contiguous clusters, new tables. */
static void draw_next(struct thread *t, struct op *op)
{
	const struct workload *w = t->shared->w;
	uint64_t step = w->cluster * (1 + below(t, 3));

	op->type = OP_WRITE;
	op->count = step < w->most ? step : w->most;
	op->lba = __atomic_fetch_add(&t->shared->next, op->count, __ATOMIC_RELAXED);
}

static void plan(struct thread *t, enum op_type type, uint64_t lba, uint64_t count)
{
	t->plan[t->planned++] = (struct op) { .type = type, .lba = lba, .count = count };
}

static uint64_t any_place(struct thread *t)
{
	return below(t, sectors_of(t));
}

/*
 * A request that takes long, for others to get ahead of: only where the store can hold it. Between
 * its start and its end its cluster is made durable as it is, or is given up, and its space
 * taken by another. Mostly it goes to a cluster that was just written, and needs no new space.
 */
static void draw_slow(struct thread *t, struct op *op)
{
	const struct workload *w = t->shared->w;

	op->type = below(t, 4) ? OP_WRITE : OP_READ;
	op->lba = draw_place(t);
	op->count = w->cluster;
	op->slow = true;
	if (below(t, 3)) {
		t->plan[t->planned++] = *op;
		*op = (struct op) { .type = OP_WRITE, .lba = op->lba, .count = w->cluster };
	} else if (below(t, 2)) {
		op->lba += below(t, w->cluster);
		op->count = 1 + below(t, w->cluster);
	}
}

/* All of its cluster goes, but for the subcluster that a slow request is at. */
static void plan_neighbours_go(struct thread *t, uint64_t lba)
{
	const struct workload *w = t->shared->w;
	uint64_t start = lba / w->whole * w->whole, sub = lba / w->cluster * w->cluster;
	uint64_t behind = sub + w->cluster;

	if (behind < start + w->whole)
		plan(t, OP_DISCARD, behind, start + w->whole - behind);
	if (start < sub)
		plan(t, OP_DISCARD, start, sub - start);
}

/* Somebody's request is slow. */
static void plan_overtaking(struct thread *t, uint64_t lba)
{
	const struct workload *w = t->shared->w;

	if (!below(t, 3)) {
		plan(t, OP_FLUSH, 0, 0);
		return;
	}
	plan(t, OP_WRITE, any_place(t), w->cluster);
	plan(t, OP_WRITE, any_place(t), 1);
	plan(t, OP_FLUSH, 0, 0);
	if (w->whole && below(t, 2)) {
		plan_neighbours_go(t, lba);
		return;
	}
	plan(t, OP_WRITE, any_place(t), w->cluster);
	plan(t, OP_FLUSH, 0, 0);
	plan(t, OP_DISCARD, lba / w->cluster * w->cluster, w->cluster);
}

static void draw(struct thread *t, struct op *op)
{
	const struct workload *w = t->shared->w;
	uint64_t most = w->most, slow = 0, sectors = sectors_of(t);

	op->slow = false;
	if (!t->planned && w->ctl >= 0)
		slow = __atomic_exchange_n(&t->shared->slow, 0, __ATOMIC_RELAXED);
	if (slow)
		plan_overtaking(t, slow - 1);
	if (t->planned) {
		*op = t->plan[--t->planned];
	} else if (w->snapshots && below(t, 100) < w->snapshots) {
		/* Which one is found out when its turn comes. */
		*op = (struct op) { .type = OP_CREATE };
		return;
	} else if (w->resizes && below(t, 100) < w->resizes) {
		*op = (struct op) { .type = OP_RESIZE };
		return;
	} else if (w->ctl >= 0 && below(t, 100) < w->slow) {
		draw_slow(t, op);
	} else if (below(t, 100) < 12) {
		draw_next(t, op);
	} else {
		op->type = draw_type(t);
		op->lba = draw_place(t);
		op->count = draw_count(t);
		/* Not all begin where a cluster does. */
		if (below(t, 100) < 40)
			op->lba += below(t, w->cluster);
	}
	if (op->type == OP_READ && most > MOST_READ)
		most = MOST_READ;
	if (op->type == OP_DISCARD)
		most = sectors;
	op->count = op->count < most ? op->count : most;
	op->lba %= sectors;
	if (op->count > sectors - op->lba)
		op->count = sectors - op->lba;
}

/* --- doing it ------------------------------------------------------------------------------- */

static int write_all(struct thread *t, const struct op *op, unsigned int id)
{
	size_t len = op->count * SECTOR;
	ssize_t done;

	for (uint64_t i = 0; i < op->count; i++)
		sector_fill(t->buf + i * SECTOR, &(struct sector_id){
			.lba = op->lba + i, .version = id, .run = t->shared->w->run });
	done = pwrite(t->shared->w->fd, t->buf, len, op->lba * SECTOR);
	if (done >= 0 && (size_t)done != len)
		errno = EIO;
	return (size_t)done == len ? 0 : -errno;
}

static int zero(struct thread *t, const struct op *op)
{
	int modes[] = { FALLOC_FL_ZERO_RANGE, FALLOC_FL_PUNCH_HOLE };
	uint64_t range[2] = { op->lba * SECTOR, op->count * SECTOR };
	unsigned int which = below(t, t->shared->is_file ? 2 : 3);

	if (which == 2)
		return ioctl(t->shared->w->fd, BLKZEROOUT, range) ? -errno : 0;
	return fallocate(t->shared->w->fd, modes[which] | FALLOC_FL_KEEP_SIZE, range[0], range[1]) ?
	       -errno : 0;
}

static int discard(struct thread *t, const struct op *op)
{
	uint64_t range[2] = { op->lba * SECTOR, op->count * SECTOR };

	if (t->shared->is_file)
		return fallocate(t->shared->w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 range[0], range[1]) ? -errno : 0;
	/* A disk that does not announce it refuses it. */
	return ioctl(t->shared->w->fd, BLKDISCARD, range) && errno != EOPNOTSUPP ? -errno : 0;
}

/* What a read found, as fields of a mark. */
static void note_values(struct thread *t, const struct op *op, unsigned int id)
{
	char *end = t->mark + sprintf(t->mark, "v,%u", id);
	struct sector_id found;

	for (uint64_t i = 0; i < op->count; i++) {
		const char *sector = t->buf + i * SECTOR;
		enum sector_kind kind = sector_identify(sector, &found);

		if (kind == SECTOR_ZEROS)
			end += sprintf(end, ",-");
		else if (kind == SECTOR_DATA && found.run == t->shared->w->run &&
			 found.lba == op->lba + i)
			end += sprintf(end, ",%u", found.version);
		else
			end += sprintf(end, ",h%llx", (unsigned long long)sector_hash(sector));
	}
	strcpy(end, ";");
}

static void put_pending(struct thread *t)
{
	if (t->mark[0])
		marks_put(&t->shared->w->marks, t->mark);
	t->mark[0] = '\0';
}

static void be_slow(struct thread *t, const struct op *op)
{
	char text[64];
	int len = sprintf(text, "catch %llu", (unsigned long long)op->lba);

	if (write(t->shared->w->ctl, text, len) != len)
		die("recfs does not take a command: %m");
	__atomic_store_n(&t->shared->slow, op->lba + 1, __ATOMIC_RELAXED);
}

static int perform(struct thread *t, const struct op *op, unsigned int id)
{
	if (op->slow)
		be_slow(t, op);
	switch (op->type) {
	case OP_WRITE:
		return write_all(t, op, id);
	case OP_ZEROES:
		return zero(t, op);
	case OP_DISCARD:
		return discard(t, op);
	case OP_READ:
		return rig_pread(t->shared->w->fd, t->buf, op->count * SECTOR, op->lba * SECTOR);
	default:
		return fsync(t->shared->w->fd) ? -errno : 0;
	}
}

/* The mark that says that it starts also says what was done before it. */
static void put_start(struct thread *t, const char *text)
{
	if (strlen(t->mark) + strlen(text) > MARK_MAX) {
		marks_put(&t->shared->w->marks, t->mark);
		t->mark[0] = '\0';
	}
	strcat(t->mark, text);
	marks_put(&t->shared->w->marks, t->mark);
	t->mark[0] = '\0';
}

static void mark_start(struct thread *t, const struct op *op, unsigned int id)
{
	char text[64];

	if (op->type == OP_FLUSH)
		sprintf(text, "f,%u", id);
	else
		sprintf(text, "%c,%u,%llu,%llu", op->type, id, (unsigned long long)op->lba,
			(unsigned long long)op->count);
	put_start(t, text);
}

/* --- snapshots ------------------------------------------------------------------------------ */

/* Return: the place in names of the one to create, apply or delete. */
static unsigned int draw_snapshot(struct thread *t, struct op *op, unsigned int id)
{
	struct shared *s = t->shared;
	unsigned int dice = below(t, 100), which;

	if (!s->snapshots || (dice < 55 && s->snapshots < MOST_SNAPSHOTS)) {
		sprintf(s->names[s->snapshots], "s%u", id);
		return s->snapshots;
	}
	which = below(t, s->snapshots);
	op->type = below(t, 2) ? OP_APPLY : OP_DELETE;
	return which;
}

static int change_snapshots(const struct workload *w, const struct op *op, const char *name)
{
	return rig_snapshot(w->index, op->type == OP_CREATE ? QCOW2BLK_SNAPSHOT_CREATE :
				      op->type == OP_APPLY  ? QCOW2BLK_SNAPSHOT_APPLY :
							      QCOW2BLK_SNAPSHOT_DELETE, name);
}

/*
 * One at a time, and the mark of the end at once: who uses it next knows that it is there. One that
 * could not be deleted is left alone. Narrow refcounts are no failure.
 */
static void perform_on_snapshot(struct thread *t, struct op *op, unsigned int id)
{
	struct shared *s = t->shared;
	unsigned int which;
	char text[64];
	int err;

	pthread_mutex_lock(&s->snapshot_lock);
	which = draw_snapshot(t, op, id);
	sprintf(text, "%c,%u,%s", op->type, id, s->names[which]);
	put_start(t, text);
	err = change_snapshots(s->w, op, s->names[which]);
	sprintf(text, "%c,%u", err ? 'x' : 'c', id);
	marks_put(&s->w->marks, text);
	if (op->type == OP_CREATE && !err)
		s->snapshots++;
	else if (op->type == OP_DELETE)
		memcpy(s->names[which], s->names[--s->snapshots], sizeof(s->names[which]));
	pthread_mutex_unlock(&s->snapshot_lock);
	if (err && err != -EOVERFLOW)
		__atomic_add_fetch(&s->failed, 1, __ATOMIC_RELAXED);
}

/* --- sizes ---------------------------------------------------------------------------------- */

int workload_resize(const struct workload *w, uint64_t *sectors, unsigned int id, uint64_t size)
{
	char text[64];
	int err;

	sprintf(text, "%c,%u,%llu", OP_RESIZE, id, (unsigned long long)size);
	marks_put(&w->marks, text);
	err = rig_resize(w->index, size * SECTOR);
	sprintf(text, "%c,%u", err ? 'x' : 'c', id);
	marks_put(&w->marks, text);
	if (!err)
		__atomic_store_n(sectors, size, __ATOMIC_RELEASE);
	return err;
}

/* By a few sectors, or clusters, or by so much that tables must be added; some thrice in all. */
static void grow(struct thread *t, unsigned int id)
{
	const struct workload *w = t->shared->w;
	struct shared *s = t->shared;
	uint64_t more, left;
	int err = 0;

	pthread_mutex_lock(&s->snapshot_lock);
	left = 3 * w->sectors - s->sectors;
	more = 1 + below(t, below(t, 3) ? below(t, 2) ? 4 * w->cluster : 8 : w->sectors / 4);
	put_pending(t);
	if (left)
		err = workload_resize(w, &s->sectors, id, s->sectors + (more < left ? more : left));
	pthread_mutex_unlock(&s->snapshot_lock);
	/* Version 2 cannot hide a backing file that is longer, since the disk has shrunk. */
	if (err && err != -EOPNOTSUPP)
		__atomic_add_fetch(&s->failed, 1, __ATOMIC_RELAXED);
}

/* --- threads -------------------------------------------------------------------------------- */

static void *work(void *data)
{
	struct thread *t = data;
	const struct workload *w = t->shared->w;

	for (;;) {
		unsigned int id = __atomic_add_fetch(&t->shared->id, 1, __ATOMIC_RELAXED);
		struct op op;
		int err;

		if (id > w->first_id + w->ops)
			break;
		if (w->event && id - w->first_id == w->event_at)
			w->event(w->event_data);
		draw(t, &op);
		if (op.type == OP_CREATE) {
			perform_on_snapshot(t, &op, id);
			continue;
		}
		if (op.type == OP_RESIZE) {
			grow(t, id);
			continue;
		}
		mark_start(t, &op, id);
		err = perform(t, &op, id);
		if (err)
			__atomic_add_fetch(&t->shared->failed, 1, __ATOMIC_RELAXED);
		if (!err && op.type == OP_READ)
			note_values(t, &op, id);
		else
			sprintf(t->mark, "%c,%u;", err ? 'x' : 'c', id);
	}
	put_pending(t);
	free(t->buf);
	return NULL;
}

static void find_names(struct shared *s)
{
	const char *at = s->w->had;
	int len;

	while (at && *at && s->snapshots < MOST_SNAPSHOTS) {
		if (sscanf(at, "%15[^+]%n", s->names[s->snapshots++], &len) != 1)
			die("%s is no list of snapshots", s->w->had);
		at += len + (at[len] == '+');
	}
}

unsigned int workload_run(struct workload *w)
{
	struct shared shared = { .w = w, .sectors = w->sectors, .id = w->first_id,
				 .snapshot_lock = PTHREAD_MUTEX_INITIALIZER };
	struct thread threads[w->threads];
	uint64_t random = w->seed + w->first_id, clusters = (w->sectors + w->cluster - 1) / w->cluster;
	struct stat st;
	char text[64];

	if (fstat(w->fd, &st))
		die("cannot look at the disk: %m");
	shared.is_file = S_ISREG(st.st_mode);
	find_names(&shared);
	for (int i = 0; i < HOT_SPOTS; i++)
		shared.hot[i] = rig_random(&random) % clusters * w->cluster;
	shared.next = rig_random(&random) % clusters * w->cluster;
	if (!w->first_id) {
		sprintf(text, "b,%u", w->run);
		marks_put(&w->marks, text);
	}

	for (unsigned int i = 0; i < w->threads; i++) {
		threads[i] = (struct thread) { .shared = &shared, .random = rig_random(&random) };
		if (posix_memalign((void **)&threads[i].buf, 4096,
				   (w->most > MOST_READ ? w->most : MOST_READ) * SECTOR) ||
		    pthread_create(&threads[i].thread, NULL, work, &threads[i]))
			die("no thread");
	}
	for (unsigned int i = 0; i < w->threads; i++)
		pthread_join(threads[i].thread, NULL);
	w->sectors = shared.sectors;
	return shared.failed;
}
