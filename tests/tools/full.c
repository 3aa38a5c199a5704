// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * full [--direct-io auto|on|off] [--seed S] IMAGE [FILLER]
 *
 * The life of an image whose disk is larger than what its store has room for. IMAGE is new and
 * reads as zeros; its clusters are of 256 KiB at most, so that discards reach some. FILLER is a
 * file that takes the store's space, to be made smaller when room is needed; without one, on a block
 * device, room comes from discards alone.
 *
 *	- it is written until there is no space: that is an ENOSPC, an event, and nothing else
 *	- what needs no space goes on: reads, flushes, writes to what was written
 *	- what is discarded gives its space back, for the filler to take
 *	- with room again writes work again
 * and at each step, after another attach, and to qemu-img the disk holds what it should; the image is
 * clean and has no leak.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "events.h"
#include "filler.h"
#include "oracle.h"
#include "qemu.h"
#include "rig.h"

#define KIB		1024ULL
#define MIB		(1024 * KIB)
#define MOST		(64 * KIB)	/* bytes of a write */
#define UNIT		(4 * KIB)	/* and its least */
#define ROOM		(16 * MIB)	/* that the filler leaves at first, then once more a half */
#define REFUSALS	40U		/* so many, and it is full */
#define MAX_WRITES	50000U
#define FLUSH_EVERY	32U
#define DISCARD_LEN	(256 * KIB)

enum { MAY_BE_FULL, MUST_WORK };

static const char *image, *filler;
static uint8_t direct_io;
static uint64_t random_state = 1;
static int disk, disk_index;
static uint32_t cluster_size;
static uint64_t size, reach;	/* of the disk; where writes go so far: tables are missing behind */
static struct oracle oracle;
static bool *is_written;	/* each UNIT */
static unsigned char *buf;
static uint64_t version;

static void attach(bool writable)
{
	int flags = writable ? O_RDWR : O_RDONLY;
	unsigned char header[24];
	struct rig_attach a = {
		.count = 1, .writable = writable, .direct_io = direct_io,
		.flags = QCOW2BLK_F_NO_PARTSCAN, .cache_size = 65536,
	};

	a.fds[0] = open(image, flags | O_CLOEXEC);
	if (a.fds[0] < 0 || rig_pread(a.fds[0], header, sizeof(header), 0))
		die("%s: %m", image);
	cluster_size = 1U << header[23];
	disk_index = rig_attach(&a);
	if (disk_index < 0)
		die("not attached: %s: %s", strerror(-disk_index), a.sentence);
	close(a.fds[0]);
	size = a.size;
	disk = rig_open_disk(disk_index, flags | O_DIRECT);
	if (disk < 0)
		die("/dev/qcow%d: %s", disk_index, strerror(-disk));
}

static void detach(void)
{
	int err;

	close(disk);
	err = rig_detach(disk_index);
	if (err)
		die("detach: %s", strerror(-err));
}

static void flush(void)
{
	if (fsync(disk))
		die("flush: %m");
}

/* --- writing -------------------------------------------------------------------------------- */

/* Each sector holds what it held, or what was written; from now on that. */
static void learn(uint64_t off, uint64_t len)
{
	static unsigned char seen[MOST] __attribute__((aligned(4096)));
	int err = rig_pread(disk, seen, len, off);

	if (err)
		die("read at %llu: %s", (unsigned long long)off, strerror(-err));
	for (uint64_t i = 0; i < len; i += SECTOR) {
		unsigned char *held = oracle_at(&oracle, off + i);

		if (memcmp(seen + i, held, SECTOR) && memcmp(seen + i, buf + i, SECTOR))
			die("after ENOSPC sector %llu is neither old nor new",
			    (unsigned long long)(off + i) / SECTOR);
		memcpy(held, seen + i, SECTOR);
	}
}

static uint64_t file_writes(void)
{
	return rig_stat(disk_index, QCOW2BLK_A_STAT_FILE_WRITES);
}

/*
 * Return: false if there was no space. That is known before anything is written to the file: what
 * finds none there may be a table.
 */
static bool write_at(uint64_t off, uint64_t len)
{
	uint64_t before = file_writes();
	ssize_t done;

	oracle_make(buf, off, len, ++version);
	done = pwrite(disk, buf, len, off);
	if (done < 0 && errno == ENOSPC) {
		if (len <= cluster_size - off % cluster_size && file_writes() != before)
			die("no space at %llu, seen when it was to be used", (unsigned long long)off);
		learn(off, len);
		return false;
	}
	if (done != (ssize_t)len)
		die("write of %llu bytes at %llu: %s", (unsigned long long)len,
		    (unsigned long long)off, done < 0 ? strerror(errno) : "short");
	memcpy(oracle_at(&oracle, off), buf, len);
	memset(is_written + off / UNIT, true, len / UNIT);
	return true;
}

static uint64_t random_len(void)
{
	return rig_random(&random_state) % 2 ? UNIT : MOST;
}

static uint64_t random_place(uint64_t len)
{
	return rig_random(&random_state) % ((reach - len) / UNIT + 1) * UNIT;
}

/*
 * Write anywhere, until it was refused often, or so many bytes are written; with MUST_WORK it
 * shall not be refused.
 */
