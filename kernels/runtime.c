/* Runs a program of kernels: one parallel region, a cheap barrier, flushed denormals, safe after fork. */
#define _GNU_SOURCE
#include "edgecnn.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* A child of fork has none of OpenMP's worker threads: a parallel region there would wait for them forever. */
static int forked;
static void in_child(void) { forked = 1; }
__attribute__((constructor)) static void watch_fork(void) { pthread_atfork(0, 0, in_child); }

/* Denormals cost a hundred cycles each and decaying momenta are full of them. */
#if defined(__x86_64__)
typedef unsigned fp_mode;
static fp_mode flush_denormals(void) { fp_mode m = _mm_getcsr(); _mm_setcsr(m | 0x8040); return m; }
static void restore_fp(fp_mode m) { _mm_setcsr(m); }
#elif defined(__aarch64__)
typedef uint64_t fp_mode;
static fp_mode flush_denormals(void) {
    fp_mode m;
    __asm__ volatile("mrs %0, fpcr" : "=r"(m));
    __asm__ volatile("msr fpcr, %0" : : "r"(m | (1u << 24)));
    return m;
}
static void restore_fp(fp_mode m) { __asm__ volatile("msr fpcr, %0" : : "r"(m)); }
#else
typedef int fp_mode;
static fp_mode flush_denormals(void) { return 0; }
static void restore_fp(fp_mode m) { (void)m; }
#endif

/* Sense-reversing barrier: spins about 50 us, then yields, so that a loaded two-core machine still makes progress. */
typedef struct {
    _Alignas(64) atomic_int waiting;
    _Alignas(64) atomic_int phase;
} barrier_t;

static inline void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void barrier(barrier_t *b, int nthreads) {
    int phase = atomic_load_explicit(&b->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->waiting, 1, memory_order_acq_rel) == nthreads - 1) {
        atomic_store_explicit(&b->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&b->phase, phase + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&b->phase, memory_order_acquire) == phase; spins++)
        if (spins < 1000) relax();
        else sched_yield();
}

#ifdef _OPENMP
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);
static int thread_number(void) { return omp_get_thread_num(); }
static int thread_count(void) { return omp_get_num_threads(); }
#else
static int thread_number(void) { return 0; }
static int thread_count(void) { return 1; }
#endif

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void run_serial(const ec_step *steps, int64_t n, int64_t *ns) {
    fp_mode mode = flush_denormals();
    for (int64_t i = 0; i < n; i++) {
        int64_t start = ns ? now_ns() : 0;
        steps[i].kernel(steps[i].args, 0, 1);
        if (ns) ns[i] += now_ns() - start;
    }
    restore_fp(mode);
}

static int any_parallel(const ec_step *steps, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (steps[i].thread) return 1;
    return 0;
}

void ec_run(const ec_step *steps, int64_t n, int nthreads, int64_t *ns) {
    if (nthreads <= 1 || forked || !any_parallel(steps, n)) {
        run_serial(steps, n, ns);
        return;
    }
    barrier_t b = {0};
#pragma omp parallel num_threads(nthreads)
    {
        const int tid = thread_number(), team = thread_count();
        fp_mode mode = flush_denormals();
        for (int64_t i = 0; i < n; i++) {
            const int own = steps[i].thread >= 0;
            if (i && !(own && steps[i - 1].thread >= 0 && steps[i].section == steps[i - 1].section)) barrier(&b, team);
            const int64_t start = ns ? now_ns() : 0;
            if (!own) steps[i].kernel(steps[i].args, tid, team);
            else if (tid == steps[i].thread % team) steps[i].kernel(steps[i].args, 0, 1);
            else continue;
            if (ns && !own) barrier(&b, team); /* waiting for the slowest thread counts */
            if (ns && (own || tid == 0)) ns[i] += now_ns() - start;
        }
        restore_fp(mode);
    }
}

static void point(const ec_program *p, const uint64_t *buffers, const uint64_t *strides, int64_t portion) {
    for (int64_t i = 0; i < p->n_patches; i++) {
        const int64_t b = p->patches[i][1];
        p->slots[p->patches[i][0]] = p->offsets[i] + buffers[b] + (uint64_t)portion * strides[b];
    }
}

void ec_run_portions(const ec_program *copies, int64_t n_copies, const uint64_t *buffers, const uint64_t *strides,
                     int64_t portions, int nthreads, int64_t *ns) {
    if (n_copies == 1 || forked) {
        for (int64_t portion = 0; portion < portions; portion++) {
            point(copies, buffers, strides, portion);
            ec_run(copies->steps, copies->n, nthreads, ns);
        }
        return;
    }
    atomic_llong next = 0;
#pragma omp parallel num_threads((int)n_copies)
    {
        const int tid = thread_number();
        for (int64_t portion; (portion = atomic_fetch_add(&next, 1)) < portions;) {
            point(copies + tid, buffers, strides, portion);
            run_serial(copies[tid].steps, copies[tid].n, ns ? ns + tid * copies[tid].n : 0);
        }
    }
}

enum { HUGE = 2 << 20 };

static size_t padded(int64_t bytes) {
    size_t unit = bytes >= HUGE ? HUGE : 64;
    size_t n = bytes > 0 ? (size_t)bytes : 1;
    return (n + unit - 1) / unit * unit;
}

void *ec_alloc(int64_t bytes) {
    size_t n = padded(bytes);
    if (n >= HUGE) { /* zeroed by the kernel page by page as it is touched */
        char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return 0;
        madvise(p, n, MADV_HUGEPAGE);
        return p;
    }
    void *p = aligned_alloc(64, n);
    if (p) memset(p, 0, n);
    return p;
}

void ec_free(void *p, int64_t bytes) {
    size_t n = padded(bytes);
    if (!p) return;
    if (n >= HUGE) munmap(p, n);
    else free(p);
}
