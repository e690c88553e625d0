/* The only file that knows instruction sets: a vector of VL floats, loads and stores with tails, a few functions that
 * GCC's vector extensions lack, and the tile sizes. Kernels are written once over these and compiled once per ISA. */
#ifndef EDGECNN_SIMD_H
#define EDGECNN_SIMD_H
#include "args.h"
#include "edgecnn.h"
#include <math.h>
#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define EC_CAT2(a, b) a##_##b
#define EC_CAT(a, b) EC_CAT2(a, b)
#define EC_FN(name) EC_CAT(EC_ISA, name) /* the external name of a kernel: avx2_conv_direct */
#define EC_STR2(s) #s
#define EC_STR(s) EC_STR2(s)
#define OPAQUE(pointer) __asm__("" : "+r"(pointer)) /* gcc cannot know any more how it was computed */
/* A pointer that walks, where gcc would compute the addresses of all steps beforehand and spill them. */
#define STEP(pointer, step)                                                              \
    do {                                                                                 \
        (pointer) += (step);                                                             \
        OPAQUE(pointer);                                                                 \
    } while (0)
#if defined(__aarch64__)
#define IN_REGISTER(v) __asm__("" : "+w"(v)) /* loaded once, not at each use */
#define IN_TURN(v) __asm__ volatile("" : "+w"(v) : : "memory") /* loads stay before v is computed, or after */
#elif defined(__x86_64__)
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#define IN_TURN(v)
#else
#define IN_REGISTER(v)
#define IN_TURN(v)
#endif
#define INLINE static inline __attribute__((always_inline))

/* Defines kernel `name` of kernels.def: DEFINE(relu) { ... a->x ... } */
#define DEFINE(name)                                                                     \
    static void name##_body(const name##_args *a, int tid, int nthreads);                \
    void EC_FN(name)(const void *args, int tid, int nthreads) {                          \
        name##_body((const name##_args *)args, tid, nthreads);                           \
    }                                                                                    \
    static void name##_body(const name##_args *a, int tid, int nthreads)

/* Register tile of the convolution: MR pixels x NV vectors of output channels. AVX-512: 14x2 leaves 4 of 32 registers
 * for the weights and a broadcast (200 of 215 GFLOP/s measured); AVX2: 6x2 of 16 (112 of 113). DV: vectors of channels
 * that the depthwise one has in registers at a time: two hide the latency of products on NEON, but cost a tenth on
 * AVX-512. LANEWISE: a vector times one lane of another costs no more than times a whole one. BYTE_FLOPS: 200 GFLOP/s
 * beside 16 GB/s on AVX-512, and on AVX2 no less was faster; 12 beside 4 on a Cortex-A72. */
#if defined(__AVX512F__)
enum { VL = 16, MR = 14, NV = 2, DV = 1, LANEWISE = 0, X_BLOCK_BYTES = 512 << 10, BYTE_FLOPS = 12 };
#elif defined(__AVX__)
enum { VL = 8, MR = 6, NV = 2, DV = 1, LANEWISE = 0, X_BLOCK_BYTES = 128 << 10, BYTE_FLOPS = 12 };
#elif defined(__aarch64__)
enum { VL = 4, MR = 8, NV = 2, DV = 2, LANEWISE = 1, X_BLOCK_BYTES = 96 << 10, BYTE_FLOPS = 3 };
#else
enum { VL = 4, MR = 6, NV = 2, DV = 1, LANEWISE = 0, X_BLOCK_BYTES = 96 << 10, BYTE_FLOPS = 3 };
#endif
enum { NR = NV * VL };
enum { LINE = 16 }; /* floats in a cache line */

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vfu __attribute__((vector_size(VL * 4), aligned(4), may_alias));

INLINE vf load(const float *p) { return *(const vfu *)p; }
INLINE void store(float *p, vf v) { *(vfu *)p = v; }
INLINE vf splat(float s) { return (vf){0} + s; }

#if defined(__AVX__) && !defined(__AVX512F__)
INLINE __m256i first_lanes(int64_t n) {
    static const int32_t lanes[2 * VL] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(lanes + VL - n));
}
#endif

/* The first n < VL floats; the rest of the vector is 0 and its memory is not touched. */
INLINE vf load_n(const float *p, int64_t n) {
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX__)
    return _mm256_maskload_ps(p, first_lanes(n));
#else
    vf v = {0};
#pragma GCC unroll 4
    for (int i = 0; i < VL; i++) /* constant lanes stay in registers */
        if (i < n) v[i] = p[i];
    return v;
#endif
}

