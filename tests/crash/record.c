// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * record [OPTION...] LIST OUT
 *
 * Runs in the VM. For each line of LIST attach an image in a store that records, let the workload
 * loose on the disk, detach. The log is OUT/NAME.log. A line: NAME IMAGE CHAIN STORE SEED OPTIONS
 *
 *	CHAIN	what lies below the image: raw:FILE or qcow2:FILE, several with a comma between,
 *		or -. qcow2:@ is the file IMAGE.data, which then is in the store, too
 *	IMAGE	its external data file, if it has one, is IMAGE.data; not for STORE block
 *	STORE	file: recfs; loop: a loop device on recfs' file, where requests of 512 bytes can
 *		overtake each other; block: dm-log-writes. Devices are poisoned
 *	OPTIONS	with a comma between, or -:
 *		ops=N threads=N		of the workload
 *		most=SECTORS		of its longest write
 *		subclusters		it goes by these, not by clusters
 *		hold=PERCENT		requests that recfs does later than others
 *		slow=PERCENT		operations that others are made to overtake (4; 0 without hold)
 *		snapshots=PERCENT	operations that create, apply or delete a snapshot (0)
 *		commit			into qcow2:@, all the time, and at the end
 *		resizes=PERCENT		operations that let the disk grow; thrice it shrinks (0). Not
 *					together with snapshots
 *		had=NAME+NAME...	the image's snapshots, for these to be applied and deleted, too
 *		cache=BYTES		for table slices
 *		buffered		through the page cache
 *		no-fallocate, no-punch	recfs cannot
 *		no-discard		the disk takes none
 *		room=KIB		so much space is left: with little of it what is freed is soon
 *					used again
 *		may-fail		the workload's requests, for want of room or by a command
 *		idle=MS			between the workload and detach
 *		mutant=N		of kernel/mutant.h; needs the test build
 *		at=N:COMMAND		a command for recfs when N operations have started; + for blanks
 *
 *	--recfs PROGRAM
 *	--data DEVICE, --log DEVICE	for STORE block
 *	--qemu				qemu-nbd writes, not the driver: to test the tests
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libmnl/libmnl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dmlog.h"
#include "qcow2_format.h"
#include "rig.h"
#include "sector.h"
#include "workload.h"

#define DM_NAME		"crash"
#define NBD		"/dev/nbd0"
#define MAX_CHAIN	8
#define BASE_LAYER	"qcow2:@"
#define ROUNDS		4		/* between which the disk shrinks */
#define DEVICE_ROOM	(24ULL << 20)
#define MOST_SIZE	"268435456"	/* of an image; the disks are small */

static const char *recfs = "recfs", *data_dev, *log_dev;
static char mountpoint[1024];
static bool use_qemu;

/* --- programs ------------------------------------------------------------------------------- */

static pid_t start(const char *const *argv)
{
	pid_t pid;
	int err = posix_spawnp(&pid, argv[0], NULL, NULL, (char **)argv, environ);

	if (err)
		die("%s: %s", argv[0], strerror(err));
	return pid;
}

static void wait_for(pid_t pid, const char *name)
{
	int status;

	if (waitpid(pid, &status, 0) < 0 || status)
		die("%s has failed: status %x", name, status);
}

static void run(const char *const *argv)
{
	wait_for(start(argv), argv[0]);
}

/* --- a line of the list --------------------------------------------------------------------- */

/**
 * struct job - the line, and what there is while it runs
 * @path: of the image in its store.
 * @data: its external data file, or its base, empty if it has none; @data_path: that in the store.
 * @has_base: it is the base.
 * @command: for recfs, and when.
 */
struct job {
	char name[128];
	char image[1024];
	char chain[4096];
	char store[16];
	uint64_t seed;
	char text[1024];

	unsigned int ops;
	unsigned int threads;
	unsigned int most;
	unsigned int hold;
	unsigned int slow;
	unsigned int snapshots;
	unsigned int resizes;
	char had[128];
	bool commit;
	unsigned int idle;
	uint64_t room;
	unsigned int mutant;
	uint64_t cache;
	bool subclusters;
	bool buffered;
	bool no_fallocate;
	bool no_punch;
	bool no_discard;
	bool may_fail;
	unsigned int at;
	char command[128];

	char path[4096];
	char data[1100];
	char data_path[4096];
	bool has_base;
	char log[4096];
	uint64_t device_size;
	uint64_t data_room;
	pid_t recfs;
	int ctl;
	int loop;
	int data_loop;
	struct marks marks;
};

