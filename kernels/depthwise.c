/* Depthwise convolution of channels-last images: every channel has its own KH x KW filter.
 *
 * A strip of P neighbouring output pixels is computed for one vector of channels after the other: memory is read in the
 * order it lies, and a loaded input column serves all the taps that fall on it. P, KW and the stride are compile-time
 * constants for the common kernels (KINDS); any other kernel is a strip of one pixel with KW columns of its own.
 * No padding is copied: tap rows outside the picture are left out of the loop, and strips that hang over its left or
 * right edge (or a last, partial vector of channels) take a variant that checks each column. */
#include "simd.h"

enum { MAX_P = 7, MAX_KW = 5 }; /* of the compile-time kinds */

/* P output pixels and the columns of input below them; column j is tap kw of pixel p where j == p * stride + kw. */
typedef struct {
    int64_t begin, end;    /* channels */
    const float *x;        /* column 0 in tap row 0, channel 0; may lie outside the picture */
    int64_t x_h, x_w;      /* between tap rows, between columns */
    int64_t top, bottom;   /* tap rows inside the picture */
    int64_t left, right;   /* columns inside it */
    int64_t KW;
    const float *w, *b, *r, *dy;
    float *y, *dw;
    int64_t w_h, w_w, r_w, y_w; /* y_w: also of dy; w_h, w_w: also of dw */
    float lo, hi;
} strip;

INLINE vf take(int checked, const float *p, int64_t n) { return checked && n < VL ? load_n(p, n) : load(p); }

INLINE void put(int checked, float *p, vf v, int64_t n) {
    if (checked && n < VL) store_n(p, v, n);
    else store(p, v);
}

INLINE int outside(int checked, const strip *s, int64_t column) {
    return checked && (column < s->left || column >= s->right);
}

/* y[p] = clamp(b + sum over taps of x w + r), summed in the order (kh, column). */
INLINE void forward_strip(int P, int64_t KW, int S, int checked, const strip *s) {
    for (int64_t c = s->begin; c < s->end; c += VL) {
        const int64_t n = s->end - c;
        vf acc[MAX_P];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) acc[p] = s->b ? take(checked, s->b + c, n) : splat(0);
        for (int64_t kh = s->top; kh < s->bottom; kh++) {
            const float *x = s->x + kh * s->x_h + c, *w = s->w + kh * s->w_h + c;
#pragma GCC unroll 20
            for (int64_t j = 0; j < (P - 1) * S + KW; j++) {
                if (outside(checked, s, j)) continue;
                const vf v = take(checked, x + j * s->x_w, n);
#pragma GCC unroll 8
                for (int p = 0; p < P; p++)
                    if (j >= p * S && j - p * S < KW) acc[p] += v * take(checked, w + (j - p * S) * s->w_w, n);
            }
        }
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) {
            if (s->r) acc[p] += take(checked, s->r + p * s->r_w + c, n);
            put(checked, s->y + p * s->y_w + c, vmin(splat(s->hi), vmax(splat(s->lo), acc[p])), n);
        }
    }
}

/* dw += sum over the strip's pixels of x dy. */
INLINE void weights_strip(int P, int64_t KW, int S, int checked, const strip *s) {
    for (int64_t c = s->begin; c < s->end; c += VL) {
        const int64_t n = s->end - c;
        vf dy[MAX_P];
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) dy[p] = take(checked, s->dy + p * s->y_w + c, n);
        for (int64_t kh = s->top; kh < s->bottom; kh++) {
            const float *x = s->x + kh * s->x_h + c;
            float *dw = s->dw + kh * s->w_h + c;
            vf acc[MAX_KW];
#pragma GCC unroll 5
            for (int64_t kw = 0; kw < KW; kw++) acc[kw] = take(checked, dw + kw * s->w_w, n);
#pragma GCC unroll 20
            for (int64_t j = 0; j < (P - 1) * S + KW; j++) {
                if (outside(checked, s, j)) continue;
                const vf v = take(checked, x + j * s->x_w, n);
#pragma GCC unroll 8
                for (int p = 0; p < P; p++)
                    if (j >= p * S && j - p * S < KW) acc[j - p * S] += v * dy[p];
            }
#pragma GCC unroll 5
            for (int64_t kw = 0; kw < KW; kw++) put(checked, dw + kw * s->w_w, acc[kw], n);
        }
    }
}

/* The same for one pixel and any kernel. */
static void forward_any(const strip *s) { forward_strip(1, s->KW, 1, 1, s); }

