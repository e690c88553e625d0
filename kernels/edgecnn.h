/* The C interface of edgecnn's kernels: a table of kernels per instruction set, and a runner for programs of them.
 *
 * A kernel is `void k(const void *args, int tid, int nthreads)`. Every thread of the team calls it with its own tid;
 * the kernel splits its outputs between them. Kernels cannot fail, allocate, print or abort: whoever builds the
 * arguments has checked them. The argument structs are generated from kernels.def; every field is 8 bytes wide, so a
 * struct is an array of 8-byte slots that a binding can fill from the field description alone. */
#ifndef EDGECNN_H
#define EDGECNN_H
#include <stdint.h>

typedef void (*ec_kernel)(const void *args, int tid, int nthreads);

/* What one compilation of the kernels (one instruction set) offers. */
typedef struct {
    const char *name;
    int64_t lanes;          /* floats in a vector */
    int64_t mr, nr;         /* register tile of the convolution: pixels x output channels; nr is the packed panel width */
    int64_t x_block_bytes;  /* how much of an input a thread should work on at a time (about a quarter of its L2) */
    int64_t byte_flops;     /* products that a core does while a byte of weights arrives from memory, see ec_byte_flops */
    const ec_kernel *kernels; /* in the order of kernels.def */
} ec_isa;

/* Field descriptions in the order of kernels.def: "<" in, ">" out, "=" in and out, each `name:type:strides`;
 * "i" an int64 (`i name:count`), "f" a double. */
typedef struct {
    const char *name;
    const char *fields;
} ec_signature;

extern const ec_signature ec_signatures[];
extern const int64_t ec_kernel_count;

const ec_isa *ec_isa_at(int64_t i); /* i-th compiled instruction set, best first; NULL past the end */
int ec_isa_supported(int64_t i);    /* whether this CPU runs it */
int64_t ec_byte_flops(const ec_isa *isa); /* isa->byte_flops, or less where this CPU computes slower */

/* One step of a program. All threads share it if `thread` is -1; else that one runs it alone (of fewer threads, the one
 * whose turn it is), without waiting for others between steps of the same section: what threads of a section write,
 * only they read in it. */
typedef struct {
    ec_kernel kernel;
    const void *args;
    int64_t section, thread;
} ec_step;

/* Runs the steps in order on nthreads threads (one OpenMP region; a barrier between steps but of one section).
 * Denormals are flushed inside and the caller's floating-point mode is restored. In a forked child, where OpenMP's
 * threads no longer exist, everything runs on the calling thread. ns, if not NULL, receives each step's nanoseconds. */
void ec_run(const ec_step *steps, int64_t n, int nthreads, int64_t *ns);

/* A program: steps, and the argument slots that point into buffers given at each run: slots[patches[i][0]] becomes the address
 * of buffer patches[i][1] plus offsets[i] bytes. */
typedef struct {
    const ec_step *steps;
    int64_t n;
    uint64_t *slots;
    const int64_t (*patches)[2];
    const uint64_t *offsets;
    int64_t n_patches;
} ec_program;

/* Runs a program `portions` times, each time with the buffers `strides` bytes further. Of several copies of it, with slots and
 * working memory of their own, each runs on a thread, with the next portion whenever it is done with one; a single copy runs
 * on nthreads. ns, if not NULL, has a number for each step of each copy. */
void ec_run_portions(const ec_program *copies, int64_t n_copies, const uint64_t *buffers, const uint64_t *strides,
                     int64_t portions, int nthreads, int64_t *ns);

/* Zeroed memory aligned to 64 bytes (huge pages when large); NULL when there is not enough. */
void *ec_alloc(int64_t bytes);
void ec_free(void *p, int64_t bytes);

#endif
