/* The kernels as a C library, without Python: every instruction set that this CPU runs, against plain loops in double, and
 * the same bytes for 1 and 3 threads. Prints one line and returns non-zero on the first difference. */
#include "args.h"
#include "edgecnn.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ec_isa *isa;
static int64_t checks;

static ec_kernel named(const char *name) {
    for (int64_t i = 0; i < ec_kernel_count; i++)
        if (!strcmp(ec_signatures[i].name, name)) return isa->kernels[i];
    fprintf(stderr, "no kernel %s\n", name);
    exit(2);
}

static void run(const char *name, const void *args, int threads) {
    const ec_step step = {named(name), args, 0};
    ec_run(&step, 1, threads, 0);
}

static float *floats(int64_t n) {
    float *p = malloc((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
    return p;
}

static void close_to(const char *what, const float *got, const double *want, int64_t n) {
    double largest = 1, error = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
        error = fmax(error, isfinite(got[i]) ? fabs(got[i] - want[i]) : INFINITY);
    }
    checks++;
    if (error <= 1e-5 * largest) return;
    fprintf(stderr, "%s, %s: error %g of %g\n", isa->name, what, error, largest);
    exit(1);
}

static void same_bytes(const char *what, const float *a, const float *b, int64_t n) {
    checks++;
    if (!memcmp(a, b, (size_t)n * sizeof *a)) return;
    fprintf(stderr, "%s, %s: other bytes with other threads\n", isa->name, what);
    exit(1);
}

typedef struct { int64_t N, C, H, W, OC, K, stride, pad, dilation, groups; int fused; } shape;

static int64_t out(int64_t n, const shape *s) { return (n + 2 * s->pad - s->dilation * (s->K - 1) - 1) / s->stride + 1; }

/* Calls f(y index, x index or -1 in the padding, w index) for every product of the convolution, channels last. */
#define FOR_PRODUCTS(body)                                                                                  \
    for (int64_t n = 0; n < s->N; n++) for (int64_t oh = 0; oh < OH; oh++) for (int64_t ow = 0; ow < OW; ow++)  \
    for (int64_t oc = 0; oc < s->OC; oc++) for (int64_t c = 0; c < Cg; c++)                                 \
    for (int64_t kh = 0; kh < s->K; kh++) for (int64_t kw = 0; kw < s->K; kw++) {                           \
        const int64_t ih = oh * s->stride - s->pad + kh * s->dilation;                                      \
        const int64_t iw = ow * s->stride - s->pad + kw * s->dilation;                                      \
        if (ih < 0 || ih >= s->H || iw < 0 || iw >= s->W) continue;                                         \
        const int64_t yi = ((n * OH + oh) * OW + ow) * s->OC + oc;                                          \
        const int64_t xi = ((n * s->H + ih) * s->W + iw) * s->C + oc / (s->OC / s->groups) * Cg + c;          \
        const int64_t wi = ((oc * Cg + c) * s->K + kh) * s->K + kw;                                         \
        body                                                                                                \
    }

static void test_convolution(const shape *s) {
    const int64_t OH = out(s->H, s), OW = out(s->W, s), Cg = s->C / s->groups, per = s->OC / s->groups;
    const int64_t nx = s->N * s->H * s->W * s->C, nw = s->OC * Cg * s->K * s->K, ny = s->N * OH * OW * s->OC;
    const int64_t panels = s->groups * ((per + isa->nr - 1) / isa->nr), np = panels * isa->nr * Cg * s->K * s->K;
    const int64_t KK = s->K * s->K, ws = ((OH - 1) * s->stride + s->dilation * (s->K - 1) + 1) *
                                         ((OW - 1) * s->stride + s->dilation * (s->K - 1) + 1) * Cg;
    float *x = floats(nx), *w = floats(nw), *r = floats(ny), *y = floats(ny), *z = floats(ny), *packed = floats(np);
    float *scratch = floats(3 * ws), *dwp = floats(np), *dw = floats(nw);
    double *want = calloc((size_t)(ny > nw ? ny : nw), sizeof *want);

    conv_pack_weights_args pack = {.w = w, .w_s = {per * Cg * KK, Cg * KK, KK, s->K, 1}, .packed = packed, .OC = s->OC,
                                   .C = s->C, .KH = s->K, .KW = s->K, .groups = s->groups};
    run("conv_pack_weights", &pack, 3);
    conv_direct_args a = {
        .x = x, .x_s = {s->H * s->W * s->C, s->W * s->C, s->C, 1}, .w = packed, .y = y,
        .y_s = {OH * OW * s->OC, OW * s->OC, s->OC}, .ws = scratch, .N = s->N, .C = s->C, .H = s->H, .W = s->W,
        .OC = s->OC, .OH = OH, .OW = OW, .KH = s->K, .KW = s->K, .stride = {s->stride, s->stride},
        .pad = {s->pad, s->pad}, .dilation = {s->dilation, s->dilation}, .groups = s->groups, .lo = -INFINITY,
        .hi = INFINITY, .pack = 1, .rows = OH, .cols = OW, .panels = 1, .ws_thread = ws};
    if (s->fused) {
        a.r = r;
        memcpy(a.r_s, a.y_s, sizeof a.y_s);
        a.lo = -0.5;
        a.hi = 0.75;
    }
    run("conv_direct", &a, 1);
    FOR_PRODUCTS(want[yi] += (double)x[xi] * w[wi];)
    for (int64_t i = 0; s->fused && i < ny; i++) want[i] = fmin(a.hi, fmax(a.lo, want[i] + r[i]));
    close_to("conv_direct", y, want, ny);
    a.y = z;
    run("conv_direct", &a, 3);
    same_bytes("conv_direct", y, z, ny);

    conv_backward_weights_args b = {
        .x = x, .dy = r, .dw = dwp, .ws = scratch, .N = s->N, .C = s->C, .H = s->H, .W = s->W, .OC = s->OC, .OH = OH,
        .OW = OW, .KH = s->K, .KW = s->K, .stride = {s->stride, s->stride}, .pad = {s->pad, s->pad},
        .dilation = {s->dilation, s->dilation}, .groups = s->groups, .pack = 1, .images = 1, .rows = OH, .cols = OW,
        .ws_thread = ws};
    memcpy(b.x_s, a.x_s, sizeof a.x_s);
    memcpy(b.dy_s, a.y_s, sizeof a.y_s);
    run("conv_backward_weights", &b, 3);
    conv_unpack_weights_args unpack = {.packed = dwp, .w = dw, .OC = s->OC, .C = s->C, .KH = s->K, .KW = s->K,
                                       .groups = s->groups};
    memcpy(unpack.w_s, pack.w_s, sizeof pack.w_s);
    run("conv_unpack_weights", &unpack, 3);
    memset(want, 0, (size_t)nw * sizeof *want);
    FOR_PRODUCTS(want[wi] += (double)x[xi] * r[yi];)
    close_to("conv_backward_weights", dw, want, nw);
    float *all[] = {x, w, r, y, z, packed, scratch, dwp, dw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(want);
}

static void test_copy(void) {
    enum { H = 5, W = 7, C = 19, N = H * W * C };
    float *x = floats(N), *y = floats(N);
    copy_args a = {.x = x, .x_s = {0, 0, 0, W, 1, H * W}, .y = y, .y_s = {0, 0, 0, W * C, C, 1}, .dims = {1, 1, 1, H, W, C}};
    run("copy", &a, 3);
    for (int64_t i = 0; i < N; i++) {
        checks++;
        if (y[(i % (H * W)) * C + i / (H * W)] != x[i]) {
            fprintf(stderr, "%s, copy: wrong at %ld\n", isa->name, (long)i);
            exit(1);
        }
    }
    free(x), free(y);
}

static void test_adam(void) {
    enum { N = 1003 };
    float *w = floats(N), *g = floats(N), *m = floats(N), *v = floats(N), hyper[8] = {0.01f, 1.5f, 2.5f, 0.02f};
    double *want = calloc(N, sizeof *want);
    for (int i = 0; i < N; i++) v[i] = fabsf(v[i]);
    for (int i = 0; i < N; i++) {
        const double m1 = m[i] * 0.9 + g[i] * 0.1, v1 = v[i] * 0.999 + (double)g[i] * g[i] * 0.001;
        want[i] = w[i] * (1.0 - hyper[3]) - hyper[0] * (m1 * hyper[1]) / (sqrt(v1 * hyper[2]) + 1e-8);
    }
    adam_update_args a = {.w = w, .g = g, .m = m, .v = v, .hyper = hyper, .n = N, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    run("adam_update", &a, 3);
    close_to("adam_update", w, want, N);
    free(w), free(g), free(m), free(v), free(want);
}

int main(void) {
    const shape shapes[] = {
        {1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0}, {2, 3, 9, 8, 6, 3, 1, 1, 1, 1, 0}, {1, 16, 14, 14, 32, 1, 1, 0, 1, 1, 1},
        {1, 5, 7, 7, 33, 3, 2, 1, 1, 1, 1}, {2, 6, 8, 9, 9, 3, 1, 2, 2, 3, 0}, {1, 4, 5, 6, 70, 5, 1, 2, 1, 1, 1},
        {3, 2, 6, 6, 4, 2, 3, 0, 1, 2, 0}, {1, 3, 20, 20, 17, 7, 2, 3, 1, 1, 0},
    };
    printf("instruction sets");
    for (int64_t i = 0; (isa = ec_isa_at(i)); i++) {
        if (!ec_isa_supported(i)) continue;
        printf(" %s", isa->name);
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) test_convolution(&shapes[j]);
        test_copy();
        test_adam();
    }
    printf(": %ld checks passed\n", (long)checks);
    return 0;
}
