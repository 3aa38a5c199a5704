// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices that come and go.
 *
 * life storm SECONDS IMAGE...	attach, read and detach in many threads at once; a device that is
 *				being read cannot be detached
 * life rules DIR IMAGE		what is refused, and how: messages, files, chains, indexes
 * life data PLAIN IMAGE DATA	likewise for an image with an external data file
 * life nest IMAGE		an image on a device of an image on a device...
 * life shrink DIR IMAGE ORACLE	a file that is cut short while it is attached
 * life counters PLAIN COMPRESSED	what reads cost: both images are of 64 KiB clusters, full, and
 *				written from start to end
 */
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

static unsigned int failures;

static void __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
}

static int open_image(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);

	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

/* Attach one file. Return: index or negative errno. */
static int attach_fd(int fd, bool raw, char *sentence)
{
	struct rig_attach a = { .count = 1, .fds = { fd }, .raw = { raw } };
	int index = rig_attach(&a);

	if (sentence)
		strcpy(sentence, a.sentence);
	return index;
}

static int attach_image(const char *path)
{
	int fd = open_image(path);
	int index = attach_fd(fd, false, NULL);

	close(fd);
	if (index < 0)
		wrong("%s is not attached: %s", path, strerror(-index));
	return index;
}

/* --- storm -------------------------------------------------------------------------------- */

static char **storm_images;
static int storm_image_count;
static bool storm_over;
static unsigned int storm_attached, storm_reads;

static void *storm_reader(void *data)
{
	int disk = *(int *)data;
	uint64_t random = disk;
	off_t size = lseek(disk, 0, SEEK_END);
	char *buf;

	if (posix_memalign((void **)&buf, 4096, 65536))
		die("no memory");
	for (int i = 0; i < 50; i++) {
		off_t off = rig_random(&random) % (size - 65536) / 512 * 512;
		int err = rig_pread(disk, buf, 65536, off);

		if (err)
			wrong("a read at %lld: %s", (long long)off, strerror(-err));
		__atomic_add_fetch(&storm_reads, 1, __ATOMIC_RELAXED);
	}
	free(buf);
	return NULL;
}

static void *storm_worker(void *data)
{
	uint64_t random = (uintptr_t)data;

	while (!storm_over) {
		const char *image = storm_images[rig_random(&random) % storm_image_count];
		int index = attach_image(image), disk, err;
		pthread_t readers[2];

		if (index < 0)
			return NULL;
		__atomic_add_fetch(&storm_attached, 1, __ATOMIC_RELAXED);
		disk = rig_open_disk(index, O_RDONLY | O_DIRECT);
		if (disk < 0) {
			wrong("qcow%d cannot be opened: %s", index, strerror(-disk));
			return NULL;
		}
		for (int i = 0; i < 2; i++)
			pthread_create(&readers[i], NULL, storm_reader, &disk);
		for (int i = 0; i < 3; i++) {
			err = rig_try_detach(index);
			if (err != -EBUSY)
				wrong("qcow%d is being read, and detach says %s", index, strerror(-err));
		}
		for (int i = 0; i < 2; i++)
			pthread_join(readers[i], NULL);
		close(disk);
		err = rig_detach(index);
		if (err)
			wrong("qcow%d cannot be detached: %s", index, strerror(-err));
	}
	return NULL;
}

static __thread int look_at;

static void put_look_at(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, look_at);
}

/* Somebody who looks at everything, and opens what comes his way. */
static void *storm_onlooker(void *unused)
{
	static char buf[4096] __attribute__((aligned(4096)));

	while (!storm_over) {
		for (look_at = 0; look_at < 8; look_at++) {
			int err = rig_send(QCOW2BLK_CMD_GET, put_look_at, NULL);
			int disk = rig_open_disk(look_at, O_RDONLY | O_DIRECT);

			if (err && err != -ENODEV)
				wrong("a look at qcow%d: %s", look_at, strerror(-err));
			if (disk < 0)
				continue;
			if (rig_pread(disk, buf, sizeof(buf), 0))
				wrong("a disk that is open cannot be read");
			close(disk);
		}
		usleep(20000);
	}
	return unused;
}

static int storm(int seconds, char **images, int count)
{
	pthread_t threads[7];

	storm_images = images;
	storm_image_count = count;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, i ? storm_worker : storm_onlooker, (void *)i);
	sleep(seconds);
	storm_over = true;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	printf("%u attached, %u reads\n", storm_attached, storm_reads);
	if (!storm_attached || !storm_reads)
		wrong("nothing has happened");
	return failures;
}

