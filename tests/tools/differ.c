// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * differ [OPTION...] MANIFEST [PATTERN...]
 * differ [OPTION...] --device PATH
 *
 * Random reads, writes, discards, zeroes and flushes by several threads, and internal snapshots that
 * are created, applied and deleted in between, and a disk that grows, against what memory says
 * that it should hold; every read is compared at once. Of each image of the manifest whose
 * name matches a pattern a copy is written: attached, changed, detached, some times over. In the end
 * it reads, attached anew, as it should, qemu-img check finds neither errors nor leaks, qemu-img
 * compare agrees, internal snapshots hold what they held, and a raw data file is what the disk is.
 *
 *	--ops N, --rounds N		operations for each image, and in how many attachments
 *	--threads N, --jobs N		threads on a disk; images at a time
 *	--seed S			with one thread, the same seed does the same
 *	--images DIR			where layers are, if not beside the manifest
 *	--scratch DIR			where images are written (default: $TMPDIR)
 *	--direct-io auto|on|off		how the driver reads and writes image files
 *	--room KIB			the store is filled up, but for so much; in every second
 *					attachment all of it. Then writes may get ENOSPC, and some must;
 *					one image at a time
 *	--compare N			qemu-img compares every Nth image (default 1, 0: none)
 *	--keep DIR			leave images that failed there
 *	--leave DIR			ask qemu-img nothing: leave each image there, with what it should
 *					read, for tests/differ to ask it outside of the VM
 *	--leaks				leaks are no failure
 *	--device PATH			any block device, as it is now; discarded sectors may hold anything
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

#include "differ.h"
#include "filler.h"
#include "image.h"
#include "qcow2_format.h"
#include "qemu.h"

#define FILLER "filler"

static const char *images, *scratch, *keep, *leave;
static unsigned int ops = 800, rounds = 2, thread_count = 4, job_count = 2, compare_every = 1;
static uint64_t seed = 1;
static uint8_t direct_io = QCOW2BLK_DIRECT_IO_AUTO;
static bool leaks_allowed;
static uint64_t room;

/* What came of it so far; updated by many. */
static unsigned int image_count, failed_count;
static uint64_t op_count, byte_count, refusal_count;

/* --- one image ---------------------------------------------------------------------------- */

static int attach(struct disk *disk, const struct image_copy *copy, bool writable, uint64_t random)
{
	struct rig_attach a = {
		.direct_io = direct_io,
		.writable = writable,
		/* Little room makes dirty tables leave the cache. */
		.cache_size = random % 2 ? 65536 : 0,
		.flags = random / 2 % 8 ? 0 : QCOW2BLK_F_NO_DISCARD,
	};
	int index = image_attach(copy, &a);

	disk->index = index;
	disk->no_discard = a.flags & QCOW2BLK_F_NO_DISCARD;
	if (index < 0)
		disk_fail(disk, "not attached: %s: %s", strerror(-index), a.sentence);
	else
		snprintf(disk->path, sizeof(disk->path), "/dev/" QCOW2BLK_DISK_NAME "%d", index);
	return index;
}

static void detach(struct disk *disk, int index)
{
	int err = rig_detach(index);

	if (err)
		disk_fail(disk, "cannot be detached: %s", strerror(-err));
}

static void read_geometry(struct disk *disk, const struct image_copy *copy)
{
	int fd = image_open_at(copy->dir, image_top(copy), O_RDONLY);
	unsigned char header[80];

	if (rig_pread(fd, header, sizeof(header), 0))
		die("%s: no header", disk->name);
	close(fd);
	disk->is_v2 = header[7] == 2;
	disk->cluster_size = 1U << header[23];
	/* The lowest byte of incompatible_features, in version 3. */
	disk->subcluster_size = disk->cluster_size;
	if (!disk->is_v2 && header[79] & QCOW2_INCOMPAT_EXTL2)
		disk->subcluster_size /= 32;
	disk->has_backing = copy->image->layer_count > 1;
}

/* What the disk should hold, as a file, if all of it is known. */
static bool write_oracle(struct disk *disk, int dir)
{
	const struct oracle_window *window = &disk->oracle.windows[0];
	int fd;

	if (window->off || window->len != disk->size)
		return false;
	fd = image_open_at(dir, "want.raw", O_RDWR | O_CREAT | O_EXCL);
	if (write(fd, window->bytes, window->len) != (ssize_t)window->len)
		die("want.raw cannot be written");
	close(fd);
	return true;
}

static void leave_copy(struct disk *disk, const struct image_copy *copy)
{
	int dir = image_copy_to(copy, leave);

	if (write_oracle(disk, dir))
		disk_leave_snapshots(disk, dir);
	close(dir);
}

/* A snapshot as QEMU reads it, in got.raw. Return: as qemu_run(). */
static int convert_snapshot(const struct image_copy *copy, const char *name, char *said)
{
	char option[256], spec[QEMU_SPEC];

	snprintf(option, sizeof(option), "snapshot.name=%s", name);
	return qemu_run(copy->dir, (const char *[]){ "qemu-img", "convert", "-l", option, "-O", "raw",
						     "--object", QEMU_SECRET, "--image-opts",
						     qemu_spec(image_top(copy), spec), "got.raw",
						     NULL }, said);
}