static void weights_any(const strip *s) {
    for (int64_t c = s->begin; c < s->end; c += VL) {
        const int64_t n = s->end - c;
        const vf dy = take(1, s->dy + c, n);
        for (int64_t kh = s->top; kh < s->bottom; kh++)
            for (int64_t kw = s->left; kw < s->right; kw++) {
                float *dw = s->dw + kh * s->w_h + kw * s->w_w + c;
                put(1, dw, take(1, dw, n) + take(1, s->x + kh * s->x_h + kw * s->x_w + c, n) * dy, n);
            }
    }
}

typedef void (*strip_fn)(const strip *);
enum { SIZES = 4 };
static const int sizes[SIZES] = {MAX_P, 4, 2, 1}; /* P; pictures of 224 pixels shrink to multiples of 7 */

typedef struct {
    int64_t KW, stride;
    strip_fn inside[SIZES], checked[SIZES];
} kind;

#define STRIP(pass, p, kw, s)                                                                                \
    static void pass##_##p##_##kw##_##s(const strip *t) { pass##_strip(p, kw, s, 0, t); }                    \
    static void pass##_##p##_##kw##_##s##_checked(const strip *t) { pass##_strip(p, kw, s, 1, t); }
#define KIND(pass, kw, s) STRIP(pass, 7, kw, s) STRIP(pass, 4, kw, s) STRIP(pass, 2, kw, s) STRIP(pass, 1, kw, s)
#define ROW(pass, kw, s)                                                                                     \
    {kw, s,                                                                                                  \
     {pass##_7_##kw##_##s, pass##_4_##kw##_##s, pass##_2_##kw##_##s, pass##_1_##kw##_##s},                   \
     {pass##_7_##kw##_##s##_checked, pass##_4_##kw##_##s##_checked, pass##_2_##kw##_##s##_checked,           \
      pass##_1_##kw##_##s##_checked}}

/* 1 and 2 taps are phases of a stride of 2 in backward_data. */
KIND(forward, 1, 1) KIND(forward, 2, 1) KIND(forward, 3, 1) KIND(forward, 5, 1) KIND(forward, 3, 2) KIND(forward, 5, 2)
static const kind forward_kinds[] = {ROW(forward, 1, 1), ROW(forward, 2, 1), ROW(forward, 3, 1), ROW(forward, 5, 1),
                                     ROW(forward, 3, 2), ROW(forward, 5, 2), {0}};
static const kind forward_other = {0, 0, {0, 0, 0, forward_any}, {0, 0, 0, forward_any}};

KIND(weights, 3, 1) KIND(weights, 5, 1) KIND(weights, 3, 2) KIND(weights, 5, 2)
static const kind weights_kinds[] = {ROW(weights, 3, 1), ROW(weights, 5, 1), ROW(weights, 3, 2), ROW(weights, 5, 2), {0}};
static const kind weights_other = {0, 0, {0, 0, 0, weights_any}, {0, 0, 0, weights_any}};

static const kind *find(const kind *kinds, const kind *other, int64_t KW, int64_t stride, int64_t dilation) {
    for (; kinds->KW; kinds++)
        if (kinds->KW == KW && kinds->stride == stride && dilation == 1) return kinds;
    return other;
}

/* Of positions first, first + step, ...: those inside [0, size). */
INLINE range inside(int64_t first, int64_t step, int64_t count, int64_t size) {
    const int64_t begin = first < 0 ? ceil_div(-first, step) : 0;
    const int64_t end = size > first ? min64(count, ceil_div(size - first, step)) : 0;
    return (range){min64(begin, end), end};
}

typedef struct {
    int64_t W, OW, stride, pad, dilation;
} row_geometry;

/* All strips of one output row. s: of the row, with x at input column 0; its y, r, dy at output column 0. */
static void walk_row(const kind *k, strip s, row_geometry g) {
    const int64_t x_w = s.x_w, begin = s.begin, end = s.end, whole = begin + (end - begin) / VL * VL;
    const float *x = s.x;
    s.x_w *= g.dilation;
    for (int64_t ow = 0, P; ow < g.OW; ow += P) {
        int i = 0;
        while (sizes[i] > g.OW - ow || !k->inside[i]) i++;
        P = sizes[i];
        const int64_t w0 = ow * g.stride - g.pad, columns = (P - 1) * g.stride + s.KW;
        const range in = inside(w0, g.dilation, columns, g.W);
        s.x = x + w0 * x_w;
        s.left = in.begin;
        s.right = in.end;
        const int edge = in.begin > 0 || in.end < columns;
        s.begin = begin;
        s.end = whole;
        if (begin < whole) (edge ? k->checked : k->inside)[i](&s);
        s.begin = whole;
        s.end = end;
        if (whole < end) k->checked[i](&s);
        if (s.y) s.y += P * s.y_w;
        if (s.r) s.r += P * s.r_w;
        if (s.dy) s.dy += P * s.y_w;
    }
}

/* y = clamp(conv(x, w) + b + r, lo, hi).
 * x (N, C, H, W), r (like y, or NULL) and y (N, C, OH, OW) channels-last; w (KH, KW, C), channels side by side, any other
 * strides; b (C) or NULL. Work items: blocks of rows x channels of an image. y may be r. */
DEFINE(depthwise_forward) {
    const kind *k = find(forward_kinds, &forward_other, a->KW, a->stride[1], a->dilation[1]);
    const int64_t nr = ceil_div(a->OH, a->rows), nc = ceil_div(a->C, a->channels);
    const row_geometry g = {a->W, a->OW, a->stride[1], a->pad[1], a->dilation[1]};
    const range mine = share(a->N * nr * nc, tid, nthreads);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t c = item % nc * a->channels, row = item / nc % nr * a->rows, n = item / nc / nr;
        for (int64_t oh = row; oh < min64(a->OH, row + a->rows); oh++) {
            const int64_t h0 = oh * a->stride[0] - a->pad[0];
            const range taps = inside(h0, a->dilation[0], a->KH, a->H);
            walk_row(k, (strip){
                .begin = c, .end = min64(a->C, c + a->channels),
                .x = a->x + n * a->x_s[0] + h0 * a->x_s[1], .x_h = a->dilation[0] * a->x_s[1], .x_w = a->x_s[2],
                .top = taps.begin, .bottom = taps.end, .KW = a->KW,
                .w = a->w, .w_h = a->w_s[0], .w_w = a->w_s[1], .b = a->b,
                .r = a->r ? a->r + n * a->r_s[0] + oh * a->r_s[1] : 0, .r_w = a->r_s[2],
                .y = a->y + n * a->y_s[0] + oh * a->y_s[1], .y_w = a->y_s[2],
                .lo = (float)a->lo, .hi = (float)a->hi}, g);
        }
    }
}

/* slabs[s] = sum over the s-th share of the N * OH output rows of x dy, (KH, KW, C) each: work items are slabs times
 * blocks of channels, so that the order of summation does not depend on the threads. */
DEFINE(depthwise_backward_weights) {
    const kind *k = find(weights_kinds, &weights_other, a->KW, a->stride[1], a->dilation[1]);
    const int64_t nc = ceil_div(a->C, a->channels), size = a->KH * a->KW * a->C;
    const row_geometry g = {a->W, a->OW, a->stride[1], a->pad[1], a->dilation[1]};
    const range mine = share(a->slabs * nc, tid, nthreads);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t slab = item / nc, c = item % nc * a->channels, end = min64(a->C, c + a->channels);
        const range rows = share(a->N * a->OH, (int)slab, (int)a->slabs);
        float *dw = a->dw + slab * size;
        for (int64_t tap = 0; tap < a->KH * a->KW; tap++)
            memset(dw + tap * a->C + c, 0, (size_t)(end - c) * sizeof *dw);
        for (int64_t i = rows.begin; i < rows.end; i++) {
            const int64_t n = i / a->OH, oh = i % a->OH, h0 = oh * a->stride[0] - a->pad[0];
            const range taps = inside(h0, a->dilation[0], a->KH, a->H);
            walk_row(k, (strip){
                .begin = c, .end = end,
                .x = a->x + n * a->x_s[0] + h0 * a->x_s[1], .x_h = a->dilation[0] * a->x_s[1], .x_w = a->x_s[2],
                .top = taps.begin, .bottom = taps.end, .KW = a->KW,
                .dw = dw, .w_h = a->KW * a->C, .w_w = a->C,
                .dy = a->dy + n * a->dy_s[0] + oh * a->dy_s[1], .y_w = a->dy_s[2]}, g);
        }
    }
}

/* dw[c][kh][kw] = the sum of the slabs, in their order. */
DEFINE(depthwise_sum_slabs) {
    const int64_t size = a->KH * a->KW * a->C;
    const range mine = share(a->C, tid, nthreads);
    for (int64_t c = mine.begin; c < mine.end; c++)
        for (int64_t kh = 0; kh < a->KH; kh++)
            for (int64_t kw = 0; kw < a->KW; kw++) {
                const float *slab = a->slabs + (kh * a->KW + kw) * a->C + c;
                float sum = 0;
                for (int64_t s = 0; s < a->count; s++) sum += slab[s * size];
                a->dw[c * a->dw_s[0] + kh * a->dw_s[1] + kw * a->dw_s[2]] = sum;
            }
}
