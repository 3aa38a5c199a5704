// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * recfs [OPTION...] MOUNTPOINT
 *
 * A file system of four files, kept in memory by this process:
 *
 *	image	a regular file. What is done to it goes into the log, in the order in which it is
 *		done here.
 *	data	another one, empty without --data: the external data file. It is in the same log.
 *	mark	what is written to it goes into the same log, each write as one mark.
 *	ctl	takes commands, one a write, EINVAL if it is none; reads as counters.
 *
 *	--load FILE	what the image is at the start
 *	--data FILE	what the data file is
 *	--poison BYTES	make it so long, with somebody else's data: it is a block device's content
 *	--log FILE	the log (see log.h); without it there is none
 *	--size BYTES	room for the image, default 1 TiB; memory is used for what is written
 *	--no-fallocate, --no-punch	a store that cannot: EOPNOTSUPP
 *	--hold PERCENT	of the reads and writes are done later than those that came after them
 *	--seed N	of what is held, and for how long
 *	--foreground	stay; else the command returns when the file system is there
 *
 * Commands:
 *	fail KIND N ERRNO [ever]	the Nth operation from now on of this kind fails (EIO, ENOSPC,
 *			...), and with "ever" all after it. KIND: read write fsync fallocate truncate any
 *	short N		of the Nth write from now on half of the sectors are written; the kernel makes EIO of
 *			it where it was direct I/O
 *	clear		nothing fails any more
 *	capacity N	bytes that the image may occupy: ENOSPC for what needs more
 *	data-capacity N	likewise the data file
 *	hold PERCENT	as --hold
 *	catch LBA	hold the next read or write of this sector of the disk (see sector.h), and for
 *			long
 *	flush		the log, to its file
 *
 * It is one thread: the log is exact. A write is in the log before its answer is sent. A write
 * that is held when an fsync comes is not part of that fsync.
 * The kernel gives no hint whether a request is of direct I/O, so that a store without O_DIRECT
 * cannot be had here; hostfs and 9p are such.
 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "sector.h"
#include "store.h"

#define MAX_HELD	24
#define CACHE_SECONDS	3600.0

enum { INO_IMAGE = 2, INO_DATA, INO_MARK, INO_CTL };

static const char *const names[] = {
	[INO_IMAGE] = "image", [INO_DATA] = "data", [INO_MARK] = "mark", [INO_CTL] = "ctl",
};

/* A read or write whose turn comes later. */
struct held {
	fuse_req_t req;
	fuse_ino_t ino;
	char *data;		/* NULL: a read */
	size_t len;
	off_t off;
	unsigned int others;	/* goes on after so many more requests, */
	unsigned int idle;	/* or when there was nothing to do so many times */
};

static struct store stores[INO_DATA + 1];	/* by inode */
static struct faults faults;
static FILE *log_file;
static bool can_allocate = true, can_punch = true;
static unsigned int hold_percent;
static uint64_t catch_lba = UINT64_MAX;
static uint64_t seed = 1, fsyncs;
static struct held held[MAX_HELD];
static unsigned int held_count;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("recfs: ", stderr);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static uint32_t chance(uint32_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 33) % below;
}

static bool is_file(fuse_ino_t ino)
{
	return ino == INO_IMAGE || ino == INO_DATA;
}

static void record(fuse_ino_t ino, enum log_type type, uint32_t arg, uint64_t off, uint64_t len,
		   const void *data)
{
	if (log_file)
		log_add(log_file, type | (ino == INO_DATA ? LOG_DATA_FILE : 0), arg, off, len, data);
}

/* --- names and attributes ----------------------------------------------------------------- */

static void fill_attr(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_uid = getuid();
	st->st_gid = getgid();
	st->st_blksize = STORE_BLOCK;
	if (ino == FUSE_ROOT_ID) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return;
	}
	st->st_mode = S_IFREG | 0600;
	if (is_file(ino)) {
		st->st_size = stores[ino].size;
		st->st_blocks = stores[ino].used / 512;
	}
}

static void rec_init(void *unused, struct fuse_conn_info *conn)
{
	conn->want |= conn->capable & FUSE_CAP_ASYNC_DIO;
	conn->max_background = 64;
	conn->congestion_threshold = 64;
}

static void rec_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = CACHE_SECONDS, .entry_timeout = CACHE_SECONDS };

	for (fuse_ino_t ino = INO_IMAGE; ino <= INO_CTL; ino++) {
		if (parent == FUSE_ROOT_ID && !strcmp(name, names[ino])) {
			e.ino = ino;
			fill_attr(ino, &e.attr);
			fuse_reply_entry(req, &e);
			return;
		}
	}
	fuse_reply_err(req, ENOENT);
}

