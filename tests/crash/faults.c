// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * faults [OPTION...] STORE IMAGE BASE
 *
 * What becomes of a request when an operation of the file below it fails: every operation, one
 * after the other, of each kind, for each kind of request. STORE is where tests/crash/recfs is
 * mounted; IMAGE, made by tests/test_fault_01.sh, is copied there each time; BASE is its raw backing
 * file.
 *
 * One trial: attach, write something durable, let the Nth operation from now on fail, send the
 * request, flush, perhaps detach. Then:
 *	- the request and the flush succeed or fail with an errno, and nothing hangs
 *	- after a failed fsync the device is stopped: so says its flag, one event, and each later
 *	  flush; nothing is written to the file any more
 *	- a device that is not stopped goes on: writes and flushes work again
 *	- what was durable before is there; what was flushed since, too; sectors of the request hold
 *	  what they held or what they should; so it is on the device, and after a new attach
 *	- qemu-img check finds no error, and no leak unless the device was stopped or the fault was
 *	  met while it went away
 *	- want of memory below is nobody's error
 *	- a snapshot is created, applied or deleted wholly or not at all, and holds what it should
 *	- the disk has the size that it had, or the new one, and zeros where it has grown
 * until the fault is not reached any more.
 *
 *	--direct-io auto|on|off
 *	--few		one errno for each kind of operation; so it is for snapshots and sizes in any case,
 *			which take many, but not with --only
 *	--only NAME	this request
 *	--how ERRNO	this errno
 *	--part I/N	each Nth of all that, for N processes
 *	--device DEVICE	a loop device on the store's file, to be used in its place
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check.h"
#include "events.h"
#include "guest.h"
#include "qemu.h"
#include "rig.h"

#define KIB	1024ULL
#define MIB	(1024 * KIB)
#define SIZE	(1 * MIB)
#define QEMU_EVERY	8
#define MAX_N	200	/* a request needs fewer operations */
#define MARK	(1000 * KIB)	/* where no request goes */
#define ALIGN	4096

enum request_kind { WRITE, DISCARD, ZEROES, CREATE, APPLY, DELETE, GROW, SHRINK };

/* A snapshot that the image has, and one that is created. */
#define OLD_SNAPSHOT	"before"
#define NEW_SNAPSHOT	"new"

/* The disk's size after a request. What is gone is where no request goes. */
#define LARGER	(SIZE + 300 * KIB + 512)
#define SMALLER	(900 * KIB + 512)

/* A request, and whether the fault comes before it or only at detach. Zones: see the script. */
static const struct request {
	const char *name;
	enum request_kind kind;
	uint64_t off, len;
	bool at_detach;
	bool is_extra;		/* with --only */
} requests[] = {
	{ "in-place", WRITE, 4 * KIB, 4 * KIB, false, false },
	{ "shared", WRITE, 64 * KIB + 512, 1536, false, false },
	{ "compressed", WRITE, 128 * KIB + 512, 1536, false, false },
	{ "zero", WRITE, 192 * KIB + 512, 1536, false, false },
	{ "copy", WRITE, 256 * KIB + 512, 1536, false, false },
	{ "allocating", WRITE, 320 * KIB, 64 * KIB, false, false },
	{ "new-table", WRITE, 640 * KIB, 2 * KIB, false, false },
	{ "growth", WRITE, 704 * KIB, 136 * KIB, false, false },
	{ "discard", DISCARD, 0, 64 * KIB, false, false },
	{ "discard-shared", DISCARD, 64 * KIB, 64 * KIB, false, false },
	{ "zeroes", ZEROES, 512, 127 * KIB, false, false },
	{ "zeroes-copy", ZEROES, 256 * KIB + 512, 3 * KIB, false, false },
	{ "create", CREATE, 0, 0, false, false },
	{ "apply", APPLY, 0, SIZE, false, false },
	{ "delete", DELETE, 0, 0, false, false },
	{ "grow", GROW, 0, 0, false, false },
	{ "shrink", SHRINK, 0, 0, false, false },
	{ "detach", WRITE, 320 * KIB, 64 * KIB, true, false },
	{ "detach-discard", DISCARD, 0, 128 * KIB, true, false },
	{ "refill", WRITE, 256 * KIB + 512, 700 * KIB, false, true },
};