INLINE void store_n(float *p, vf v, int64_t n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#elif defined(__AVX__)
    _mm256_maskstore_ps(p, first_lanes(n), v);
#else
#pragma GCC unroll 4
    for (int i = 0; i < VL; i++)
        if (i < n) p[i] = v[i];
#endif
}

/* The first n <= VL floats. */
INLINE vf get(const float *p, int64_t n) { return n == VL ? load(p) : load_n(p, n); }
INLINE void put(float *p, vf v, int64_t n) {
    if (n == VL) store(p, v);
    else store_n(p, v, n);
}

/* Stores to an aligned p past the cache, if `past` and a vector is a whole line there; finish_past, at the end, puts them in
 * order with what other threads read. */
INLINE void put_past(int past, float *p, vf v) {
#if defined(__AVX512F__)
    if (past) _mm512_stream_ps(p, v);
    else store(p, v);
#else
    (void)past;
    store(p, v);
#endif
}
INLINE void finish_past(void) {
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}

/* n <= VL floats that lie `step` apart. */
INLINE vf get_strided(const float *p, int64_t step, int64_t n) {
    if (step == 1) return get(p, n);
    vf v = {0};
    for (int64_t i = 0; i < n; i++) v[i] = p[i * step];
    return v;
}

INLINE void put_strided(float *p, int64_t step, vf v, int64_t n) {
    if (step == 1) put(p, v, n);
    else
        for (int64_t i = 0; i < n; i++) p[i * step] = v[i];
}

/* min and max return b when either is NaN on x86, NaN on ARM: put the data second and NaN passes through. */
INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE__)
    return _mm_max_ps(a, b);
#elif defined(__aarch64__)
    return vmaxq_f32(a, b);
#else
    vf y;
    for (int i = 0; i < VL; i++) y[i] = a[i] > b[i] ? a[i] : b[i];
    return y;
#endif
}

INLINE vf vmin(vf a, vf b) {
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX__)
    return _mm256_min_ps(a, b);
#elif defined(__SSE__)
    return _mm_min_ps(a, b);
#elif defined(__aarch64__)
    return vminq_f32(a, b);
#else
    vf y;
    for (int i = 0; i < VL; i++) y[i] = a[i] < b[i] ? a[i] : b[i];
    return y;
#endif
}

INLINE vf vsqrt(vf x) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(x);
#elif defined(__AVX__)
    return _mm256_sqrt_ps(x);
#elif defined(__SSE__)
    return _mm_sqrt_ps(x);
#elif defined(__aarch64__)
    return vsqrtq_f32(x);
#else
    for (int i = 0; i < VL; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* Where mask is all ones a, where 0 b; comparisons of vectors give such masks. */
INLINE vf blend(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

/* Whether some lane of a comparison is true. */
INLINE int any(vi mask) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE__)
    return _mm_movemask_ps((__m128)mask) != 0;
#elif defined(__aarch64__)
    return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
    int found = 0;
    for (int i = 0; i < VL; i++) found |= mask[i];
    return found != 0;
#endif
}

INLINE float sum_lanes(vf v) { /* in lane order, so every ISA of one width agrees */
    float s = 0;
    for (int i = 0; i < VL; i++) s += v[i];
    return s;
}

/* 1 / x within 2 ulp, for x whose reciprocal is a normal number. */
INLINE vf vreciprocal(vf x) {
#if defined(__AVX512F__)
    const vf r = _mm512_rcp14_ps(x); /* a division keeps its unit busy for 16 cycles or more */
    return r + r * (1.0f - x * r);
#else
    return 1.0f / x;
#endif
}

/* y * 2^n for whole numbers n that may lead out of the range of floats: to 0 or infinity. */
INLINE vf vscale(vf y, vf n) {
    vi half = __builtin_convertvector(n, vi) / 2; /* in two factors: 2^128 is not a float */
    vi rest = __builtin_convertvector(n, vi) - half;
    return y * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
}

/* exp(x) within 2 ulp for |x| <= 104: 2^n times a polynomial of the rest in [-ln2/2, ln2/2], fitted to the least largest
 * relative error (3e-9). On AVX-512 n is a multiple of 1/16: one instruction looks 16 floats up, and of so small a rest the
 * series of exp needs but four terms (Tang 1989); swish takes 4.6 ns a vector instead of 5.4 on Zen 4. */
