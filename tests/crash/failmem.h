/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that the kernel does not give: its fault injection (failslab, fail_page_alloc), kept to
 * allocations that the module, or what it calls, makes.
 */
#ifndef TEST_FAILMEM_H
#define TEST_FAILMEM_H

#include <stdbool.h>

/*
 * Find the module, and switch everything off. @below: what file systems and block devices below
 * allocate on behalf of the module counts, too. Return: false: the kernel cannot do it.
 */
bool failmem_start(bool below);

/* Fail so many of a hundred allocations, of objects and of pages, from now on. */
void failmem_random(unsigned int percent);

/* Fail the @nth allocation of the calling task; 0: none. */
void failmem_nth(unsigned int nth);
/* Did it? Then no more will. */
bool failmem_nth_met(void);

/* Likewise, the @nth of each worker that there is (kworker/u*). */
void failmem_nth_of_workers(unsigned int nth);
bool failmem_nth_of_workers_met(void);

#endif