static void take_option(struct job *job, char *option)
{
	char *value = strchr(option, '=');
	unsigned long long number = value ? strtoull(value + 1, NULL, 0) : 0;

	if (value)
		*value = '\0';
	if (!strcmp(option, "ops"))
		job->ops = number;
	else if (!strcmp(option, "threads"))
		job->threads = number;
	else if (!strcmp(option, "most"))
		job->most = number;
	else if (!strcmp(option, "hold"))
		job->hold = number;
	else if (!strcmp(option, "slow"))
		job->slow = number;
	else if (!strcmp(option, "snapshots"))
		job->snapshots = number;
	else if (!strcmp(option, "resizes"))
		job->resizes = number;
	else if (!strcmp(option, "had") && value)
		snprintf(job->had, sizeof(job->had), "%s", value + 1);
	else if (!strcmp(option, "commit"))
		job->commit = true;
	else if (!strcmp(option, "room"))
		job->room = number << 10;
	else if (!strcmp(option, "idle"))
		job->idle = number;
	else if (!strcmp(option, "mutant"))
		job->mutant = number;
	else if (!strcmp(option, "cache"))
		job->cache = number;
	else if (!strcmp(option, "subclusters"))
		job->subclusters = true;
	else if (!strcmp(option, "buffered"))
		job->buffered = true;
	else if (!strcmp(option, "no-fallocate"))
		job->no_fallocate = true;
	else if (!strcmp(option, "no-punch"))
		job->no_punch = true;
	else if (!strcmp(option, "no-discard"))
		job->no_discard = true;
	else if (!strcmp(option, "may-fail"))
		job->may_fail = true;
	else if (!strcmp(option, "at") && sscanf(value + 1, "%u:%127s", &job->at, job->command) == 2)
		for (char *c = job->command; *c; c++)
			*c = *c == '+' ? ' ' : *c;
	else if (strcmp(option, "-"))
		die("%s: unknown option %s", job->name, option);
}

static bool parse_line(struct job *job, const char *line)
{
	char *save = NULL;

	memset(job, 0, sizeof(*job));
	if (sscanf(line, "%127s %1023s %4095s %15s %llu %1023s", job->name, job->image, job->chain,
		   job->store, (unsigned long long *)&job->seed, job->text) != 6)
		return false;
	job->room = DEVICE_ROOM;
	job->slow = 4;
	job->ops = 200;
	job->threads = 3;
	job->most = 128;
	snprintf(job->data, sizeof(job->data), "%s.data", job->image);
	if (access(job->data, F_OK))
		job->data[0] = '\0';
	job->has_base = !strncmp(job->chain, BASE_LAYER, strlen(BASE_LAYER));
	for (char *o = strtok_r(job->text, ",", &save); o; o = strtok_r(NULL, ",", &save))
		take_option(job, o);
	return true;
}

/* --- stores --------------------------------------------------------------------------------- */

static bool is_store(const struct job *job, const char *store)
{
	return !strcmp(job->store, store);
}

static void command(const struct job *job, const char *text)
{
	if (write(job->ctl, text, strlen(text)) < 0)
		die("recfs does not take \"%s\": %m", text);
}

static void recfs_start(struct job *job)
{
	char hold[16], seed[32], size[32], path[8192];
	const char *argv[24] = {
		recfs, "--foreground", "--load", job->image, "--log", job->log,
		"--hold", hold, "--seed", seed, "--size", MOST_SIZE,
	};
	unsigned int n = 12;

	sprintf(hold, "%u", job->hold);
	sprintf(seed, "%llu", (unsigned long long)job->seed);
	if (job->no_fallocate)
		argv[n++] = "--no-fallocate";
	if (job->no_punch)
		argv[n++] = "--no-punch";
	sprintf(size, "%llu", (unsigned long long)job->device_size);
	if (is_store(job, "loop")) {
		argv[n++] = "--poison";
		argv[n++] = size;
	}
	if (job->data[0]) {
		argv[n++] = "--data";
		argv[n++] = job->data;
	}
	argv[n] = mountpoint;
	job->recfs = start(argv);
	snprintf(path, sizeof(path), "%s/mark", mountpoint);
	for (int tries = 0; access(path, F_OK); tries++) {
		if (tries > 5000)
			die("%s: recfs does not come up", job->name);
		usleep(1000);
	}
	marks_open_file(&job->marks, path);
	snprintf(path, sizeof(path), "%s/ctl", mountpoint);
	job->ctl = open(path, O_WRONLY | O_CLOEXEC);
	if (job->ctl < 0)
		die("%s: %m", path);
	snprintf(job->path, sizeof(job->path), "%s/image", mountpoint);
	snprintf(job->data_path, sizeof(job->data_path), "%s/data", mountpoint);
	if (job->may_fail && is_store(job, "file")) {
		sprintf(path, "capacity %llu", (unsigned long long)job->device_size);
		command(job, path);
		sprintf(path, "data-capacity %llu", (unsigned long long)job->data_room);
		command(job, path);
	}
}

