// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A fork-join pool: spin, yielding, then sleep on a futex; ranges owned by worker, stolen by halves.
//
//   gate   loop number << 16 | closed bit | workers inside
//
// The caller fills the job while the gate is closed and nobody is inside, opens it under a new
// number, takes part as worker 0, closes it when no tile is left, and waits for those inside. A
// worker that comes late finds the gate closed and touches nothing.
#define _GNU_SOURCE
#include "runtime/pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/fork.h"
#include "runtime/modes.h"

enum {
  MAX_WORKERS = 512,
  INSIDE = 0x7fff,
  CLOSED = 0x8000,
  // A worker that falls asleep while the caller runs a loop alone misses the next one as well,
  // and so on: far longer than loops and waking take.
  SPIN_NS = 2000 * 1000,
  PAUSES = 64,  // about 3 us
};

typedef struct worker {
  _Alignas(64) _Atomic uint64_t range;  // end << 32 | begin: tiles not yet taken
  pool *pool;
  pthread_t thread;
  int number;
} worker;

struct pool {
  _Alignas(64) _Atomic uint64_t gate;
  _Alignas(64) _Atomic uint32_t bell;  // sleeping workers wait for a change
  _Atomic int32_t sleeping;
  _Alignas(64) _Atomic uint32_t left;  // the sleeping caller waits for a change
  _Atomic bool caller_sleeps;
  atomic_bool quit;
  tcf_task task;
  void *args;
  int64_t offset;  // added to tile numbers
  int nworkers, started;
  worker *workers;
  fork_mark mark;  // threads are not in children: those that fork start their own
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/// Spins for a moment; false once that has gone on for SPIN_NS. `give_up` is 0 at first.
///
/// Where other work wants this CPU it gets it: possibly the very thread that is waited for, which
/// a wake-up may have put on the same CPU.
static bool spin(unsigned turn, int64_t *give_up) {
  relax();
  if (turn % PAUSES) return true;
  int64_t now = now_ns();
  if (!*give_up) *give_up = now + SPIN_NS;
  if (now >= *give_up) return false;
  sched_yield();
  return true;
}

int pool_cpus(void) {
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

static uint64_t pack(uint32_t begin, uint32_t end) { return (uint64_t)end << 32 | begin; }

// Takes tiles off the front of one's own range: a quarter of it, so that some is left to steal.
static bool take(worker *w, uint32_t *begin, uint32_t *end) {
  uint64_t r = atomic_load_explicit(&w->range, memory_order_relaxed);
  for (;;) {
    uint32_t b = (uint32_t)r, e = (uint32_t)(r >> 32);
    if (b >= e) return false;
    uint32_t n = (e - b + 3) / 4;
    if (!atomic_compare_exchange_weak(&w->range, &r, pack(b + n, e))) continue;
    *begin = b;
    *end = b + n;
    return true;
  }
}

// Moves the back half of another's range to one's own.
static bool steal(worker *w) {
  pool *p = w->pool;
  for (int k = 1; k < p->nworkers; k++) {
    worker *victim = &p->workers[(w->number + k) % p->nworkers];
    uint64_t r = atomic_load_explicit(&victim->range, memory_order_relaxed);
    for (;;) {
      uint32_t b = (uint32_t)r, e = (uint32_t)(r >> 32);
      if (b >= e) break;
      uint32_t keep = (e - b) / 2;
      if (!atomic_compare_exchange_weak(&victim->range, &r, pack(b, b + keep))) continue;
      atomic_store(&w->range, pack(b + keep, e));
      return true;
    }
  }
  return false;
}

static void work(worker *w) {
  pool *p = w->pool;
  uint32_t begin, end;
  do {
    while (take(w, &begin, &end)) p->task(p->args, p->offset + begin, p->offset + end, w->number);
  } while (steal(w));
}

// True when inside the job of the gate's number, which becomes *seen.
static bool enter(pool *p, uint64_t *seen) {
  uint64_t gate = atomic_load(&p->gate);
  while (gate >> 16 != *seen && !(gate & CLOSED)) {
    if (!atomic_compare_exchange_weak(&p->gate, &gate, gate + 1)) continue;
    *seen = gate >> 16;
    return true;
  }
  return false;
}

static void leave(pool *p) {
  uint64_t gate = atomic_fetch_sub(&p->gate, 1) - 1;
  if ((gate & (CLOSED | INSIDE)) != CLOSED) return;
  atomic_fetch_add(&p->left, 1);
  if (atomic_load(&p->caller_sleeps)) futex_wake(&p->left, 1);
}

// Until the gate opens under a new number; false at the end of the pool.
static bool wait_for_job(pool *p, uint64_t *seen) {
  int64_t give_up = 0;
  for (unsigned turn = 1;; turn++) {
    if (atomic_load_explicit(&p->quit, memory_order_relaxed)) return false;
    if (enter(p, seen)) return true;
    if (spin(turn, &give_up)) continue;
    uint32_t bell = atomic_load(&p->bell);
    atomic_fetch_add(&p->sleeping, 1);
    // Whoever rings after this reads `sleeping`; whoever rang before has changed what is checked.
    bool entered = enter(p, seen);
    if (!entered && !atomic_load(&p->quit)) futex_wait(&p->bell, bell);
    atomic_fetch_sub(&p->sleeping, 1);
    if (entered) return true;
    give_up = 0;
  }
}

static void *worker_main(void *argument) {
  worker *w = argument;
  uint64_t seen = 0;
  float_modes_enter(false);  // not those of the thread that started this one
  while (wait_for_job(w->pool, &seen)) {
    work(w);
    leave(w->pool);
  }
  return NULL;
}

static void ring(pool *p) {
  atomic_fetch_add(&p->bell, 1);
  if (atomic_load(&p->sleeping)) futex_wake(&p->bell, INT_MAX);
}

static void wait_until_empty(pool *p) {
  int64_t give_up = 0;
  for (unsigned turn = 1; atomic_load(&p->gate) & INSIDE; turn++) {
    if (spin(turn, &give_up)) continue;
    uint32_t left = atomic_load(&p->left);
    atomic_store(&p->caller_sleeps, true);
    if (atomic_load(&p->gate) & INSIDE) futex_wait(&p->left, left);
    atomic_store(&p->caller_sleeps, false);
  }
}

static void run_batch(pool *p, uint32_t n) {
  uint64_t gate = atomic_load(&p->gate);
  for (int k = 0; k < p->nworkers; k++)
    atomic_store(&p->workers[k].range,
                 pack((uint32_t)((uint64_t)n * (unsigned)k / p->nworkers),
                      (uint32_t)((uint64_t)n * (unsigned)(k + 1) / p->nworkers)));
  atomic_store(&p->gate, ((gate >> 16) + 1) << 16);
  ring(p);
  work(&p->workers[0]);
  atomic_fetch_or(&p->gate, CLOSED);
  wait_until_empty(p);
}

/// A thread that cannot be started is done without: its range is stolen. Signals are for the host's
/// threads: none is delivered to ours, but for those that say what a thread itself did.
static void start(pool *p) {
  static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  sigset_t all, before;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&all, own[i]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int k = 1; k < p->nworkers; k++) {
    if (pthread_create(&p->workers[k].thread, NULL, worker_main, &p->workers[k])) break;
    p->started = k;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!p->started) p->started = -1;
}

/// In the child of a fork: as new. No loop was running, because its caller is the one that forks
/// now (or the session is in use there, and is not entered here).
static void reset(pool *p) {
  atomic_store(&p->gate, CLOSED);
  atomic_store(&p->sleeping, 0);
  atomic_store(&p->caller_sleeps, false);
  p->started = 0;
  fork_mark_renew(&p->mark);
}

void pool_run(void *pool_, tcf_task task, void *args, int64_t n) {
  pool *p = pool_;
  if (n <= 0) return;
  if (n == 1 || p->nworkers == 1) {
    task(args, 0, n, 0);
    return;
  }
  if (!fork_mark_is_here(&p->mark)) reset(p);
  if (!p->started) start(p);
  p->task = task;
  p->args = args;
  for (int64_t at = 0; at < n; at += UINT32_MAX) {
    p->offset = at;
    run_batch(p, n - at < UINT32_MAX ? (uint32_t)(n - at) : UINT32_MAX);
  }
}

pool *pool_new(int workers) {
  if (workers < 1) workers = 1;
  if (workers > MAX_WORKERS) workers = MAX_WORKERS;
  pool *p = aligned_alloc(64, sizeof *p);
  worker *all = aligned_alloc(64, sizeof *all * (size_t)workers);
  if (!p || !all) {
    free(p);
    free(all);
    return NULL;
  }
  *p = (pool){.nworkers = workers, .workers = all, .mark = fork_mark_new()};
  atomic_init(&p->gate, CLOSED);
  for (int k = 0; k < workers; k++) all[k] = (worker){.pool = p, .number = k};
  return p;
}

void pool_free(pool *p) {
  if (!p) return;
  atomic_store(&p->quit, true);
  if (fork_mark_is_here(&p->mark)) {
    ring(p);
    for (int k = 1; k <= p->started; k++) pthread_join(p->workers[k].thread, NULL);
  }
  fork_mark_free(&p->mark);
  free(p->workers);
  free(p);
}

int pool_workers(const pool *p) { return p->nworkers; }