INLINE vf vexp_near(vf x) {
#if defined(__AVX512F__)
    static const float root[16] __attribute__((aligned(64))) = { /* 2^(k/16) */
        1.0f, 1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f, 1.29683959f, 1.35425556f,
        1.41421354f, 1.47682619f, 1.54221082f, 1.61049032f, 1.68179286f, 1.75625217f, 1.8340081f,
        1.91520655f};
    const vf t = x * 1.44269504f + 786432.0f, n = t - 786432.0f; /* round to 1/16, as below: adds and removes 1.5 * 2^19 */
    vf r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    const vf p = (r * (1.0f / 6) + 0.5f) * r + 1.0f;
    const vf power = _mm512_permutexvar_ps((__m512i)t, _mm512_load_ps(root)); /* by the last four bits */
    return _mm512_scalef_ps(p * r * power + power, n);
#else
    const vf n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* round to nearest: adds and removes 1.5 * 2^23 */
    vf r = x - n * 0.693359375f; /* ln2 in two parts, of which the first has so few bits that the product is exact */
    r = r + n * 2.12194440e-4f;
    vf p = splat(1.381454002e-3f);
    p = p * r + 8.368745113e-3f;
    p = p * r + 4.166839079e-2f;
    p = p * r + 1.666652040e-1f;
    p = p * r + 4.999999343e-1f;
    p = p * r + 1.0f;
    return vscale(p * r + 1.0f, n);
#endif
}

/* exp(x) within 2 ulp for the finite range, 0 below it, inf above it, NaN for NaN. */
INLINE vf vexp(vf x) { return vexp_near(vmin(splat(89), vmax(splat(-104), x))); } /* where it is inf and 0 */

/* Exchanges rows and columns of VL vectors in log2(VL) stages: stage s swaps the off-diagonal s x s blocks. */
#if defined(__AVX512F__)
#define LANES(f, s) {f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s), f(8, s), f(9, s),         \
                     f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)}
#elif defined(__AVX__)
#define LANES(f, s) {f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s)}
#else
#define LANES(f, s) {f(0, s), f(1, s), f(2, s), f(3, s)}
#endif
#define UPPER(i, s) ((i) & (s) ? (i) - (s) + VL : (i))
#define LOWER(i, s) ((i) & (s) ? (i) + VL : (i) + (s))
#define STAGE(s)                                                                         \
    for (int i = 0; i < VL; i++)                                                         \
        if (!(i & (s))) {                                                                \
            const vf a = m[i], b = m[i + (s)];                                           \
            m[i] = __builtin_shuffle(a, b, (vi)LANES(UPPER, s));                         \
            m[i + (s)] = __builtin_shuffle(a, b, (vi)LANES(LOWER, s));                   \
        }
INLINE void transpose(vf m[VL]) {
    STAGE(1)
    STAGE(2)
#if defined(__AVX__)
    STAGE(4)
#endif
#if defined(__AVX512F__)
    STAGE(8)
#endif
}

/* The 3 VL numbers of three vectors, one of each in turns: lane l of y[k] is number k VL + l. */
#define TURN(l, k) (((k) * VL + (l)) / 3)
#define OF_TWO(l, k) (((k) * VL + (l)) % 3 * VL % (2 * VL) + TURN(l, k)) /* where it is not of the third, */
#define OF_ALL(l, k) (((k) * VL + (l)) % 3 == 2 ? VL + TURN(l, k) : (l)) /* and then all of them */
#define INTERLEAVED(k)                                                                                                 \
    __builtin_shuffle(__builtin_shuffle(a, b, (vi)LANES(OF_TWO, k)), c, (vi)LANES(OF_ALL, k))
INLINE void interleave3(vf a, vf b, vf c, vf y[3]) {
    y[0] = INTERLEAVED(0);
    y[1] = INTERLEAVED(1);
    y[2] = INTERLEAVED(2);
}

/* The half-open share [begin, end) of n items that thread tid of nthreads takes. */
typedef struct { int64_t begin, end; } range;
INLINE range share(int64_t n, int tid, int nthreads) {
    return (range){n * tid / nthreads, n * (tid + 1) / nthreads};
}
INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Where pixel p of an image batch lies; strides n, h, w. */
INLINE int64_t pixel_offset(const int64_t *s, int64_t p, int64_t H, int64_t W) {
    const int64_t row = p / W;
    return row / H * s[0] + row % H * s[1] + p % W * s[2];
}

/* Where element `index` of `loops` nested loops lies, counted with the last one innermost. */
INLINE int64_t offset(int64_t index, const int64_t *dims, const int64_t *s, int loops) {
    int64_t at = 0;
    for (int d = loops - 1; d >= 0; d--) {
        at += index % dims[d] * s[d];
        index /= dims[d];
    }
    return at;
}
#endif