/* --- rules -------------------------------------------------------------------------------- */

static int rules_fd;

static void put_layer(struct nlmsghdr *nlh, int fd)
{
	struct nlattr *layer = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYER);

	mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_FD, fd);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_FORMAT, QCOW2BLK_FORMAT_QCOW2);
	mnl_attr_nest_end(nlh, layer);
}

static void put_layers(struct nlmsghdr *nlh, int count)
{
	struct nlattr *layers = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYERS);

	while (count--)
		put_layer(nlh, rules_fd);
	mnl_attr_nest_end(nlh, layers);
}

static void read_only(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_READ_ONLY);
}

static void for_writing(struct nlmsghdr *nlh) { put_layers(nlh, 1); }
static void no_layers(struct nlmsghdr *nlh) { read_only(nlh); }
static void empty_layers(struct nlmsghdr *nlh) { read_only(nlh); put_layers(nlh, 0); }
static void too_many_layers(struct nlmsghdr *nlh) { read_only(nlh); put_layers(nlh, 65); }
static void twice_the_same(struct nlmsghdr *nlh) { read_only(nlh); put_layers(nlh, 2); }

static void unknown_attribute(struct nlmsghdr *nlh)
{
	read_only(nlh);
	put_layers(nlh, 1);
	mnl_attr_put_u32(nlh, 200, 1);
}

static void answer_attribute(struct nlmsghdr *nlh)
{
	read_only(nlh);
	put_layers(nlh, 1);
	mnl_attr_put_u64(nlh, QCOW2BLK_A_SIZE, 1);
}

static void unknown_flag(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_READ_ONLY | 1U << 31);
	put_layers(nlh, 1);
}

static void short_flags(struct nlmsghdr *nlh)
{
	mnl_attr_put_u8(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_READ_ONLY);
	put_layers(nlh, 1);
}

static void unknown_direct_io(struct nlmsghdr *nlh)
{
	read_only(nlh);
	put_layers(nlh, 1);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_DIRECT_IO, 3);
}

static void huge_index(struct nlmsghdr *nlh)
{
	read_only(nlh);
	put_layers(nlh, 1);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, QCOW2BLK_MAX_INDEX + 1);
}

static void layer_attributes(struct nlmsghdr *nlh, bool fd, bool format, uint8_t format_value,
			     bool unknown)
{
	struct nlattr *layers, *layer;

	read_only(nlh);
	layers = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYERS);
	layer = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYER);
	if (fd)
		mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_FD, rules_fd);
	if (format)
		mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_FORMAT, format_value);
	if (unknown)
		mnl_attr_put_u32(nlh, 99, 1);
	mnl_attr_nest_end(nlh, layer);
	mnl_attr_nest_end(nlh, layers);
}

static void layer_without_fd(struct nlmsghdr *nlh) { layer_attributes(nlh, false, true, 0, false); }
static void layer_without_format(struct nlmsghdr *nlh) { layer_attributes(nlh, true, false, 0, false); }
static void layer_unknown_format(struct nlmsghdr *nlh) { layer_attributes(nlh, true, true, 2, false); }
static void layer_unknown(struct nlmsghdr *nlh) { layer_attributes(nlh, true, true, 0, true); }
static void index_7(struct nlmsghdr *nlh) { mnl_attr_put_u32(nlh, QCOW2BLK_A_INDEX, 7); }

static void size_only(struct nlmsghdr *nlh) { mnl_attr_put_u64(nlh, QCOW2BLK_A_SIZE, 1 << 20); }

static void size_of_nothing(struct nlmsghdr *nlh)
{
	index_7(nlh);
	size_only(nlh);
}

static void size_with_force(struct nlmsghdr *nlh)
{
	size_of_nothing(nlh);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_FLAGS, QCOW2BLK_F_FORCE);
}

static void short_size(struct nlmsghdr *nlh)
{
	index_7(nlh);
	mnl_attr_put_u32(nlh, QCOW2BLK_A_SIZE, 1 << 20);
}

/* Refused with @want (or any error for 0) and a sentence, except where the kernel has none. */
static void refused(const char *what, uint8_t command, void (*put)(struct nlmsghdr *nlh), int want)
{
	char sentence[256];
	int err = rig_send(command, put, sentence);

	if (!err)
		wrong("%s: accepted", what);
	else if (want && err != want)
		wrong("%s: %s instead of %s (%s)", what, strerror(-err), strerror(-want), sentence);
	else if (!sentence[0] && (command == QCOW2BLK_CMD_ATTACH || command == QCOW2BLK_CMD_DETACH))
		wrong("%s: %s, without a sentence", what, strerror(-err));
}