/* What fails, and how: the name of an errno, or "short". */
static const struct fault {
	const char *op;
	const char *how;
	bool ever;
	bool is_more;	/* not with --few */
} faults[] = {
	{ "read", "EIO", false, false },
	{ "write", "EIO", false, false },
	{ "write", "ENOSPC", false, true },
	{ "write", "short", false, true },
	{ "fsync", "EIO", false, false },
	{ "fsync", "EIO", true, true },
	{ "fallocate", "ENOSPC", false, false },
	{ "fallocate", "ENOSPC", true, true },
	{ "fallocate", "EIO", false, true },
	{ "truncate", "EIO", false, false },
	{ "read", "ENOMEM", false, true },
	{ "write", "ENOMEM", false, true },
	{ "fallocate", "ENOMEM", false, true },
};

struct trial {
	const struct request *r;
	const struct fault *fault;
	unsigned int n;
	int index;
	int disk;
	int err;		/* of the request */
	int flush_err;
	int detach_err;		/* of the detach, if that met the fault */
	bool may_leak;
	bool stopped;
	bool failed;
};

static const char *store, *image, *base, *only, *only_how, *device;
static unsigned int part, parts = 1;
static bool few;
static uint8_t direct_io;
static char *image_data;
static size_t image_size;
static unsigned char *held, *meant, *got;	/* the disk: as before, as meant, as read */
static unsigned char *snapshot;			/* what OLD_SNAPSHOT holds */
static unsigned int trial_count, hit_count, failed_count, stopped_count, errno_count;

static void __attribute__((format(printf, 2, 3))) fail(struct trial *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%s, %s of %s %u%s: ", t->r->name, t->fault->how, t->fault->op, t->n,
	       t->fault->ever ? " and all later ones" : "");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	t->failed = true;
}

/* --- the store ---------------------------------------------------------------------------- */

static int open_store(const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", store, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

static void __attribute__((format(printf, 1, 2))) tell_store(const char *format, ...)
{
	int fd = open_store("ctl", O_WRONLY);
	va_list args;

	va_start(args, format);
	if (vdprintf(fd, format, args) < 0)
		die("the store does not understand: %s", format);
	va_end(args);
	close(fd);
}

static unsigned long long store_count(const char *name)
{
	char text[512], *at;
	int fd = open_store("ctl", O_RDONLY);
	ssize_t len = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	at = strstr(text, name);
	if (!at)
		die("the store does not count: %s", name);
	return strtoull(at + strlen(name), NULL, 10);
}

/* Where the image is, for the driver. */
static int open_image(int flags)
{
	int fd;

	if (!device)
		return open_store("image", flags);
	fd = open(device, flags | O_CLOEXEC);
	if (fd < 0)
		die("%s: %m", device);
	return fd;
}

static void reset_image(void)
{
	size_t size = device ? (image_size + ALIGN - 1) / ALIGN * ALIGN : image_size;
	uint64_t range[2] = { 0 };
	int fd, err;

	tell_store("clear");
	fd = open_image(O_WRONLY | O_DIRECT);
	if (device)
		err = ioctl(fd, BLKGETSIZE64, &range[1]) || ioctl(fd, BLKDISCARD, range);
	else
		err = ftruncate(fd, 0);
	if (err || pwrite(fd, image_data, size, 0) != (ssize_t)size)
		die("the image cannot be copied: %m");
	close(fd);
}

/* --- the device ---------------------------------------------------------------------------- */

static bool attach(struct trial *t, bool writable)
{
	struct rig_attach a = {
		.count = 2, .raw = { false, true }, .writable = writable, .direct_io = direct_io,
		.flags = QCOW2BLK_F_NO_PARTSCAN,
	};

	a.fds[0] = open_image(writable ? O_RDWR : O_RDONLY);
	a.fds[1] = open(base, O_RDONLY | O_CLOEXEC);
	t->index = rig_attach(&a);
	close(a.fds[0]);
	close(a.fds[1]);
	if (t->index < 0) {
		fail(t, "not attached: %s: %s", strerror(-t->index), a.sentence);
		return false;
	}
	t->disk = rig_open_disk(t->index, (writable ? O_RDWR : O_RDONLY) | O_DIRECT);
	if (t->disk < 0)
		die("/dev/qcow%d: %s", t->index, strerror(-t->disk));
	return true;
}

static void open_disk(struct trial *t)
{
	t->disk = rig_open_disk(t->index, O_RDWR | O_DIRECT);
	if (t->disk < 0)
		t->disk = rig_open_disk(t->index, O_RDONLY | O_DIRECT);
	if (t->disk < 0)
		die("/dev/qcow%d: %s", t->index, strerror(-t->disk));
}

/* It shrinks while nobody has it open. */
static int shrink(struct trial *t)
{
	int err;

	close(t->disk);
	err = rig_resize(t->index, SMALLER);
	open_disk(t);
	return err;
}

static int send(struct trial *t, enum request_kind kind, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };
	ssize_t done;

	switch (kind) {
	case DISCARD:
		return ioctl(t->disk, BLKDISCARD, range) ? -errno : 0;
	case ZEROES:
		return ioctl(t->disk, BLKZEROOUT, range) ? -errno : 0;
	case CREATE:
		return rig_snapshot(t->index, QCOW2BLK_SNAPSHOT_CREATE, NEW_SNAPSHOT);
	case APPLY:
		return rig_snapshot(t->index, QCOW2BLK_SNAPSHOT_APPLY, OLD_SNAPSHOT);
	case DELETE:
		return rig_snapshot(t->index, QCOW2BLK_SNAPSHOT_DELETE, OLD_SNAPSHOT);
	case GROW:
		return rig_resize(t->index, LARGER);
	case SHRINK:
		return shrink(t);
	default:
		done = pwrite(t->disk, meant + off, len, off);
		return done < 0 ? -errno : done == (ssize_t)len ? 0 : -EIO;
	}
}