static void write_much(const char *when, int mode, uint64_t most)
{
	unsigned int refused = 0, i;
	uint64_t bytes = 0;

	/* At most one event a second. */
	usleep(mode == MAY_BE_FULL ? 1100000 : 0);
	for (i = 0; refused < REFUSALS && bytes < most && i < MAX_WRITES; i++) {
		uint64_t len = random_len();

		if (write_at(random_place(len), len))
			bytes += len;
		else if (mode == MUST_WORK)
			die("%s: ENOSPC after %llu KiB", when, (unsigned long long)(bytes / KIB));
		else
			refused++;
		if (i % FLUSH_EVERY == 0)
			flush();
	}
	flush();
	printf("%s: %llu KiB written, %u times ENOSPC\n", when, (unsigned long long)(bytes / KIB),
	       refused);
	if (mode == MAY_BE_FULL && bytes < most && refused < REFUSALS)
		die("%s: never full", when);
}

/* What has its space. */
static void write_in_place(const char *when)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < MAX_WRITES && found < 100; i++) {
		uint64_t off = random_place(UNIT);

		if (!is_written[off / UNIT])
			continue;
		found++;
		if (!write_at(off, UNIT))
			die("%s: ENOSPC where there is data at %llu", when, (unsigned long long)off);
	}
	flush();
}

static void discard(uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };

	if (ioctl(disk, BLKDISCARD, range))
		die("discard at %llu: %m", (unsigned long long)off);
	memset(oracle_at(&oracle, off), 0, len);
	memset(is_written + off / UNIT, false, len / UNIT);
}

/* Each second piece of the disk. Return: how many bytes of that had been written. */
static uint64_t discard_much(void)
{
	uint64_t bytes = 0;

	for (uint64_t off = 0; off + DISCARD_LEN <= size; off += 2 * DISCARD_LEN) {
		for (uint64_t i = 0; i < DISCARD_LEN; i += UNIT)
			bytes += is_written[(off + i) / UNIT] ? UNIT : 0;
		discard(off, DISCARD_LEN);
	}
	flush();
	return bytes;
}

/* --- looking -------------------------------------------------------------------------------- */

static void compare(const char *when)
{
	char what[512];
	int err;

	for (uint64_t off = 0; off < size; off += MOST) {
		err = rig_pread(disk, buf, MOST, off);
		if (err)
			die("%s: read at %llu: %s", when, (unsigned long long)off, strerror(-err));
		if (!oracle_compare(&oracle, off, buf, MOST, what))
			die("%s: %s", when, what);
	}
}

/* Since the last look: was it told that there is no space, and nothing worse? */
static void check_events(const char *when, bool enospc)
{
	struct events ev;

	if (enospc)
		events_await(&ev, disk_index, QCOW2BLK_EVENT_ENOSPC);
	else
		events_take(&ev, disk_index);
	if (enospc && !ev.count[QCOW2BLK_EVENT_ENOSPC])
		die("%s: no event says that there is no space", when);
	if (ev.count[QCOW2BLK_EVENT_STOPPED] || rig_flags(disk_index) &
	    (QCOW2BLK_F_STOPPED | QCOW2BLK_F_READ_ONLY))
		die("%s: writing has stopped", when);
}

static void ask_qemu(void)
{
	static char said[QEMU_SAID];
	int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	char want[4096];

	if (!qemu_check(dir, image, false, said))
		die("qemu-img check: %s", said);
	snprintf(want, sizeof(want), "%s/want.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	fd = mkstemp(want);
	if (fd < 0 || write(fd, oracle.windows[0].bytes, size) != (ssize_t)size)
		die("%s: %m", want);
	close(fd);
	if (qemu_run(dir, (const char *[]){ "qemu-img", "compare", "-f", "raw", "-F", "qcow2",
						 want, image, NULL }, said))
		die("qemu-img compare: %s", said);
	unlink(want);
	close(dir);
}

/* --- all of it ------------------------------------------------------------------------------ */

static void live(void)
{
	uint64_t freed;

	attach(true);
	is_written = calloc(size / UNIT, 1);
	oracle_init(&oracle);
	oracle_add(&oracle, 0, size, -1, 0);
	events_start();
	reach = size / 2;
	if (filler)
		filler_leave(AT_FDCWD, filler, ROOM);
	write_much("filling", MAY_BE_FULL, UINT64_MAX);
	check_events("full", true);
	compare("full");
	write_in_place("full");
	compare("full, written in place");
	check_events("full, written in place", false);

	freed = discard_much();
	compare("discarded");
	reach = size;
	if (filler) {
		filler_leave(AT_FDCWD, filler, 0);
		write_much("others took what was discarded", MAY_BE_FULL, UINT64_MAX);
		check_events("others took what was discarded", true);
		write_in_place("others took what was discarded");
		compare("others took what was discarded");
		filler_leave(AT_FDCWD, filler, ROOM / 2);
		write_much("there is room again", MUST_WORK, ROOM / 8);
	} else {
		write_much("after discards", MUST_WORK, freed / 2);
	}
	compare("there is room again");
	check_events("there is room again", false);
	detach();

	attach(false);
	compare("attached anew");
	detach();
	ask_qemu();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "direct-io", required_argument, NULL, 'd' },
		{ "seed", required_argument, NULL, 's' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			direct_io = rig_parse_direct_io(optarg);
			break;
		case 's':
			random_state = strtoull(optarg, NULL, 0);
			break;
		default:
			die("full: see the head of full.c");
		}
	}
	if (optind == argc || argc > optind + 2)
		die("full: see the head of full.c");
	image = argv[optind];
	filler = argv[optind + 1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (posix_memalign((void **)&buf, 4096, MOST))
		die("no memory");
	live();
	return 0;
}
