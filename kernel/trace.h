/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints, for engineers: /sys/kernel/tracing/events/qcow2blk/. They come and go with the code
 * and are no ABI. One that is off is a jump that is not taken.
 *
 * Offsets and lengths are bytes. An image file is named by its inode number where nobody knows of a
 * device. What blktrace shows of requests is not shown again.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM qcow2blk

#if !defined(_QCOW2_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _QCOW2_TRACE_H

#include <linux/string.h>
#include <linux/tracepoint.h>

#ifndef QCOW2_TRACE_PHASES
#define QCOW2_TRACE_PHASES
/** enum qcow2_commit_phase - what a commit has done: see commit.h */
enum qcow2_commit_phase {
	QCOW2_PHASE_BEGIN,
	QCOW2_PHASE_FREEZE,
	QCOW2_PHASE_REFCOUNTS,
	QCOW2_PHASE_FIRST_SYNC,
	QCOW2_PHASE_ENTRIES,
	QCOW2_PHASE_LAST_SYNC,
	QCOW2_PHASE_DURABLE,
};
#endif

#define show_phase(phase)							\
	__print_symbolic(phase,							\
			 { 0, "begin" }, { 1, "freeze" }, { 2, "refcounts" },	\
			 { 3, "first-sync" }, { 4, "entries" },			\
			 { 5, "last-sync" }, { 6, "durable" })

#define show_type(type)								\
	__print_symbolic(type,							\
			 { 0, "unallocated" }, { 1, "zero" }, { 2, "zero-alloc" },	\
			 { 3, "data" }, { 4, "compressed" })

/*
 * An extent of a read was found: len guest bytes from off on are so in that layer, at host_off;
 * nowait: the submitting task looked, else a worker.
 */
TRACE_EVENT(qcow2_read,
	TP_PROTO(const char *name, unsigned int layer, u64 off, u64 len, int type, u64 host_off,
		 bool nowait),
	TP_ARGS(name, layer, off, len, type, host_off, nowait),
	TP_STRUCT__entry(
		__array(char, name, 16)
		__field(unsigned int, layer)
		__field(u64, off)
		__field(u64, len)
		__field(int, type)
		__field(u64, host_off)
		__field(bool, nowait)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, sizeof(__entry->name));
		__entry->layer = layer;
		__entry->off = off;
		__entry->len = len;
		__entry->type = type;
		__entry->host_off = type < 3 ? 0 : host_off;
		__entry->nowait = nowait;
	),
	TP_printk("%s layer=%u off=%llu len=%llu type=%s host_off=%llu nowait=%d",
		  __entry->name, __entry->layer, __entry->off, __entry->len,
		  show_type(__entry->type), __entry->host_off, __entry->nowait)
);

/*
 * An extent of a write goes to the file: len bytes to host_off, for guest offset off. allocates:
 * its entries change when that is done; copies: not only the guest's own pages are written.
 */
TRACE_EVENT(qcow2_write,
	TP_PROTO(const char *name, u64 off, u64 len, u64 host_off, bool allocates, bool copies),
	TP_ARGS(name, off, len, host_off, allocates, copies),
	TP_STRUCT__entry(
		__array(char, name, 16)
		__field(u64, off)
		__field(u64, len)
		__field(u64, host_off)
		__field(bool, allocates)
		__field(bool, copies)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, sizeof(__entry->name));
		__entry->off = off;
		__entry->len = len;
		__entry->host_off = host_off;
		__entry->allocates = allocates;
		__entry->copies = copies;
	),
	TP_printk("%s off=%llu len=%llu host_off=%llu allocates=%d copies=%d",
		  __entry->name, __entry->off, __entry->len, __entry->host_off,
		  __entry->allocates, __entry->copies)
);

/* A request has failed, with err. */
TRACE_EVENT(qcow2_error,
	TP_PROTO(const char *name, unsigned int layer, u64 off, int err),
	TP_ARGS(name, layer, off, err),
	TP_STRUCT__entry(
		__array(char, name, 16)
		__field(unsigned int, layer)
		__field(u64, off)
		__field(int, err)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, sizeof(__entry->name));
		__entry->layer = layer;
		__entry->off = off;
		__entry->err = err;
	),
	TP_printk("%s layer=%u off=%llu err=%d", __entry->name, __entry->layer, __entry->off,
		  __entry->err)
);

/* A cluster was decompressed, of csize bytes at host_off. */
TRACE_EVENT(qcow2_decompress,
	TP_PROTO(const char *name, unsigned int layer, u64 host_off, u32 csize, int err),
	TP_ARGS(name, layer, host_off, csize, err),
	TP_STRUCT__entry(
		__array(char, name, 16)
		__field(unsigned int, layer)
		__field(u64, host_off)
		__field(u32, csize)
		__field(int, err)
	),
	TP_fast_assign(
		memcpy(__entry->name, name, sizeof(__entry->name));
		__entry->layer = layer;
		__entry->host_off = host_off;
		__entry->csize = csize;
		__entry->err = err;
	),
	TP_printk("%s layer=%u host_off=%llu csize=%u err=%d", __entry->name, __entry->layer,
		  __entry->host_off, __entry->csize, __entry->err)
);

/* A slice of a table was not in the cache, and was read. */
TRACE_EVENT(qcow2_slice_miss,
	TP_PROTO(u64 ino, u64 host_off, int err),
	TP_ARGS(ino, host_off, err),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, host_off)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->host_off = host_off;
		__entry->err = err;
	),
	TP_printk("ino=%llu host_off=%llu err=%d", __entry->ino, __entry->host_off, __entry->err)
);

/* Clusters were taken from the pool, of which left remain; or none: err says why. */
TRACE_EVENT(qcow2_alloc,
	TP_PROTO(u64 ino, u64 cluster, u32 nr, u32 left, int err),
	TP_ARGS(ino, cluster, nr, left, err),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, cluster)
		__field(u32, nr)
		__field(u32, left)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->cluster = cluster;
		__entry->nr = nr;
		__entry->left = left;
		__entry->err = err;
	),
	TP_printk("ino=%llu cluster=%llu nr=%u left=%u err=%d", __entry->ino, __entry->cluster,
		  __entry->nr, __entry->left, __entry->err)
);

/* References to clusters were dropped: the last users are gone. */
TRACE_EVENT(qcow2_release,
	TP_PROTO(u64 ino, u64 cluster, u64 nr, int err),
	TP_ARGS(ino, cluster, nr, err),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, cluster)
		__field(u64, nr)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->cluster = cluster;
		__entry->nr = nr;
		__entry->err = err;
	),
	TP_printk("ino=%llu cluster=%llu nr=%llu err=%d", __entry->ino, __entry->cluster,
		  __entry->nr, __entry->err)
);

/* A commit has come so far. The time between two of these is what the phase took. */
TRACE_EVENT(qcow2_commit,
	TP_PROTO(u64 ino, u64 number, enum qcow2_commit_phase phase, int err),
	TP_ARGS(ino, number, phase, err),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, number)
		__field(int, phase)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->number = number;
		__entry->phase = phase;
		__entry->err = err;
	),
	TP_printk("ino=%llu number=%llu phase=%s err=%d", __entry->ino, __entry->number,
		  show_phase(__entry->phase), __entry->err)
);

/* A file was made durable, or not. */
TRACE_EVENT(qcow2_fsync,
	TP_PROTO(u64 ino, int err),
	TP_ARGS(ino, err),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->err = err;
	),
	TP_printk("ino=%llu err=%d", __entry->ino, __entry->err)
);

#endif /* _QCOW2_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