/* QEMU shows as much of it as the disk has now. */
static void check_snapshot(struct disk *disk, const struct image_copy *copy, const char *name,
			   int want_fd)
{
	char got[4096], want[4096], said[QEMU_SAID];
	uint64_t off = 0, end;
	int got_fd;
	ssize_t len;

	if (convert_snapshot(copy, name, said)) {
		disk_fail(disk, "snapshot %s: qemu-img convert: %s", name, said);
		return;
	}
	got_fd = image_open_at(copy->dir, "got.raw", O_RDONLY);
	end = lseek(want_fd, 0, SEEK_END);
	end = end < disk->size ? end : disk->size;
	for (; off < end && !disk->failed; off += len) {
		len = end - off < sizeof(want) ? end - off : sizeof(want);
		if (pread(want_fd, want, len, off) != len || pread(got_fd, got, len, off) != len ||
		    memcmp(got, want, len))
			disk_fail(disk, "snapshot %s is not what it was", name);
	}
	close(got_fd);
}

/* One that the image came with. */
static void check_old_snapshot(struct disk *disk, const struct image_copy *copy,
			       const struct manifest_snapshot *snapshot)
{
	int want_fd = manifest_open_file(manifest_dir, snapshot->file, O_RDONLY);

	check_snapshot(disk, copy, snapshot->tag, want_fd);
	close(want_fd);
}

/* One that was created here. */
static void check_new_snapshot(struct disk *disk, const struct image_copy *copy, const char *name)
{
	char want[64];
	int want_fd;

	snprintf(want, sizeof(want), DISK_SNAPSHOT_FILE, name);
	want_fd = image_open_at(copy->dir, want, O_RDONLY);
	check_snapshot(disk, copy, name, want_fd);
	close(want_fd);
	unlinkat(copy->dir, want, 0);
}

static void ask_qemu(struct disk *disk, const struct image_copy *copy, bool compare)
{
	const struct manifest_layer *top = copy->image->layers;
	char said[QEMU_SAID], spec[QEMU_SPEC];

	if (!qemu_check(copy->dir, image_top(copy), leaks_allowed, said))
		disk_fail(disk, "qemu-img check: %s", said);
	for (unsigned int i = 0; i < copy->image->snapshot_count && !disk->failed; i++)
		check_old_snapshot(disk, copy, &copy->image->snapshots[i]);
	if (!compare || !write_oracle(disk, copy->dir))
		return;
	if (qemu_run(copy->dir, (const char *[]){ "qemu-img", "compare", "--object",
						  QEMU_SECRET, "--image-opts",
						  "driver=raw,file.filename=want.raw",
						  qemu_spec(image_top(copy), spec), NULL }, said))
		disk_fail(disk, "qemu-img compare: %s", said);
	/* QEMU makes it longer than the disk, up to the end of the last cluster: with zeros. */
	if (top->data_is_raw &&
	    qemu_run(copy->dir, (const char *[]){ "qemu-img", "compare", "-f", "raw", "-F", "raw",
						  "want.raw", top->data, NULL }, said))
		disk_fail(disk, "the data file is not what the disk is: %s", said);
	disk_leave_snapshots(disk, copy->dir);
	for (unsigned int i = 0; i < disk->snapshot_count; i++)
		check_new_snapshot(disk, copy, disk->snapshots[i].name);
}

static void load_oracle(struct disk *disk, const struct manifest_image *image)
{
	oracle_init(&disk->oracle);
	for (unsigned int i = 0; i < image->check_count; i++) {
		const struct manifest_check *check = &image->checks[i];
		int fd = manifest_open_file(manifest_dir, check->file, O_RDONLY);

		oracle_add(&disk->oracle, check->off, check->len, fd, 0);
		close(fd);
	}
}

/* Change the disk in so many attachments, then look at all of it in another one. */
static void change(struct disk *disk, const struct image_copy *copy, uint64_t random)
{
	int index;

	for (disk->round = 0; disk->round < rounds && !disk->failed; disk->round++) {
		if (room)
			filler_leave(copy->dir, FILLER, disk->round % 2 ? 0 : room);
		index = attach(disk, copy, true, rig_random(&random));
		if (index < 0)
			return;
		disk->seed = rig_random(&random);
		disk_change(disk, ops / rounds);
		detach(disk, index);
	}
	unlinkat(copy->dir, FILLER, 0);
	if (disk->failed)
		return;
	index = attach(disk, copy, false, rig_random(&random));
	if (index < 0)
		return;
	disk_compare(disk);
	detach(disk, index);
}