static void rec_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	fill_attr(ino, &st);
	fuse_reply_attr(req, &st, CACHE_SECONDS);
}

static void rec_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
			struct fuse_file_info *fi)
{
	int err;

	if (is_file(ino) && to_set & FUSE_SET_ATTR_SIZE) {
		err = faults_next(&faults, FAULT_TRUNCATE);
		if (!err)
			err = store_truncate(&stores[ino], attr->st_size);
		if (err < 0) {
			fuse_reply_err(req, -err);
			return;
		}
		record(ino, LOG_TRUNCATE, 0, attr->st_size, 0, NULL);
	}
	rec_getattr(req, ino, fi);
}

static void rec_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	char buf[512];
	size_t len = 0;

	for (fuse_ino_t i = INO_IMAGE + off; i <= INO_CTL; i++) {
		struct stat st;

		fill_attr(i, &st);
		len += fuse_add_direntry(req, buf + len, sizeof(buf) - len, names[i], &st,
					 i - INO_IMAGE + 1);
	}
	fuse_reply_buf(req, buf, len < size ? len : 0);
}

static void rec_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	/* The image and its data are ordinary files; the others must not be cached. */
	if (!is_file(ino))
		fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void rec_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
}

static void rec_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct store *store = &stores[INO_IMAGE];
	struct statvfs st = {
		.f_bsize = STORE_BLOCK, .f_frsize = STORE_BLOCK, .f_namemax = 16,
		.f_blocks = store->capacity / STORE_BLOCK, .f_files = 4,
	};

	if (store->capacity > store->used)
		st.f_bfree = (store->capacity - store->used) / STORE_BLOCK;
	st.f_bavail = st.f_bfree;
	fuse_reply_statfs(req, &st);
}

/* --- reads and writes of the image -------------------------------------------------------- */

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off)
{
	const struct store *store = &stores[ino];
	int err = faults_next(&faults, FAULT_READ);

	if (err < 0)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, store->data + off, store_readable(store, off, len));
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t off)
{
	int err = faults_next(&faults, FAULT_WRITE);

	if (err > 0)
		len = len / 2 / 512 * 512;
	if (err >= 0)
		err = store_write(&stores[ino], data, len, off);
	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	if (len)
		record(ino, LOG_WRITE, 0, off, len, data);
	fuse_reply_write(req, len);
}

/* Do the ones whose turn has come. */
static void do_held(void)
{
	for (unsigned int i = 0; i < held_count;) {
		struct held h = held[i];

		if (h.others && h.idle) {
			i++;
			continue;
		}
		held[i] = held[--held_count];
		if (h.data)
			do_write(h.req, h.ino, h.data, h.len, h.off);
		else
			do_read(h.req, h.ino, h.len, h.off);
		free(h.data);
	}
}

/* One more request: those that are held have waited for it. */
static void pass(void)
{
	for (unsigned int i = 0; i < held_count; i++)
		held[i].others--;
	do_held();
}

/* None: perhaps everybody waits for one that is held. Others may run before the next look. */
static void idle(void)
{
	for (unsigned int i = 0; i < held_count; i++)
		held[i].idle--;
	do_held();
	usleep(20);
}

/* Does a request touch the sector of the disk that is to be caught? */
static bool is_caught(const char *data, size_t len)
{
	struct sector_id id;

	for (size_t at = 0; catch_lba != UINT64_MAX && at + SECTOR <= len; at += SECTOR) {
		if (sector_identify(data + at, &id) == SECTOR_DATA && id.lba == catch_lba)
			return true;
	}
	return false;
}

/* Keep a request for later, some for long. Return: false if it is to be done now. */
static bool hold(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t off)
{
	const struct store *store = &stores[ino];
	bool caught = data ? is_caught(data, len) :
			     is_caught(store->data + off, store_readable(store, off, len));
	bool is_long = caught || !chance(6);
	unsigned int others = caught ? 40 : 2, idle = caught ? 100 : 1;
	struct held *h = &held[held_count];

	if (held_count == MAX_HELD || (!caught && chance(100) >= hold_percent))
		return false;
	if (caught)
		catch_lba = UINT64_MAX;
	*h = (struct held) {
		.req = req, .ino = ino, .len = len, .off = off,
		.others = others + chance(is_long ? 100 : 6),
		.idle = idle + chance(is_long ? 60 : 6),
	};
	if (data) {
		h->data = malloc(len);
		if (!h->data)
			return false;
		memcpy(h->data, data, len);
	}
	held_count++;
	return true;
}

