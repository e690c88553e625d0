/* What the tests of the kernels share: guarded memory, a run on one and on three threads, naive comparisons in double. */
#ifndef CHECK_H
#define CHECK_H
#include "args.h"
#include "edgecnn.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const ec_isa *isa; /* under test */
extern int64_t checks;

/* n random numbers in [-1, 1); freed by end(). */
float *floats(int64_t n);

/* n times 0, freed by end(). */
double *doubles(int64_t n);

/* Runs a kernel on one thread, then on three: its outputs must be the same bytes, and nothing else may change. Outputs are
 * NaN before, so that an element left out is noticed. Output pointers must come from floats(). */
void run(const char *name, const void *args);

/* The same for a step that runs on one thread of the team. */
void run_serial(const char *name, const void *args);

/* Ends the test with a message unless every |got - want| <= tolerance * max(1, |want|). */
void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance);

void expect(int holds, const char *what);

/* Frees the memory of a test. */
void end(void);


/* A random number in [from, to]. */
int64_t between(int64_t from, int64_t to);

/* The window of a convolution or pooling; pad is top, left, bottom, right. */
typedef struct {
    int64_t N, C, H, W, OC, KH, KW, stride[2], pad[4], dilation[2], groups, OH, OW;
} geometry;

geometry random_geometry(int depthwise);

/* The input row or column that tap k of output o reads, or -1 in the padding. axis 0: rows, 1: columns. */
int64_t tap(const geometry *s, int axis, int64_t o, int64_t k);

/* y = clamp(x + r). */
double clamped(double x, double lo, double hi);

#define COUNT(array) (int64_t)(sizeof(array) / sizeof *(array))
#define STRIDES(field, ...) memcpy(field, (int64_t[])__VA_ARGS__, sizeof(field))

void test_convolution(void);
void test_depthwise(void);
void test_im2col(void);
void test_pooling(void);
void test_elementwise(void);
void test_copy(void);
void test_reductions(void);
void test_batch_norm(void);
void test_losses(void);
void test_dropout(void);
void test_optimizers(void);
void test_peak(void);
#endif
