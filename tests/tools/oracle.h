/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk should hold: its bytes in memory, all of them or some windows, and which of them are
 * being worked on. Each sector that a test writes says where it belongs and which write it was.
 */
#ifndef TEST_ORACLE_H
#define TEST_ORACLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_MAX_WINDOWS	16
#define ORACLE_MAX_THREADS	64
#define SECTOR			512U

struct oracle_window {
	uint64_t off;
	uint64_t len;
	unsigned char *bytes;
};

/* A range that a thread works on; nothing where @end is 0. */
struct oracle_claim {
	uint64_t start;
	uint64_t end;
	bool exclusive;
};

struct oracle {
	struct oracle_window windows[ORACLE_MAX_WINDOWS];
	unsigned int window_count;
	pthread_mutex_t lock;
	pthread_cond_t released;
	struct oracle_claim claims[ORACLE_MAX_THREADS];	/* under @lock */
};

void oracle_init(struct oracle *oracle);

/* A window of @len bytes that holds what @fd does from @fd_off on; zeros for an @fd of -1. */
void oracle_add(struct oracle *oracle, uint64_t off, uint64_t len, int fd, uint64_t fd_off);
/* The window, which nobody works on, gets another length; zeros where it grows. */
void oracle_resize(struct oracle *oracle, unsigned int window, uint64_t len);
void oracle_free(struct oracle *oracle);

/* Do these bytes lie in a window, still? */
bool oracle_has(const struct oracle *oracle, uint64_t off, uint64_t len);

/* The bytes of the disk at @off, which lie in a window. */
unsigned char *oracle_at(struct oracle *oracle, uint64_t off);

/* Wait until nobody works on the range, or with @exclusive false, until nobody changes it. */
void oracle_claim(struct oracle *oracle, unsigned int thread, uint64_t off, uint64_t len,
		  bool exclusive);
void oracle_release(struct oracle *oracle, unsigned int thread);

/* Content for @len bytes at @off that is like no other: @version is that of this write alone. */
void oracle_make(void *buf, uint64_t off, size_t len, uint64_t version);

/*
 * Compare @len bytes that were read at @off. Return: true if they are as they should be; else
 * @what, of 512 bytes, says what is wrong.
 */
bool oracle_compare(struct oracle *oracle, uint64_t off, const void *got, size_t len, char *what);

#endif
