/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parts of writes on their way: what a request waits for before one is sent, the file I/O, and what
 * is done when the file has answered: new entries are published, claims and generation end.
 */
#ifndef _QCOW2_SEND_H
#define _QCOW2_SEND_H

#include "io.h"

/* Not an error: the request is parked, and somebody will queue its work again. */
#define QCOW2_PARKED	1

/** qcow2_send_park() - -EAGAIN: wait for space; -EBUSY: for a commit. Return: QCOW2_PARKED. */
int qcow2_send_park(struct qcow2_request *req, int err);

/** qcow2_send_claim() - claim guest subclusters. Return: false: the request is parked. */
bool qcow2_send_claim(struct qcow2_request *req, struct qcow2_claim *c, u64 first, u64 last);

/** qcow2_send_pass_fence() - may @len bytes go in place? Return: false: the request is parked. */
bool qcow2_send_pass_fence(struct qcow2_request *req, u64 len);

/** qcow2_send_entries_changed() - see to it that there will be a commit. Context: any. */
void qcow2_send_entries_changed(struct qcow2_layer *l);

/** qcow2_send_too_many_dirty() - must those that change entries wait for a commit? */
bool qcow2_send_too_many_dirty(const struct qcow2_layer *l);

/** qcow2_send_part() - a part for the next extent. Context: a worker; may sleep. */
struct qcow2_part *qcow2_send_part(struct qcow2_request *req);

/**
 * qcow2_send_check() - may these bytes of the file be written?
 * @off: guest offset.  @host_off, @len: bytes of the file. A broken entry can point anywhere; where
 * it does the image is marked corrupt. Context: may sleep. Return: 0 or -EIO.
 */
int qcow2_send_check(struct qcow2_layer *l, u64 off, u64 host_off, u64 len);

/** qcow2_send_is_metadata() - are there metadata among these bytes of the file? Context: any. */
bool qcow2_send_is_metadata(struct qcow2_layer *l, u64 host_off, u64 len);

/** qcow2_send_copy_guest() - the guest's bytes, or the zeros that it wants, in memory of ours */
void qcow2_send_copy_guest(const struct qcow2_part *p, void *to, u32 len);

/**
 * qcow2_send_finish_copy() - the part's copy holds all that it writes, in its head
 * @off: guest offset of what is there, as the guest is to read it.
 * Return: 0, or the cipher's error.
 */
int qcow2_send_finish_copy(struct qcow2_part *p, u64 off);

/** qcow2_send() - send a part that is all filled in. Context: a worker. */
void qcow2_send(struct qcow2_part *p);

/**
 * qcow2_send_inline() - send a part of guest memory, if that takes no wait
 * Context: process, any task, under qcow2_file_enter(), where qcow2_file_may_write_inline().
 * Return: false: nothing was done.
 */
bool qcow2_send_inline(struct qcow2_part *p);

#endif /* _QCOW2_SEND_H */