/* Not to be found in what the kernel sends back; the first 32 of them. */
#define KEY_BYTES "a key that nobody has any use for"

static void layer_with_key(struct nlmsghdr *nlh, bool cipher)
{
	struct nlattr *layers = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYERS);
	struct nlattr *layer = mnl_attr_nest_start(nlh, QCOW2BLK_A_LAYER);

	mnl_attr_put_u32(nlh, QCOW2BLK_A_LAYER_FD, rules_fd);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_FORMAT, QCOW2BLK_FORMAT_QCOW2);
	if (cipher)
		mnl_attr_put_strz(nlh, QCOW2BLK_A_LAYER_CIPHER, "xts(aes)");
	mnl_attr_put_u8(nlh, QCOW2BLK_A_LAYER_IV, QCOW2BLK_IV_PLAIN64);
	mnl_attr_put(nlh, QCOW2BLK_A_LAYER_KEY, 32, KEY_BYTES);
	mnl_attr_nest_end(nlh, layer);
	mnl_attr_nest_end(nlh, layers);
}

static void attach_with_key(struct nlmsghdr *nlh)
{
	read_only(nlh);
	layer_with_key(nlh, true);
}

static void commit_step(struct nlmsghdr *nlh, uint8_t step)
{
	index_7(nlh);
	mnl_attr_put_u8(nlh, QCOW2BLK_A_COMMIT_OP, step);
}

static void open_with_key(struct nlmsghdr *nlh)
{
	commit_step(nlh, QCOW2BLK_COMMIT_OPEN);
	layer_with_key(nlh, true);
}

static void open_with_half_a_key(struct nlmsghdr *nlh)
{
	commit_step(nlh, QCOW2BLK_COMMIT_OPEN);
	layer_with_key(nlh, false);
}

static void start_with_key(struct nlmsghdr *nlh)
{
	commit_step(nlh, QCOW2BLK_COMMIT_START);
	layer_with_key(nlh, true);
}

static void open_nothing_with_key(struct nlmsghdr *nlh)
{
	mnl_attr_put_u8(nlh, QCOW2BLK_A_COMMIT_OP, QCOW2BLK_COMMIT_OPEN);
	layer_with_key(nlh, true);
}

static void key_wiped(const char *what, uint8_t command, void (*put)(struct nlmsghdr *nlh))
{
	char back[16384];
	size_t len = rig_send_back(command, put, back, sizeof(back));

	if (!len)
		wrong("%s: not refused", what);
	else if (memmem(back, len, KEY_BYTES, 32))
		wrong("%s: the key comes back", what);
}

static void key_rules(void)
{
	key_wiped("an attach with a key", QCOW2BLK_CMD_ATTACH, attach_with_key);
	key_wiped("a backing file with a key", QCOW2BLK_CMD_COMMIT, open_with_key);
	key_wiped("a backing file with half a key", QCOW2BLK_CMD_COMMIT, open_with_half_a_key);
	key_wiped("a backing file of nothing", QCOW2BLK_CMD_COMMIT, open_nothing_with_key);
	key_wiped("the start of a commit with a key", QCOW2BLK_CMD_COMMIT, start_with_key);
}