static int flush(const struct trial *t)
{
	return fsync(t->disk) ? -errno : 0;
}

/* Return: bytes of the disk that it had before, too. */
static uint64_t check_size(struct trial *t, const char *when, bool is_done)
{
	uint64_t want = t->r->kind == GROW ? LARGER : t->r->kind == SHRINK ? SMALLER : SIZE, size;
	int err;

	if (ioctl(t->disk, BLKGETSIZE64, &size))
		die("a disk without a size: %m");
	if (size != want && (is_done || size != SIZE))
		fail(t, "%s: the disk has %llu bytes", when, (unsigned long long)size);
	if (size != SIZE && !is_done && !t->stopped)
		fail(t, "%s: the disk has %llu bytes after an error", when, (unsigned long long)size);
	if (size <= SIZE)
		return size;
	err = rig_pread(t->disk, got, size - SIZE, SIZE);
	for (uint64_t i = 0; i < size - SIZE && !err; i++)
		err = got[i] ? -EUCLEAN : 0;
	if (err)
		fail(t, "%s: what is new: %s", when, strerror(-err));
	return SIZE;
}

/* Sector by sector; those of the request may be old, unless that is known to be done. */
static void compare(struct trial *t, const char *when, bool is_done)
{
	const struct request *r = t->r;
	uint64_t size = check_size(t, when, is_done);
	int err = rig_pread(t->disk, got, size, 0);

	if (err) {
		fail(t, "%s: reading: %s", when, strerror(-err));
		return;
	}
	/* A snapshot is applied whole, or not at all. */
	if (r->kind == APPLY && memcmp(got, meant, SIZE) && (is_done || memcmp(got, held, SIZE)))
		fail(t, "%s: the disk is neither what it was nor the snapshot", when);
	for (uint64_t off = 0; off < size; off += SECTOR) {
		bool may_be_old = off >= r->off && off < r->off + r->len && !is_done;

		if (!memcmp(got + off, meant + off, SECTOR) ||
		    (may_be_old && !memcmp(got + off, held + off, SECTOR)))
			continue;
		fail(t, "%s: sector %llu is wrong", when, (unsigned long long)off / SECTOR);
		return;
	}
}

static void change(unsigned char *disk, uint64_t off, uint64_t len)
{
	uint64_t random = trial_count * 1000 + off;

	for (uint64_t i = off; i < off + len; i += sizeof(random)) {
		uint64_t word = rig_random(&random);

		memcpy(disk + i, &word, sizeof(word));
	}
}

static void change_durably(struct trial *t, uint64_t off, uint64_t len, const char *when)
{
	int err;

	change(meant, off, len);
	err = send(t, WRITE, off, len) ?: flush(t);
	if (err)
		fail(t, "%s: a write and a flush: %s", when, strerror(-err));
}