static void recfs_end(struct job *job)
{
	marks_close(&job->marks);
	close(job->ctl);
	for (int tries = 0; umount(mountpoint); tries++) {
		if (tries > 5000)
			die("%s: cannot be unmounted: %m", mountpoint);
		usleep(1000);
	}
	wait_for(job->recfs, recfs);
}

/* @path: a file; (out) the device on it. Return: that, open. */
static int make_loop(const struct job *job, char *path)
{
	struct loop_config config = { .block_size = SECTOR, .info.lo_flags = LO_FLAGS_DIRECT_IO };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE), loop;

	config.fd = open(path, O_RDWR | O_CLOEXEC);
	sprintf(path, "/dev/loop%d", number);
	loop = open(path, O_RDWR | O_CLOEXEC);
	if (number < 0 || loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config))
		die("%s: no loop device: %m", job->name);
	close(config.fd);
	close(control);
	return loop;
}

static void loop_start(struct job *job)
{
	job->loop = make_loop(job, job->path);
	if (job->data[0])
		job->data_loop = make_loop(job, job->data_path);
}

static void end_loop(int loop, const char *path)
{
	if (ioctl(loop, LOOP_CLR_FD))
		die("%s: %m", path);
	close(loop);
}

static void loop_end(struct job *job)
{
	end_loop(job->loop, job->path);
	if (job->data[0])
		end_loop(job->data_loop, job->data_path);
}

static void recfs_event(void *data)
{
	struct job *job = data;

	command(job, job->command);
}

/* The image at the start of the device, somebody's old data behind it. */
static void fill_device(struct job *job)
{
	static char buf[1 << 18];
	int in = open(job->image, O_RDONLY | O_CLOEXEC);
	int out = open(data_dev, O_WRONLY | O_CLOEXEC);
	char poison[SECTOR];

	if (in < 0 || out < 0)
		die("%s or %s: %m", job->image, data_dev);
	sector_poison(poison);
	for (uint64_t off = 0; off < job->device_size; off += sizeof(buf)) {
		uint64_t left = job->device_size - off;
		ssize_t len = left < sizeof(buf) ? left : sizeof(buf);
		ssize_t have = pread(in, buf, len, off);

		if (have < 0)
			die("%s: %m", job->image);
		for (; have % SECTOR; have++)
			buf[have] = 0;
		for (; have < len; have += SECTOR)
			memcpy(buf + have, poison, SECTOR);
		if (pwrite(out, buf, len, off) != len)
			die("%s: %m", data_dev);
	}
	close(in);
	if (fsync(out))
		die("%s: %m", data_dev);
	close(out);
}

static void block_start(struct job *job)
{
	char table[256];
	const char *const argv[] = { "dmsetup", "create", DM_NAME, "--table", table, NULL };

	fill_device(job);
	snprintf(table, sizeof(table), "0 %llu log-writes %s %s",
		 (unsigned long long)job->device_size / SECTOR, data_dev, log_dev);
	run(argv);
	job->ctl = -1;
	marks_open_dm(&job->marks, DM_NAME);
	snprintf(job->path, sizeof(job->path), "/dev/mapper/%s", DM_NAME);
}

static void block_end(struct job *job)
{
	const char *const argv[] = { "dmsetup", "remove", DM_NAME, NULL };

	marks_close(&job->marks);
	run(argv);
	dmlog_convert(log_dev, job->device_size, job->log);
}

/* --- disks ---------------------------------------------------------------------------------- */

static int open_file(const char *path, bool writable)
{
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_NOATIME | O_CLOEXEC);

	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

static void open_layer(struct rig_attach *a, const char *path, bool raw, bool writable)
{
	a->raw[a->count] = raw;
	a->fds[a->count++] = open_file(path, writable);
}

