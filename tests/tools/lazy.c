// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lazy ROUNDS IMAGE: devices that go when nobody has them open
 *
 * The image is written to. Each round is a device, and a race between whoever closes it last and
 * others. Prints what has happened; exit status 0 where no device stayed and nothing went too soon.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

#define PATIENCE	20000	/* ms */

static const char *image;
static unsigned int failures;

#define expect(what, ok) \
	do { \
		if (!(ok)) { \
			printf("round %u: %s\n", round_nr, what); \
			__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED); \
		} \
	} while (0)

static unsigned int round_nr;

static int attach(void)
{
	struct rig_attach a = { .count = 1, .writable = true };
	int index = -EBUSY;

	a.fds[0] = open(image, O_RDWR | O_CLOEXEC | O_NOATIME);
	if (a.fds[0] < 0)
		die("%s: %m", image);
	index = rig_attach(&a);
	close(a.fds[0]);
	if (index < 0)
		die("%s is not attached: %s: %s", image, strerror(-index), a.sentence);
	return index;
}

static int open_disk(int index)
{
	int fd = rig_open_disk(index, O_RDWR | O_DIRECT);

	if (fd < 0)
		die("qcow%d cannot be opened: %s", index, strerror(-fd));
	return fd;
}

static bool gone(int index)
{
	for (unsigned int i = 0; i < PATIENCE && rig_exists(index); i++)
		usleep(1000);
	return !rig_exists(index);
}

/* One after the other: what is refused, what is not, and when it goes. */
static void rules(void)
{
	int index = attach(), a, b;

	expect("nobody has it open: a lazy detach", !rig_lazy_detach(index));
	expect("it is gone when that returns", !rig_exists(index));
	expect("a second one", rig_lazy_detach(index) == -ENODEV);

	index = attach();
	a = open_disk(index);
	expect("somebody has it open: a lazy detach", !rig_lazy_detach(index));
	expect("it is marked", rig_flags(index) & QCOW2BLK_F_LAZY);
	expect("a second one changes nothing", !rig_lazy_detach(index));
	expect("a plain one is refused", rig_try_detach(index) == -EBUSY);
	expect("one by force, too", rig_force_detach(index) == -EBUSY);
	b = open_disk(index);
	close(a);
	usleep(20000);
	expect("it stays for who has opened it since", rig_flags(index) & QCOW2BLK_F_LAZY);
	expect("a snapshot of it", !rig_snapshot(index, QCOW2BLK_SNAPSHOT_CREATE, "lazy"));
	expect("and none", !rig_snapshot(index, QCOW2BLK_SNAPSHOT_DELETE, "lazy"));
	close(b);
	expect("it goes with the last one", gone(index));
}

static int raced;
static pthread_barrier_t start;
static unsigned int opened, refused;

/* Opens and closes it until it is gone. What could be opened works. */
static void *opener(void *unused)
{
	static char buf[4096] __attribute__((aligned(4096)));
	int fd;

	pthread_barrier_wait(&start);
	while ((fd = rig_open_disk(raced, O_RDONLY | O_DIRECT)) >= 0) {
		expect("a disk that is open can be read", !rig_pread(fd, buf, sizeof(buf), 0));
		close(fd);
		__atomic_add_fetch(&opened, 1, __ATOMIC_RELAXED);
	}
	expect("opens end with ENXIO or no node", fd == -ENXIO || fd == -ENOENT);
	__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
	return unused;
}

/* Claims it again and again: as long as it is claimed it cannot go. */
static void *claimer(void *unused)
{
	int err;

	pthread_barrier_wait(&start);
	do
		err = rig_snapshot(raced, QCOW2BLK_SNAPSHOT_APPLY, "nothing of this name");
	while (err != -ENODEV && (err == -ENOENT ? rig_exists(raced) : err == -EBUSY));
	return unused;
}

static void *detacher(void *unused)
{
	int err;

	pthread_barrier_wait(&start);
	do
		err = rig_try_detach(raced);
	while (err == -EBUSY);
	expect("a plain detach meanwhile does it, or comes too late", !err || err == -ENODEV);
	return unused;
}

static void race(void *(*other)(void *unused), bool early)
{
	static char bytes[4096] __attribute__((aligned(4096)));
	pthread_t threads[2];
	int fd;

	raced = attach();
	fd = open_disk(raced);
	expect("a write", pwrite(fd, bytes, sizeof(bytes), 0) == sizeof(bytes));
	if (early)
		expect("a lazy detach", !rig_lazy_detach(raced));
	pthread_barrier_init(&start, NULL, 3);
	pthread_create(&threads[0], NULL, other, NULL);
	pthread_create(&threads[1], NULL, opener, NULL);
	pthread_barrier_wait(&start);
	usleep(rand() % 500);
	if (!early)
		expect("a lazy detach", !rig_lazy_detach(raced) || other == detacher);
	close(fd);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	expect("it is gone", gone(raced));
}

int main(int argc, char **argv)
{
	static void *(*const others[])(void *unused) = { opener, claimer, detacher };

	if (argc != 3)
		die("usage: lazy ROUNDS IMAGE");
	image = argv[2];
	rules();
	for (round_nr = 1; round_nr <= (unsigned int)atoi(argv[1]); round_nr++)
		race(others[round_nr % ARRAY_SIZE(others)], round_nr & 1);
	printf("%u opened, %u found it gone\n", opened, refused);
	return failures || !opened;
}