/* --- a trial ------------------------------------------------------------------------------- */

/* What shall be there whatever happens: near the request's place, and far from it. */
static void prepare(struct trial *t)
{
	memcpy(meant, held, SIZE);
	change_durably(t, MARK, 8 * KIB, "before");
	change_durably(t, 60 * KIB, 1 * KIB, "before");
	change_durably(t, 252 * KIB, 6 * KIB, "before");
	memcpy(held, meant, SIZE);
	if (t->r->kind == WRITE)
		change(meant, t->r->off, t->r->len);
	else if (t->r->kind == APPLY)
		memcpy(meant, snapshot, SIZE);
	else
		memset(meant + t->r->off, 0, t->r->len);
}

static void arm(const struct trial *t)
{
	if (!strcmp(t->fault->how, "short"))
		tell_store("short %u", t->n);
	else
		tell_store("fail %s %u %s%s", t->fault->op, t->n, t->fault->how,
			   t->fault->ever ? " ever" : "");
}

static unsigned long long store_changes(void)
{
	return store_count("write ") + store_count("fallocate ") + store_count("truncate ");
}

/* Does the store stay as it is, once it was so for @ms, whatever is asked of the device? */
static bool writes_nothing(struct trial *t, unsigned int ms)
{
	unsigned long long writes;
	int err;

	do {
		writes = store_changes();
		usleep(ms * 1000);
	} while (store_changes() != writes);
	err = send(t, WRITE, 320 * KIB, 64 * KIB);
	if (!err)
		err = send(t, WRITE, 700 * KIB, 64 * KIB);
	if (!err)
		fail(t, "an allocating write after writing has stopped succeeds");
	if (!flush(t) || !flush(t))
		fail(t, "a flush after writing has stopped succeeds");
	return store_changes() == writes;
}

static void check_stopped(struct trial *t)
{
	struct events ev;

	stopped_count++;
	events_await(&ev, t->index, QCOW2BLK_EVENT_STOPPED);
	if (ev.count[QCOW2BLK_EVENT_STOPPED] != 1 || !ev.last_errno[QCOW2BLK_EVENT_STOPPED])
		fail(t, "%u events say that writing has stopped",
		     ev.count[QCOW2BLK_EVENT_STOPPED]);
	/* Whoever was about to do something when that happened does it, on a busy machine late. */
	if (!writes_nothing(t, 20) && !writes_nothing(t, 1000))
		fail(t, "something is written after writing has stopped");
	events_take(&ev, t->index);
	if (ev.count[QCOW2BLK_EVENT_STOPPED])
		fail(t, "it is said again that writing has stopped");
}

static void check_running(struct trial *t)
{
	struct events ev;

	if (t->r->kind < CREATE && t->err == -ENOSPC && !strcmp(t->fault->op, "fallocate")) {
		events_await(&ev, t->index, QCOW2BLK_EVENT_ENOSPC);
		if (!ev.count[QCOW2BLK_EVENT_ENOSPC])
			fail(t, "ENOSPC, and no event says so");
	} else {
		events_take(&ev, t->index);
	}
	if (ev.count[QCOW2BLK_EVENT_STOPPED])
		fail(t, "an event says that writing has stopped, the flag does not");
	/* The request again, then what was not allocated before. */
	if (t->err || t->r->kind < CREATE)
		t->err = send(t, t->r->kind, t->r->off, t->r->len);
	if (t->err)
		fail(t, "it fails again: %s", strerror(-t->err));
	change_durably(t, 400 * KIB, 8 * KIB, "afterwards");
	t->flush_err = 0;
}

/* Detach, with the fault still there. Return: true if the device is gone. */
static bool detach_faulty(struct trial *t)
{
	close(t->disk);
	t->detach_err = rig_detach(t->index);
	if (!t->detach_err)
		return true;
	open_disk(t);
	return false;
}

static void go_away(struct trial *t)
{
	int err;

	close(t->disk);
	err = rig_detach(t->index);
	if (t->stopped && err != -EIO)
		fail(t, "detach of what has stopped: %s", err ? strerror(-err) : "succeeds");
	if (!t->stopped && err)
		fail(t, "detach: %s", strerror(-err));
	if (err) {
		err = rig_force_detach(t->index);
		if (err)
			die("detach by force: %s", strerror(-err));
	}
}