static int attach(struct job *job)
{
	struct rig_attach a = {
		.cache_size = job->cache, .writable = true,
		.flags = QCOW2BLK_F_NO_PARTSCAN | (job->no_discard ? QCOW2BLK_F_NO_DISCARD : 0),
		.direct_io = job->buffered ? QCOW2BLK_DIRECT_IO_OFF : QCOW2BLK_DIRECT_IO_AUTO,
	};
	char *save = NULL, key[2048];
	int index;

	snprintf(key, sizeof(key), "%s.key", job->image);
	a.key_file = key;
	if (job->data[0] && !job->has_base)
		a.data_fds[0] = open_file(job->data_path, true);
	open_layer(&a, job->path, false, true);
	for (char *layer = strtok_r(job->chain, ",", &save); layer && strcmp(layer, "-");
	     layer = strtok_r(NULL, ",", &save)) {
		char *path = strchr(layer, ':');

		if (!path || a.count == MAX_CHAIN)
			die("%s: %s is no layer", job->name, layer);
		open_layer(&a, strcmp(layer, BASE_LAYER) ? path + 1 : job->data_path,
			   !strncmp(layer, "raw:", 4), false);
	}
	index = rig_attach(&a);
	if (index < 0)
		die("%s: %s: %s", job->name, strerror(-index), a.sentence);
	while (a.count)
		close(a.fds[--a.count]);
	if (job->data[0] && !job->has_base)
		close(a.data_fds[0]);
	return index;
}

/* --- commits ---------------------------------------------------------------------------------- */

/**
 * struct committer - who merges the image into its base
 * @index: of the device.
 * @fd: the base.
 * @stop: the workload is done.
 * @failed: commits that did.
 */
struct committer {
	int index;
	int fd;
	bool stop;
	unsigned int failed;
	pthread_t thread;
};

static void *commit_always(void *data)
{
	struct committer *c = data;

	do {
		c->failed += !!rig_commit(c->index, c->fd);
	} while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED));
	return NULL;
}

static unsigned int run_with_commits(const struct job *job, struct workload *w)
{
	struct committer c = { .index = w->index };
	unsigned int failed;

	c.fd = open_file(job->data_path, true);
	if (pthread_create(&c.thread, NULL, commit_always, &c))
		die("no thread");
	failed = workload_run(w);
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	pthread_join(c.thread, NULL);
	/* All of it, but for half of the time. */
	if (job->seed & 1)
		c.failed += !!rig_commit(c.index, c.fd);
	close(c.fd);
	return failed + c.failed;
}

static void qemu_attach(struct job *job)
{
	const char *const argv[] = { "qemu-nbd", "-c", NBD, "-f", "qcow2", "--cache=none", "--aio=threads",
			       "--discard=unmap", "--fork", job->path, NULL };

	run(argv);
}

static int open_disk(int index, uint64_t *bytes)
{
	int fd = use_qemu ? open(NBD, O_RDWR | O_DIRECT | O_CLOEXEC) :
			    rig_open_disk(index, O_RDWR | O_DIRECT);

	if (fd < 0)
		die("the disk cannot be opened");
	/* qemu-nbd returns before the disk has its size. */
	while (ioctl(fd, BLKGETSIZE64, bytes) || !*bytes)
		usleep(1000);
	return fd;
}

static int detach_index;

static void put_force(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, detach_index);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_FORCE);
}

/* A disk that cannot be made durable goes all the same. Return: 0 or negative errno. */
static int detach(int index)
{
	const char *const argv[] = { "qemu-nbd", "-d", NBD, NULL };

	if (!use_qemu) {
		int err = rig_detach(index);

		detach_index = index;
		if (err && rig_send(QCOW2BLK_CMD_DETACH, put_force, NULL))
			die("qcow%d cannot be detached", index);
		return err;
	}
	run(argv);
	usleep(300000);		/* the daemon ends some time later */
	return 0;
}

static uint32_t cluster_sectors(const char *path)
{
	char buf[SECTOR];
	struct qcow2_fault why;
	uint32_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, buf, sizeof(buf)) != sizeof(buf) ||
	    qcow2_header_probe(buf, sizeof(buf), &size, &why))
		die("%s is no image", path);
	close(fd);
	return size / SECTOR;
}

/* The ordinary build has no such parameter, and makes no mistakes. */
static void set_mutant(unsigned int mutant)
{
	const char *path = "/sys/module/qcow2blk/parameters/mutant";
	FILE *out = fopen(path, "we");

	if (!out && mutant)
		die("%s: %m", path);
	if (!out)
		return;
	fprintf(out, "%u", mutant);
	if (fclose(out))
		die("%s: %m", path);
}

/* Of a device that the image lies on, or of what a file may occupy. */
static void find_size(struct job *job)
{
	struct stat st;

	if (stat(job->image, &st))
		die("%s: %m", job->image);
	job->device_size = (st.st_size + job->room + 4095) / 4096 * 4096;
	if (!job->data[0])
		return;
	if (stat(job->data, &st))
		die("%s: %m", job->data);
	job->data_room = st.st_blocks * SECTOR + job->room;
}