static void read_counters(fuse_req_t req, size_t size, off_t off)
{
	char text[512];
	size_t len = 0;

	for (int i = 0; i < FAULT_KINDS; i++)
		len += sprintf(text + len, "%s %llu\n", fault_names[i],
			       (unsigned long long)faults.done[i]);
	len += sprintf(text + len, "failed %llu\nused %llu\n", (unsigned long long)faults.hits,
		       (unsigned long long)stores[INO_IMAGE].used);
	if ((size_t)off >= len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, text + off, size < len - off ? size : len - off);
}

static void rec_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	if (ino == INO_CTL)
		read_counters(req, size, off);
	else if (ino == INO_MARK)
		fuse_reply_buf(req, NULL, 0);
	else if (!hold(req, ino, NULL, size, off))
		do_read(req, ino, size, off);
}

static bool command(const char *text)
{
	unsigned long long n;

	if (sscanf(text, "capacity %llu", &n) == 1)
		stores[INO_IMAGE].capacity = n;
	else if (sscanf(text, "data-capacity %llu", &n) == 1)
		stores[INO_DATA].capacity = n;
	else if (sscanf(text, "hold %llu", &n) == 1)
		hold_percent = n;
	else if (sscanf(text, "catch %llu", &n) == 1)
		catch_lba = n;
	else if (!strcmp(text, "flush"))
		return !log_file || !fflush(log_file);
	else
		return faults_command(&faults, text);
	return true;
}

static void take_command(fuse_req_t req, const char *buf, size_t size)
{
	char text[128] = "";

	memcpy(text, buf, size < sizeof(text) ? size : sizeof(text) - 1);
	text[strcspn(text, "\n")] = '\0';
	if (command(text))
		fuse_reply_write(req, size);
	else
		fuse_reply_err(req, EINVAL);
}

static void rec_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	if (ino == INO_CTL) {
		take_command(req, buf, size);
	} else if (ino == INO_MARK) {
		record(ino, LOG_MARK, 0, 0, size, buf);
		fuse_reply_write(req, size);
	} else if (!hold(req, ino, buf, size, off)) {
		do_write(req, ino, buf, size, off);
	}
}

/* --- the rest of what is done to the image ------------------------------------------------- */

static void rec_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	int err = 0;

	if (is_file(ino)) {
		err = faults_next(&faults, FAULT_FSYNC);
		record(ino, LOG_FSYNC_BEGIN, datasync, ++fsyncs, 0, NULL);
		record(ino, LOG_FSYNC_END, err < 0 ? -err : 0, fsyncs, 0, NULL);
	}
	fuse_reply_err(req, err < 0 ? -err : 0);
}