static void check_snapshot(struct trial *t, const struct image *img, const struct base *below,
			   const struct check_snapshot *found, const unsigned char *want)
{
	static uint32_t ids[SIZE / SECTOR];

	guest_read(img, &found->header, below, ids);
	for (uint64_t i = 0; i < SIZE / SECTOR; i++) {
		if (memcmp(contents[ids[i]].data, want + i * SECTOR, SECTOR)) {
			fail(t, "snapshot %s: sector %llu is wrong", found->name,
			     (unsigned long long)i);
			return;
		}
	}
}

/* Each is there or not, as it should be; after an error that stopped the device nobody knows. */
static void check_snapshots(struct trial *t, const struct image *img, const struct check *c)
{
	bool unknown = t->stopped && t->err, has_old = false, has_new = false;
	struct check_snapshot list[8];
	struct base below;
	unsigned int count;

	if (!base_load(&below, base))
		die("%s: %m", base);
	count = check_list_snapshots(img, &c->header, list, ARRAY_SIZE(list));
	for (unsigned int i = 0; i < count; i++) {
		if (!strcmp(list[i].name, OLD_SNAPSHOT)) {
			has_old = true;
			check_snapshot(t, img, &below, &list[i], snapshot);
		} else if (!strcmp(list[i].name, NEW_SNAPSHOT)) {
			has_new = true;
			check_snapshot(t, img, &below, &list[i], held);
		}
	}
	if (t->r->kind == DELETE ? has_old && !unknown : !has_old)
		fail(t, "the old snapshot is%s there", has_old ? "" : " not");
	if (t->r->kind == CREATE ? !has_new && !unknown : has_new)
		fail(t, "the new snapshot is%s there", has_new ? "" : " not");
	free(below.ids);
}

/* What qemu-img check would say, in a tenth of the time. */
static void check_quickly(struct trial *t)
{
	struct image img = { };
	char path[4096];
	struct check c;

	contents_start();
	snprintf(path, sizeof(path), "%s/image", store);
	if (!image_load(&img, path))
		die("%s: %m", path);
	check_image(&c, &img);
	if (!c.opens || c.corruptions || c.strict || (c.leaks && !t->may_leak))
		fail(t, "%u corruptions, %u clusters used twice, %u leaks: %s", c.corruptions,
		     c.strict, c.leaks, c.what);
	else
		check_snapshots(t, &img, &c);
	image_free(&img);
	guest_forget();
	contents_free();
}

static void ask_qemu(struct trial *t)
{
	char said[QEMU_SAID];
	int dir = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!qemu_check(dir, "image", t->may_leak, said))
		fail(t, "qemu-img check: ...%.200s",
		     said + (strlen(said) > 200 ? strlen(said) - 200 : 0));
	close(dir);
}

static void judge(struct trial *t)
{
	check_quickly(t);
	if (trial_count % QEMU_EVERY == 0)
		ask_qemu(t);
	if (!attach(t, false))
		return;
	compare(t, "attached anew", !t->err && !t->flush_err && !t->detach_err);
	close(t->disk);
	if (rig_detach(t->index))
		die("a read-only device cannot be detached");
}

/* Return: true if the fault was met. */
static bool faulted(unsigned long long hits)
{
	return store_count("failed ") > hits;
}

static bool run(struct trial *t)
{
	unsigned long long hits;
	bool met, gone = false;
	struct events ev;

	trial_count++;
	reset_image();
	if (!attach(t, true))
		return false;
	events_take(&ev, t->index);
	prepare(t);
	hits = store_count("failed ");
	if (!t->r->at_detach)
		arm(t);
	t->err = send(t, t->r->kind, t->r->off, t->r->len);
	if (t->r->at_detach) {
		arm(t);
		gone = detach_faulty(t);
	} else {
		t->flush_err = flush(t);
	}
	met = faulted(hits);
	tell_store("clear");
	if (!strcmp(t->fault->how, "ENOMEM") && (t->err || t->flush_err || t->detach_err))
		fail(t, "%s, where memory was short for a moment",
		     strerror(-(t->err ?: t->flush_err ?: t->detach_err)));
	if (!gone) {
		t->stopped = rig_flags(t->index) & QCOW2BLK_F_STOPPED;
		compare(t, "attached", !t->err);
		if (t->stopped)
			check_stopped(t);
		else
			check_running(t);
		compare(t, "later", !t->err);
		if (met && !strcmp(t->fault->op, "fsync") && !t->stopped)
			fail(t, "an fsync has failed and writing goes on");
		go_away(t);
	}
	t->may_leak = t->stopped || (gone && met);
	judge(t);
	errno_count += t->err || t->flush_err || t->detach_err;
	hit_count += met;
	failed_count += t->failed;
	return met;
}