/*
 * The workload in parts. In between, while nobody has it open, the disk shrinks; what is gone must not
 * come back with what follows.
 */
static unsigned int run_with_shrinks(struct workload *w)
{
	uint64_t random = w->seed, first = w->sectors, size;
	unsigned int failed;

	w->ops /= ROUNDS;
	failed = workload_run(w);
	for (int i = 1; i < ROUNDS; i++) {
		close(w->fd);
		size = w->sectors > first ? first : w->sectors;
		size = 1 + size / 4 + rig_random(&random) % (size * 3 / 4);
		failed += !!workload_resize(w, &w->sectors, WORKLOAD_NEXT_ID(w), size);
		w->fd = open_disk(w->index, &w->sectors);
		w->sectors /= SECTOR;
		w->first_id = WORKLOAD_NEXT_ID(w);
		failed += workload_run(w);
	}
	return failed;
}

/* Return: false if something failed that should not. */
static bool record(struct job *job)
{
	bool block = is_store(job, "block");
	struct workload w = {
		.cluster = cluster_sectors(job->image), .ops = job->ops, .threads = job->threads,
		.most = job->most, .seed = job->seed, .run = job->seed & 0x7fffffff,
	};
	int index = -1, err;
	unsigned int failed;
	char text[64];

	if (job->subclusters) {
		w.whole = w.cluster;
		w.cluster /= QCOW2_EXTL2_SUBCLUSTERS;
	}
	find_size(job);
	if (block)
		block_start(job);
	else
		recfs_start(job);
	if (is_store(job, "loop"))
		loop_start(job);
	set_mutant(job->mutant);
	if (use_qemu)
		qemu_attach(job);
	else
		index = attach(job);
	w.fd = open_disk(index, &w.sectors);
	w.marks = job->marks;
	w.ctl = job->hold ? job->ctl : -1;
	w.slow = job->slow;
	w.index = index;
	w.snapshots = job->snapshots;
	w.resizes = job->resizes;
	w.had = job->had;
	w.sectors /= SECTOR;
	if (job->command[0]) {
		w.event = recfs_event;
		w.event_data = job;
		w.event_at = job->at;
	}
	if (job->commit)
		failed = run_with_commits(job, &w);
	else
		failed = job->resizes ? run_with_shrinks(&w) : workload_run(&w);
	usleep(job->idle * 1000);
	close(w.fd);

	sprintf(text, "q,%u", WORKLOAD_NEXT_ID(&w));
	marks_put(&job->marks, text);
	err = detach(index);
	sprintf(text, "%c,%u", err ? 'x' : 'c', WORKLOAD_NEXT_ID(&w));
	marks_put(&job->marks, text);
	if (is_store(job, "loop"))
		loop_end(job);
	if (block)
		block_end(job);
	else
		recfs_end(job);
	if ((failed || err) && !job->may_fail) {
		printf("%s: %u operations failed; detach: %s\n", job->name, failed, strerror(-err));
		return false;
	}
	return true;
}

/* --- all of it ------------------------------------------------------------------------------ */

static const struct option options[] = {
	{ "recfs", required_argument, NULL, 'r' },
	{ "data", required_argument, NULL, 'd' },
	{ "log", required_argument, NULL, 'l' },
	{ "qemu", no_argument, NULL, 'q' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	static struct job job;
	char line[8192];
	bool good = true;
	int option;
	FILE *list;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			recfs = optarg;
			break;
		case 'd':
			data_dev = optarg;
			break;
		case 'l':
			log_dev = optarg;
			break;
		case 'q':
			use_qemu = true;
			break;
		default:
			die("usage: see the head of record.c");
		}
	}
	if (optind != argc - 2)
		die("usage: record [OPTION...] LIST OUT");
	list = fopen(argv[optind], "r");
	if (!list)
		die("%s: %m", argv[optind]);
	snprintf(mountpoint, sizeof(mountpoint), "%s/record.XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(mountpoint))
		die("%s: %m", mountpoint);
	/* dmsetup makes its nodes itself. */
	setenv("DM_DISABLE_UDEV", "1", 1);
	while (fgets(line, sizeof(line), list)) {
		if (!parse_line(&job, line))
			die("a line of six words is wanted: %s", line);
		snprintf(job.log, sizeof(job.log), "%s/%s.log", argv[optind + 1], job.name);
		good &= record(&job);
	}
	rmdir(mountpoint);
	return good ? 0 : 1;
}