static void message_rules(void)
{
	static const struct {
		const char *what;
		void (*put)(struct nlmsghdr *nlh);
		int want;
	} rows[] = {
		{ "an attach for writing of a file that is not open for it", for_writing, -EBADF },
		{ "an attach without layers", no_layers, 0 },
		{ "an attach with a chain of none", empty_layers, -EINVAL },
		{ "an attach with 65 layers", too_many_layers, -EINVAL },
		{ "a file twice in a chain", twice_the_same, -EINVAL },
		{ "an unknown attribute", unknown_attribute, -EINVAL },
		{ "an attribute of answers", answer_attribute, -EINVAL },
		{ "an unknown flag", unknown_flag, -EINVAL },
		{ "flags of one byte", short_flags, 0 },
		{ "an unknown direct I/O mode", unknown_direct_io, 0 },
		{ "an index too big", huge_index, 0 },
		{ "a layer without a file", layer_without_fd, 0 },
		{ "a layer without a format", layer_without_format, 0 },
		{ "a layer of unknown format", layer_unknown_format, 0 },
		{ "an unknown attribute of a layer", layer_unknown, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		refused(rows[i].what, QCOW2BLK_CMD_ATTACH, rows[i].put, rows[i].want);
	refused("detach of nothing", QCOW2BLK_CMD_DETACH, index_7, -ENODEV);
	refused("detach without an index", QCOW2BLK_CMD_DETACH, NULL, 0);
	refused("a look at nothing", QCOW2BLK_CMD_GET, index_7, -ENODEV);
	refused("a size for nothing", QCOW2BLK_CMD_RESIZE, size_of_nothing, -ENODEV);
	refused("a size without an index", QCOW2BLK_CMD_RESIZE, size_only, -EINVAL);
	refused("an index without a size", QCOW2BLK_CMD_RESIZE, index_7, -EINVAL);
	refused("a size by force", QCOW2BLK_CMD_RESIZE, size_with_force, 0);
	refused("a size of four bytes", QCOW2BLK_CMD_RESIZE, short_size, 0);
	refused("an event sent to the kernel", QCOW2BLK_CMD_EVENT, index_7, 0);
	refused("an unknown command", 77, NULL, 0);
}

static void file_refused(const char *what, int fd, bool raw, int want)
{
	char sentence[256];
	int index = attach_fd(fd, raw, sentence);

	if (index >= 0) {
		wrong("%s: attached", what);
		rig_detach(index);
	} else if (index != want || !sentence[0]) {
		wrong("%s: %s, '%s'", what, strerror(-index), sentence);
	}
	if (fd >= 0)
		close(fd);
}

static void file_rules(const char *dir, const char *image)
{
	char path[4096];

	file_refused("a closed descriptor", 999, false, -EBADF);
	file_refused("descriptor -1", -1, false, -EBADF);
	file_refused("a directory", open(dir, O_RDONLY), false, -EINVAL);
	file_refused("a path only", open(image, O_PATH), false, -EBADF);
	file_refused("a socket", socket(AF_UNIX, SOCK_STREAM, 0), true, -EINVAL);
	file_refused("/dev/null", open("/dev/null", O_RDONLY), true, -EINVAL);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	mkfifo(path, 0600);
	file_refused("a FIFO", open(path, O_RDONLY | O_NONBLOCK), true, -EINVAL);
	snprintf(path, sizeof(path), "%s/written", dir);
	file_refused("a file open for writing only", open(path, O_WRONLY | O_CREAT, 0600), true, -EBADF);
	file_refused("an empty file as qcow2", open(path, O_RDONLY), false, -EINVAL);
}

static void chain_rules(const char *image)
{
	struct rig_attach a = { .count = 2, .raw = { true, false } };
	int index;

	/* two inodes: a raw one on top of another */
	a.fds[0] = open_image("/proc/self/exe");
	a.fds[1] = open_image(image);
	index = rig_attach(&a);
	if (index != -EINVAL || !a.sentence[0])
		wrong("a layer below a raw one: %d, '%s'", index, a.sentence);
	close(a.fds[0]);
	close(a.fds[1]);
}

/* @data_fd: 0: none. Both are closed. @want: the errno, 0: attached. */
static void pair_refused(const char *what, int fd, int data_fd, int want)
{
	struct rig_attach a = { .count = 1, .fds = { fd }, .data_fds = { data_fd } };
	int index = rig_attach(&a);

	if (index >= 0 && rig_detach(index))
		wrong("%s: cannot detach", what);
	if ((index < 0 ? index : 0) != want || (want && !a.sentence[0]))
		wrong("%s: %d instead of %d, '%s'", what, index, want, a.sentence);
	close(fd);
	if (data_fd)
		close(data_fd);
}

static int data_rules(const char *plain, const char *image, const char *data)
{
	pair_refused("an image and its data", open_image(image), open_image(data), 0);
	pair_refused("an image without its data", open_image(image), 0, -EINVAL);
	pair_refused("data that nobody wants", open_image(plain), open_image(data), -EINVAL);
	pair_refused("an image as its own data", open_image(image), open_image(image), -EINVAL);
	pair_refused("a closed descriptor", open_image(image), 999, -EBADF);
	pair_refused("a directory", open_image(image), open("/", O_RDONLY), -EINVAL);
	pair_refused("a path only", open_image(image), open(data, O_PATH), -EBADF);
	return failures;
}

static void *attach_at_5(void *data)
{
	struct rig_attach a = { .count = 1, .fds = { rules_fd }, .want_index = 5 + 1 };

	*(int *)data = rig_attach(&a);
	return NULL;
}

/* Two attaches at once: of one image, and of one index. */
static void race_rules(void)
{
	pthread_t threads[4];
	int results[4], winners = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, attach_at_5, &results[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++) {
		winners += results[i] == 5;
		if (results[i] != 5 && results[i] != -EEXIST)
			wrong("four want one index, and one gets %s", strerror(-results[i]));
	}
	if (winners != 1)
		wrong("one index is given %d times", winners);
	rig_detach(5);
}

static void many_devices(const char *image)
{
	enum { MANY = 24 };
	int indexes[MANY];

	for (int i = 0; i < MANY; i++)
		indexes[i] = attach_image(image);
	for (int i = 0; i < MANY; i++) {
		for (int j = 0; j < i; j++) {
			if (indexes[i] == indexes[j])
				wrong("two devices of one index");
		}
	}
	for (int i = 0; i < MANY; i++) {
		if (indexes[i] >= 0 && rig_detach(indexes[i]))
			wrong("qcow%d cannot be detached", indexes[i]);
	}
}

static int rules(const char *dir, const char *image)
{
	rules_fd = open_image(image);
	message_rules();
	key_rules();
	file_rules(dir, image);
	chain_rules(image);
	race_rules();
	many_devices(image);
	return failures;
}

/* --- nest --------------------------------------------------------------------------------- */

/* A raw layer over the device of the last one, five times. The fifth is one too many. */
static int nest(const char *image)
{
	int indexes[5], depth, disk = open_image(image), err;
	static char first[65536] __attribute__((aligned(4096)));
	static char again[65536] __attribute__((aligned(4096)));
	char sentence[256];

	for (depth = 0; depth < 5; depth++) {
		indexes[depth] = attach_fd(disk, depth > 0, sentence);
		close(disk);
		if (indexes[depth] < 0)
			break;
		disk = rig_open_disk(indexes[depth], O_RDONLY | O_DIRECT);
		if (disk < 0)
			die("qcow%d cannot be opened", indexes[depth]);
		err = rig_pread(disk, depth ? again : first, sizeof(first), 0);
		if (err)
			wrong("depth %d: %s", depth, strerror(-err));
		else if (depth && memcmp(first, again, sizeof(first)))
			wrong("depth %d reads other data", depth);
	}
	if (depth != 4 || indexes[4] != -EBUSY || !sentence[0])
		wrong("%d levels, and then %s: %s", depth, strerror(-indexes[depth]), sentence);
	for (int i = 0; i + 1 < depth; i++) {
		if (rig_try_detach(indexes[i]) != -EBUSY)
			wrong("a device below another can be detached");
	}
	while (depth--) {
		if (rig_detach(indexes[depth]))
			wrong("level %d cannot be detached", depth);
	}
	return failures;
}

/* --- shrink ------------------------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open_image(from), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t len;

	while ((len = read(in, buf, sizeof(buf))) > 0) {
		if (write(out, buf, len) != len)
			die("%s: %m", to);
	}
	close(in);
	close(out);
}

/*
 * Every sector must read as it was, or not at all; and some of them cannot.
 * @cut: percent of the file that stays.
 */
static void shrink_to(const char *path, const char *image, const char *oracle, int cut)
{
	static char got[4096] __attribute__((aligned(4096)));
	char want[4096];
	int index, disk, oracle_fd = open_image(oracle), errors = 0;
	struct rig_log log;
	struct stat st;

	copy_file(image, path);
	index = attach_image(path);
	disk = index < 0 ? -1 : rig_open_disk(index, O_RDONLY | O_DIRECT);
	if (disk < 0)
		die("cannot attach %s", path);
	if (stat(path, &st) || truncate(path, st.st_size * cut / 100))
		die("%s: %m", path);
	/* The driver says at most ten things of a kind in five seconds; then it speaks again. */
	sleep(6);
	rig_log_start(&log);
	for (off_t off = 0; !rig_pread(oracle_fd, want, sizeof(want), off); off += sizeof(want)) {
		int err = rig_pread(disk, got, sizeof(got), off);

		if (err == -EIO)
			errors++;
		else if (err)
			wrong("cut to %d%%: a read at %lld: %s", cut, (long long)off, strerror(-err));
		else if (memcmp(got, want, sizeof(got)))
			wrong("cut to %d%%: other data at %lld", cut, (long long)off);
	}
	rig_log_read(&log);
	if (!errors)
		wrong("cut to %d%%: nothing is missing", cut);
	/* at most ten lines of each kind in five seconds; a line at least */
	if (!log.lines || log.lines > 60)
		wrong("cut to %d%%: %d errors and %u lines in the log", cut, errors, log.lines);
	if (log.splat[0])
		wrong("cut to %d%%: %s", cut, log.splat);
	close(log.fd);
	close(disk);
	close(oracle_fd);
	if (rig_detach(index))
		wrong("cannot detach");
}

static int shrink(const char *dir, const char *image, const char *oracle)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/shrinks.qcow2", dir);
	shrink_to(path, image, oracle, 10);
	shrink_to(path, image, oracle, 60);
	return failures;
}

/* --- counters ----------------------------------------------------------------------------- */

static void read_range(int disk, off_t off, size_t len, size_t step)
{
	static char buf[1 << 20] __attribute__((aligned(4096)));
	int err;

	for (size_t done = 0; done < len; done += step) {
		err = rig_pread(disk, buf, step, off + done);
		if (err)
			wrong("a read at %lld: %s", (long long)off, strerror(-err));
	}
}

static uint64_t cost(int index, int disk, unsigned int stat, off_t off, size_t len, size_t step)
{
	uint64_t before = rig_stat(index, stat);

	read_range(disk, off, len, step);
	return rig_stat(index, stat) - before;
}

static void expect(const char *what, uint64_t got, uint64_t want)
{
	if (got != want)
		wrong("%s: %llu instead of %llu", what, (unsigned long long)got,
		      (unsigned long long)want);
}

static int counters(const char *plain, const char *compressed)
{
	int index = attach_image(plain), disk = rig_open_disk(index, O_RDONLY | O_DIRECT);

	if (disk < 0)
		die("no disk: %s", strerror(-disk));
	read_range(disk, 0, 1 << 20, 1 << 20);
	expect("file reads for 1 MiB of a sequential image",
	       cost(index, disk, QCOW2BLK_A_STAT_FILE_READS, 1 << 20, 1 << 20, 1 << 20), 1);
	expect("requests for it",
	       cost(index, disk, QCOW2BLK_A_STAT_REQUESTS, 2 << 20, 1 << 20, 1 << 20), 1);
	expect("slices read for 16 reads of 64 KiB where tables are known",
	       cost(index, disk, QCOW2BLK_A_STAT_SLICE_MISSES, 3 << 20, 1 << 20, 1 << 16), 0);
	close(disk);
	expect("detach", rig_detach(index), 0);

	index = attach_image(compressed);
	disk = rig_open_disk(index, O_RDONLY | O_DIRECT);
	if (disk < 0)
		die("no disk: %s", strerror(-disk));
	expect("decompressions for 16 reads of 4 KiB of a cluster",
	       cost(index, disk, QCOW2BLK_A_STAT_DECOMPRESSIONS, 1 << 20, 1 << 16, 4096), 1);
	expect("hits of the cache for 16 more",
	       cost(index, disk, QCOW2BLK_A_STAT_DECOMPRESSED_HITS, 1 << 20, 1 << 16, 4096), 16);
	expect("decompressions for 16 clusters in one read",
	       cost(index, disk, QCOW2BLK_A_STAT_DECOMPRESSIONS, 2 << 20, 1 << 20, 1 << 20), 16);
	expect("errors", rig_stat(index, QCOW2BLK_A_STAT_ERRORS), 0);
	close(disk);
	expect("detach", rig_detach(index), 0);
	return failures;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "storm"))
		return storm(atoi(argv[2]), argv + 3, argc - 3) ? 1 : 0;
	if (argc == 4 && !strcmp(argv[1], "rules"))
		return rules(argv[2], argv[3]) ? 1 : 0;
	if (argc == 5 && !strcmp(argv[1], "data"))
		return data_rules(argv[2], argv[3], argv[4]) ? 1 : 0;
	if (argc == 3 && !strcmp(argv[1], "nest"))
		return nest(argv[2]) ? 1 : 0;
	if (argc == 5 && !strcmp(argv[1], "shrink"))
		return shrink(argv[2], argv[3], argv[4]) ? 1 : 0;
	if (argc == 4 && !strcmp(argv[1], "counters"))
		return counters(argv[2], argv[3]) ? 1 : 0;
	die("usage: see the head of life.c");
}
