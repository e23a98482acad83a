// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Threads that run the grid tiles of kernels.
//
// Why not libpthreadpool: kernels keep scratch memory per worker, so a task must know which worker
// runs it, and the library's 1D loops do not say (its `_with_id` variants give the kind of core).
// Many kernels last a few microseconds while waking a sleeping thread costs 35 to 90 us in a
// virtual machine, so workers spin for a while before they sleep. The library's spin without
// yielding: where other processes use the CPUs too, caller and worker end up on one of them and
// wait for each other's time slices (a 256 x 256 x 256 product on two busy CPUs, median of 30
// turns: 139 GFLOP/s here, 5 to 33 with the library, though its best turns are as good).
#pragma once
#include "codegen/abi.h"

typedef struct pool pool;

/// `workers` threads including the caller of pool_run; the others start at the first loop that
/// needs them. Null: out of memory.
pool *pool_new(int workers);
void pool_free(pool *p);
int pool_workers(const pool *p);
/// The CPUs this process may run on.
int pool_cpus(void);

/// tcf_frame.parallel_for: runs task over [0, n), split in ranges. Each worker begins with its
/// own n / workers tiles, the same in every loop, so that what one kernel left in a core's cache
/// is used by the next; who is done takes half of what another has left. Called by one thread at a
/// time, and not from inside a task.
void pool_run(void *pool, tcf_task task, void *args, int64_t n);