static void run_all(const struct request *r, const struct fault *fault)
{
	static unsigned char *clean;
	struct trial t = { .r = r, .fault = fault };

	if (!clean) {
		clean = malloc(SIZE);
		memcpy(clean, held, SIZE);
	}
	/* Of one request, parts are operations; else they are kinds of trials. */
	t.n = only ? part + 1 : 1;
	for (;;) {
		memcpy(held, clean, SIZE);
		if (!run(&t) || t.n >= MAX_N)
			break;
		t = (struct trial){ .r = r, .fault = fault, .n = t.n + (only ? parts : 1) };
	}
	if (t.n >= MAX_N)
		fail(&t, "so many operations");
}

/* What the image holds before: the driver's reads were tested elsewhere. */
static void learn_content(void)
{
	struct trial t = { .r = requests, .fault = faults };

	reset_image();
	if (!attach(&t, false) || rig_pread(t.disk, held, SIZE, 0))
		die("the image cannot be read");
	close(t.disk);
	rig_detach(t.index);
}

/* The base, but for two zones: see the script. */
static void learn_snapshot(void)
{
	int fd = open(base, O_RDONLY | O_CLOEXEC);

	snapshot = malloc(SIZE);
	if (!snapshot || rig_pread(fd, snapshot, SIZE, 0))
		die("%s: %m", base);
	memset(snapshot, 1, 128 * KIB);
	close(fd);
}

static void load_image(void)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC);

	image_size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	image_data = aligned_alloc(ALIGN, (image_size / ALIGN + 1) * ALIGN);
	memset(image_data, 0, (image_size / ALIGN + 1) * ALIGN);
	held = aligned_alloc(ALIGN, SIZE);
	meant = aligned_alloc(ALIGN, SIZE);
	got = aligned_alloc(ALIGN, SIZE);
	if (!image_size || rig_pread(fd, image_data, image_size, 0))
		die("%s: %m", image);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "direct-io", required_argument, NULL, 'd' },
		{ "only", required_argument, NULL, 'o' },
		{ "how", required_argument, NULL, 'h' },
		{ "few", no_argument, NULL, 'f' },
		{ "part", required_argument, NULL, 'p' },
		{ "device", required_argument, NULL, 'b' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			direct_io = rig_parse_direct_io(optarg);
			break;
		case 'o':
			only = optarg;
			break;
		case 'h':
			only_how = optarg;
			break;
		case 'f':
			few = true;
			break;
		case 'b':
			device = optarg;
			break;
		case 'p':
			if (sscanf(optarg, "%u/%u", &part, &parts) == 2 && parts)
				break;
			/* fall through */
		default:
			die("faults: see the head of faults.c");
		}
	}
	if (optind + 3 != argc)
		die("faults: see the head of faults.c");
	store = argv[optind];
	image = argv[optind + 1];
	base = argv[optind + 2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	events_start();
	load_image();
	learn_snapshot();
	learn_content();
	for (size_t i = 0; i < ARRAY_SIZE(requests) * ARRAY_SIZE(faults); i++) {
		const struct request *r = &requests[i / ARRAY_SIZE(faults)];
		const struct fault *fault = &faults[i % ARRAY_SIZE(faults)];

		if ((only ? !strcmp(only, r->name) : i % parts == part && !r->is_extra) &&
		    !((few || (r->kind >= CREATE && !only)) && fault->is_more) && (!only_how || !strcmp(only_how, fault->how)))
			run_all(r, fault);
	}
	printf("%u trials, %u met their fault, %u got an errno, %u stopped, %u failed\n",
	       trial_count, hit_count, errno_count, stopped_count, failed_count);
	return failed_count > 0;
}