static void run_image(const struct manifest_image *image, unsigned int number)
{
	struct disk disk = {
		.name = image->name, .threads = thread_count, .may_be_full = room,
		.has_data_file = image->layers[0].data,
	};
	struct image_copy copy;

	load_oracle(&disk, image);
	image_copy(&copy, image, images, scratch);
	read_geometry(&disk, &copy);
	disk.size = image->size;
	disk.has_snapshots = image->snapshot_count;
	change(&disk, &copy, seed * 1000003 + number);
	if (leave)
		leave_copy(&disk, &copy);
	else
		ask_qemu(&disk, &copy, compare_every && number % compare_every == 0);
	if (disk.failed) {
		if (keep)
			image_keep(&copy, keep);
		__atomic_add_fetch(&failed_count, 1, __ATOMIC_RELAXED);
	}
	__atomic_add_fetch(&op_count, disk.ops_done, __ATOMIC_RELAXED);
	__atomic_add_fetch(&byte_count, disk.bytes_done, __ATOMIC_RELAXED);
	__atomic_add_fetch(&refusal_count, disk.refusals, __ATOMIC_RELAXED);
	image_remove(&copy, (const char *const[]){ "want.raw", "got.raw", NULL });
	disk_forget_snapshots(&disk);
	oracle_free(&disk.oracle);
}

static void *run_images(void *unused)
{
	struct manifest_image image;

	while (manifest_next(&image)) {
		unsigned int number = __atomic_fetch_add(&image_count, 1, __ATOMIC_RELAXED);

		run_image(&image, number);
		manifest_free(&image);
	}
	return unused;
}

/* --- any block device --------------------------------------------------------------------- */

static void run_device(const char *path)
{
	struct disk disk = {
		.name = path,
		.threads = thread_count,
		.seed = seed,
		.cluster_size = 4096,
		.subcluster_size = 4096,
		.is_other = true,
	};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t size;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
		die("%s: %m", path);
	snprintf(disk.path, sizeof(disk.path), "%s", path);
	oracle_init(&disk.oracle);
	oracle_add(&disk.oracle, 0, size, fd, 0);
	close(fd);
	disk_change(&disk, ops);
	if (!disk.failed)
		disk_compare(&disk);
	image_count = 1;
	failed_count = disk.failed;
	op_count = disk.ops_done;
	byte_count = disk.bytes_done;
}

static const struct option options[] = {
	{ "ops", required_argument, NULL, 'o' },
	{ "rounds", required_argument, NULL, 'r' },
	{ "threads", required_argument, NULL, 't' },
	{ "jobs", required_argument, NULL, 'j' },
	{ "seed", required_argument, NULL, 's' },
	{ "images", required_argument, NULL, 'i' },
	{ "scratch", required_argument, NULL, 'S' },
	{ "direct-io", required_argument, NULL, 'd' },
	{ "room", required_argument, NULL, 'R' },
	{ "compare", required_argument, NULL, 'c' },
	{ "keep", required_argument, NULL, 'k' },
	{ "leave", required_argument, NULL, 'L' },
	{ "leaks", no_argument, NULL, 'l' },
	{ "device", required_argument, NULL, 'D' },
	{ }
};

int main(int argc, char **argv)
{
	const char *device = NULL;
	pthread_t jobs[64];
	bool none;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			ops = strtoul(optarg, NULL, 0);
			break;
		case 'r':
			rounds = strtoul(optarg, NULL, 0);
			break;
		case 't':
			thread_count = strtoul(optarg, NULL, 0);
			break;
		case 'j':
			job_count = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'i':
			images = optarg;
			break;
		case 'S':
			scratch = optarg;
			break;
		case 'd':
			direct_io = rig_parse_direct_io(optarg);
			break;
		case 'R':
			room = strtoull(optarg, NULL, 0) << 10;
			job_count = 1;
			break;
		case 'c':
			compare_every = strtoul(optarg, NULL, 0);
			break;
		case 'k':
			keep = optarg;
			break;
		case 'L':
			leave = optarg;
			break;
		case 'l':
			leaks_allowed = true;
			break;
		case 'D':
			device = optarg;
			break;
		default:
			die("differ: see the head of differ.c");
		}
	}
	none = optind == argc;
	if (!rounds || !thread_count || thread_count > ORACLE_MAX_THREADS ||
	    !job_count || job_count > ARRAY_SIZE(jobs) || !device == none)
		die("differ: see the head of differ.c");
	scratch = scratch ?: getenv("TMPDIR") ?: "/tmp";
	setvbuf(stdout, NULL, _IOLBF, 0);

	if (device) {
		run_device(device);
	} else {
		manifest_open(argv[optind], argv + optind + 1, argc - optind - 1);
		images = images ?: manifest_dir;
		for (unsigned int i = 0; i < job_count; i++)
			pthread_create(&jobs[i], NULL, run_images, NULL);
		for (unsigned int i = 0; i < job_count; i++)
			pthread_join(jobs[i], NULL);
	}
	printf("seed %llu: %u images, %llu operations, %llu MiB, %u images failed\n",
	       (unsigned long long)seed, image_count, (unsigned long long)op_count,
	       (unsigned long long)byte_count >> 20, failed_count);
	if (room)
		printf("%llu operations got ENOSPC\n", (unsigned long long)refusal_count);
	return failed_count || !image_count || (room && !refusal_count);
}