static void rec_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			  struct fuse_file_info *fi)
{
	int err;

	if (!is_file(ino) || !can_allocate || (!can_punch && mode & ~FALLOC_FL_KEEP_SIZE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	err = faults_next(&faults, FAULT_ALLOCATE);
	if (!err)
		err = store_allocate(&stores[ino], mode, off, len);
	if (!err)
		record(ino, LOG_ALLOCATE, mode, off, len, NULL);
	fuse_reply_err(req, err < 0 ? -err : 0);
}

/* Blocks that are not allocated are holes. */
static void rec_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		      struct fuse_file_info *fi)
{
	const struct store *store = is_file(ino) ? &stores[ino] : NULL;
	bool data = whence == SEEK_DATA;

	if (!store || (!data && whence != SEEK_HOLE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	while ((uint64_t)off < store->size && store->allocated[off / STORE_BLOCK] != data)
		off = (off / STORE_BLOCK + 1) * STORE_BLOCK;
	if ((uint64_t)off < store->size)
		fuse_reply_lseek(req, off);
	else if (data)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, store->size);
}

static const struct fuse_lowlevel_ops ops = {
	.init = rec_init,
	.lookup = rec_lookup,
	.getattr = rec_getattr,
	.setattr = rec_setattr,
	.readdir = rec_readdir,
	.open = rec_open,
	.release = rec_release,
	.statfs = rec_statfs,
	.read = rec_read,
	.write = rec_write,
	.fsync = rec_fsync,
	.fallocate = rec_fallocate,
	.lseek = rec_lseek,
};

/* --- start and end ------------------------------------------------------------------------ */

/* Holes stay holes: zeros are not written. */
static void load(struct store *store, const char *path)
{
	static char buf[1 << 16];
	FILE *in = fopen(path, "r");
	uint64_t off = 0;
	size_t len;

	if (!in)
		die("%s: %m", path);
	while ((len = fread(buf, 1, sizeof(buf), in)) > 0) {
		if (!log_all_zeros(buf, len) && store_write(store, buf, len, off))
			die("%s is bigger than --size", path);
		off += len;
	}
	fclose(in);
	store_truncate(store, off);
}

static int serve(struct fuse_session *se)
{
	struct pollfd fd = { .fd = fuse_session_fd(se), .events = POLLIN };
	struct fuse_buf buf = { .mem = NULL };
	int err = 0;

	while (!fuse_session_exited(se)) {
		if (poll(&fd, 1, held_count ? 0 : -1) == 0) {
			idle();
			continue;
		}
		err = fuse_session_receive_buf(se, &buf);
		if (err == -EINTR)
			continue;
		if (err <= 0)
			break;
		fuse_session_process_buf(se, &buf);
		pass();
	}
	free(buf.mem);
	return err < 0;
}

/* Whole sectors after the image up to the end. */
static void poison(uint64_t end)
{
	struct store *store = &stores[INO_IMAGE];
	char sector[SECTOR];

	sector_poison(sector);
	for (uint64_t off = (store->size + SECTOR - 1) / SECTOR * SECTOR; off < end; off += SECTOR) {
		if (store_write(store, sector, SECTOR, off))
			die("--size is too small");
	}
}

/* So that whoever replays the log knows that nothing is missing. */
static void record_end(fuse_ino_t ino)
{
	const struct store *store = &stores[ino];
	uint64_t hash = 0;

	if (!log_file)
		return;
	/* The store is whole blocks, zeros past the end. */
	for (uint64_t off = 0; off < store->size; off += SECTOR)
		hash ^= sector_mix(off / SECTOR, sector_hash(store->data + off));
	record(ino, LOG_END, 0, store->size, hash, NULL);
}

static const struct option options[] = {
	{ "load", required_argument, NULL, 'l' },
	{ "data", required_argument, NULL, 'd' },
	{ "poison", required_argument, NULL, 'i' },
	{ "log", required_argument, NULL, 'o' },
	{ "size", required_argument, NULL, 's' },
	{ "no-fallocate", no_argument, NULL, 'f' },
	{ "no-punch", no_argument, NULL, 'p' },
	{ "hold", required_argument, NULL, 'h' },
	{ "seed", required_argument, NULL, 'e' },
	{ "foreground", no_argument, NULL, 'g' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	static char log_buffer[1 << 20];
	char *fuse_argv[3] = { "recfs", "-oallow_other,fsname=recfs,default_permissions", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, fuse_argv);
	const char *image = NULL, *data = NULL, *log_path = NULL;
	uint64_t size = 1ULL << 40, device_size = 0;
	bool foreground = false;
	struct fuse_session *se;
	int option, status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			image = optarg;
			break;
		case 'd':
			data = optarg;
			break;
		case 'i':
			device_size = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			log_path = optarg;
			break;
		case 's':
			size = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			can_allocate = false;
			break;
		case 'p':
			can_punch = false;
			break;
		case 'h':
			hold_percent = atoi(optarg);
			break;
		case 'e':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'g':
			foreground = true;
			break;
		default:
			die("usage: see the head of recfs.c");
		}
	}
	if (optind != argc - 1)
		die("usage: recfs [OPTION...] MOUNTPOINT");
	if (!store_open(&stores[INO_IMAGE], size) || !store_open(&stores[INO_DATA], size))
		die("no memory");
	if (image)
		load(&stores[INO_IMAGE], image);
	if (data)
		load(&stores[INO_DATA], data);
	poison(device_size);
	if (log_path) {
		log_file = fopen(log_path, "we");
		if (!log_file)
			die("%s: %m", log_path);
		setvbuf(log_file, log_buffer, _IOFBF, sizeof(log_buffer));
		log_begin(log_file, device_size ? LOG_BLOCK_DEVICE : 0, stores[INO_IMAGE].size,
			  stores[INO_DATA].size);
		fflush(log_file);
	}

	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se || fuse_set_signal_handlers(se) || fuse_session_mount(se, argv[optind]))
		die("cannot mount on %s", argv[optind]);
	if (!foreground && fuse_daemonize(0))
		die("cannot go on in the background");
	status = serve(se);
	record_end(INO_DATA);
	record_end(INO_IMAGE);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	if (log_file && fclose(log_file))
		status = 1;
	return status;
}
