/* Depthwise convolution of channels-last images: every channel has its own KH x KW filter.
 *
 * A strip of P neighbouring output pixels is computed for one vector of channels after the other: memory is
 * read in the order it lies, and a loaded input column serves all the taps that fall on it. P, KW and stride
 * are compile-time constants for the common kernels; any other kernel is a strip of one pixel, KW columns.
 * No padding is copied: tap rows outside the picture are left out of the loop, and strips that hang over its
 * left or right edge take a variant that checks each column. */
#include "simd.h"

/* Of the compile-time kinds. The gradient of the weights takes WEIGHTS_P pixels (of 7 gcc spills on NEON) and up to
 * MAX_ROWS tap rows at a time, in strips of up to LONGEST pixels, so that memory is still read about in order. */
enum { MAX_P = 7, MAX_KW = 5, WEIGHTS_P = DV > 1 ? 5 : 7, LONGEST = 2 * WEIGHTS_P, MAX_ROWS = 3 };
enum { SOON = 28 }; /* output pixels, and twice as many with a stride of 2 */
enum { MAX_COLUMNS = (WEIGHTS_P - 1) * 2 + MAX_KW, PER_BASE = 4, TURNS = LANEWISE };

/* P output pixels and the columns of input below them; column p * stride + kw is tap kw of pixel p. */
typedef struct {
    int64_t begin, end;    /* channels */
    const float *x;        /* column 0 in tap row 0, channel 0; may lie outside the picture */
    int64_t x_h, x_w;      /* between tap rows, between columns */
    int64_t top, bottom;   /* tap rows inside the picture */
    int64_t left, right;   /* columns inside it */
    int64_t KW, pixels;
    const float *w, *b, *r, *dy;
    float *y, *dw;
    int64_t w_h, w_w, r_w, y_w; /* y_w: also of dy; w_h, w_w: also of dw */
    float lo, hi;
    int cold;              /* x, y and dy do not lie in the cache */
} strip;

/* Variants of a strip: every column inside the picture; a check of each; that check and a partial vector. */
enum { INSIDE, EDGE, TAIL, VARIANTS };

INLINE vf take(int variant, const float *p, int64_t n) { return variant == TAIL ? load_n(p, n) : load(p); }

INLINE void give(int variant, float *p, vf v, int64_t n) {
    if (variant == TAIL) store_n(p, v, n);
    else store(p, v);
}

INLINE int outside(int variant, const strip *s, int64_t column) {
    return variant != INSIDE && (column < s->left || column >= s->right);
}

/* Fetches into the L2, for a vector of channels, P pixels that come a little later: those of y or dy, and the S rows of x that
 * no strip above has read. The hardware does not, of so many short runs (3x3, 144 channels of 8 pictures of 56x56 on Zen 4: 3.5
 * ms without, 1.5 with; its gradient of the weights 3.5 and 1.1). */
INLINE void fetch_soon(int P, int S, const strip *s, const float *y, int64_t c) {
#pragma GCC unroll 8
    for (int64_t p = 0; p < P; p++) __builtin_prefetch(y + (SOON * S + p) * s->y_w + c, 0, 2);
    for (int64_t kh = max64(s->top, s->bottom - S); kh < s->bottom; kh++)
#pragma GCC unroll 16
        for (int64_t j = 0; j < P * S; j++)
            __builtin_prefetch(s->x + kh * s->x_h + (SOON * S * S + j) * s->x_w + c, 0, 2);
}

/* at = first + i * step, from (i - 1) * step where there are too few registers for all of these (x86): gcc would spill them. */
enum { WALKS = DV == 1 };
#define MOVE(at, first, i, step)                                                                             \
    do {                                                                                                     \
        if (WALKS && (i)) STEP(at, step);                                                                    \
        else (at) = (first) + (i) * (step);                                                                  \
    } while (0)

/* y[p] = clamp(b + sum over taps of x w + r) for nv vectors of channels from c on, summed in the order (kh, column). */
INLINE void forward_channels(int P, int64_t KW, int S, int variant, int nv, const strip *s, int64_t c) {
    const vf lo = splat(s->lo), hi = splat(s->hi);
    const int64_t n = s->end - c, columns = (P - 1) * S + KW, pause = P == 7 ? columns / 2 : P == 6 && KW == 5 ? 8 : -1;
    vf acc[MAX_P][DV];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++)
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++) acc[p][i] = s->b ? take(variant, s->b + c + i * VL, n) : splat(0);
    for (int64_t kh = s->top; kh < s->bottom; kh++) {
        const float *x = 0, *w = s->w + kh * s->w_h + c;
#pragma GCC unroll 20
        for (int64_t j = 0; j < columns; j++) {
            if (DV > 1 && j == pause)
                __asm__("" : : : "memory"); /* else gcc loads all columns first and runs out of registers */
            MOVE(x, s->x + kh * s->x_h + c, j, s->x_w);
            if (outside(variant, s, j)) continue;
#pragma GCC unroll 2
            for (int i = 0; i < nv; i++) {
                vf v = take(variant, x + i * VL, n);
                if (WALKS) IN_REGISTER(v); /* x86 could multiply by memory, but would load it for each product */
#pragma GCC unroll 8
                for (int p = 0; p < P; p++) {
                    const int64_t kw = j - p * S;
                    if (kw >= 0 && kw < KW) acc[p][i] += v * take(variant, w + kw * s->w_w + i * VL, n);
                }
            }
        }
    }
    float *y = 0;
    const float *r = 0;
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
        MOVE(y, s->y + c, p, s->y_w);
        if (s->r) MOVE(r, s->r + c, p, s->r_w);
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++) {
            if (s->r) acc[p][i] += take(variant, r + i * VL, n);
            give(variant, y + i * VL, vmin(hi, vmax(lo, acc[p][i])), n);
        }
    }
}

/* All channels of a strip, DV vectors at a time while there are so many. */
INLINE void forward(int P, int64_t KW, int S, int variant, const strip *shared) {
    const strip local = *shared, *s = &local; /* nothing that is stored to can be part of it */
    int64_t c = s->begin;
    if (DV > 1 && variant != TAIL)
        for (; c + DV * VL <= s->end; c += DV * VL) forward_channels(P, KW, S, variant, DV, s, c);
    for (; c < s->end; c += VL) {
        if (s->cold) fetch_soon(P, S, s, s->y, c);
        forward_channels(P, KW, S, variant, 1, s, c);
    }
}

/* sums[r][kw] += x dy of P pixels, whose x begins at a column of the strip, for a vector of channels and `rows` tap rows. On
 * NEON, loads of the next column take turns with products: most loads there are two operations, and only one fits into the
 * three that a Cortex-A72 dispatches in a cycle. x86 multiplies by what lies in memory. */
INLINE void outer_products(int P, int rows, int64_t KW, int S, int variant, const strip *s, int64_t column, const float *x,
                           const float *dy, int64_t n, vf sums[MAX_ROWS][MAX_KW]) {
    const int64_t columns = (P - 1) * S + KW;
    vf d[WEIGHTS_P], v[MAX_ROWS] = {{0}};
    const float *base[(MAX_COLUMNS + PER_BASE - 1) / PER_BASE]; /* so few addresses that registers hold them */
#pragma GCC unroll 5
    for (int64_t i = 0; i * PER_BASE < columns; i++) {
        base[i] = x + i * PER_BASE * s->x_w;
        if (S > 1) OPAQUE(base[i]);
    }
#pragma GCC unroll 20
    for (int64_t j = -TURNS; j < columns; j++) {
        const int64_t next = j + TURNS, pixel = next / S;
        if (next % S == 0 && pixel < P) d[pixel] = take(variant, dy + pixel * s->y_w, n);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const vf before = v[r];
            if (next < columns && !outside(variant, s, column + next))
                v[r] = take(variant, base[next / PER_BASE] + r * s->x_h + next % PER_BASE * s->x_w, n);
            if (j < 0 || outside(variant, s, column + j)) continue;
            const vf now = TURNS ? before : v[r];
#pragma GCC unroll 8
            for (int p = 0; p < P; p++) {
                const int64_t kw = j - p * S;
                if (kw < 0 || kw >= KW) continue;
                sums[r][kw] += now * d[p];
                IN_TURN(sums[r][kw]);
            }
        }
    }
}

/* dw += sum over the strip's pixels of x dy for tap rows from kh on and a vector of channels from c on: the sums stay in
 * registers for the whole strip, and of one tap row alone they would wait for each other. */
INLINE void weights_rows(int rows, int64_t KW, int S, int variant, const strip *s, int64_t kh, int64_t c) {
    const int64_t n = s->end - c;
    const float *x = s->x + kh * s->x_h + c, *dy = s->dy + c;
    float *dw = s->dw + kh * s->w_h + c;
    vf sums[MAX_ROWS][MAX_KW];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 5
        for (int64_t kw = 0; kw < KW; kw++) sums[r][kw] = take(variant, dw + r * s->w_h + kw * s->w_w, n);
    int64_t p = 0;
    for (; p + WEIGHTS_P <= s->pixels; p += WEIGHTS_P, x += WEIGHTS_P * S * s->x_w, dy += WEIGHTS_P * s->y_w)
        outer_products(WEIGHTS_P, rows, KW, S, variant, s, p * S, x, dy, n, sums);
    for (; p < s->pixels; p++, x += S * s->x_w, dy += s->y_w)
        outer_products(1, rows, KW, S, variant, s, p * S, x, dy, n, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 5
        for (int64_t kw = 0; kw < KW; kw++) give(variant, dw + r * s->w_h + kw * s->w_w, sums[r][kw], n);
}

/* All channels of a strip of any number of pixels. */
INLINE void weights(int64_t KW, int S, int variant, const strip *shared) {
    const strip local = *shared, *s = &local;
    const int rows = KW == 3 ? 3 : 2;
    for (int64_t c = s->begin; c < s->end; c += VL) {
        int64_t kh = s->top;
        if (s->cold) fetch_soon(LONGEST, S, s, s->dy, c);
        for (; kh + rows <= s->bottom; kh += rows) weights_rows(rows, KW, S, variant, s, kh, c);
        for (; kh < s->bottom; kh++) weights_rows(1, KW, S, variant, s, kh, c);
    }
}

/* dw += x dy of one pixel, for any kernel. */
INLINE void weights_any(int variant, const strip *shared) {
    const strip local = *shared, *s = &local;
    for (int64_t c = s->begin; c < s->end; c += VL) {
        const int64_t n = s->end - c;
        const vf dy = take(variant, s->dy + c, n);
        for (int64_t kh = s->top; kh < s->bottom; kh++)
            for (int64_t kw = s->left; kw < s->right; kw++) {
                const float *x = s->x + kh * s->x_h + kw * s->x_w + c;
                float *dw = s->dw + kh * s->w_h + kw * s->w_w + c;
                give(variant, dw, take(variant, dw, n) + take(variant, x, n) * dy, n);
            }
    }
}

typedef void (*strip_fn)(const strip *);
enum { SIZES = 4 };
static const int sizes[SIZES] = {MAX_P, 6, 2, 1}; /* P; pictures of 224 pixels shrink to multiples of 7 */

typedef struct {
    int64_t KW, stride;
    int64_t longest; /* if not 0, the last of `run` takes any number of pixels up to this */
    strip_fn run[SIZES][VARIANTS];
} kind;

#define FORWARD(p, kw, s, v)                                                                                 \
    static void forward_##p##_##kw##_##s##_##v(const strip *t) { forward(p, kw, s, v, t); }
#define FORWARD_VARIANTS(p, kw, s)                                                                           \
    FORWARD(p, kw, s, INSIDE) FORWARD(p, kw, s, EDGE) FORWARD(p, kw, s, TAIL)
#define FORWARD_KIND(kw, s)                                                                                  \
    FORWARD_VARIANTS(7, kw, s) FORWARD_VARIANTS(6, kw, s) FORWARD_VARIANTS(2, kw, s) FORWARD_VARIANTS(1, kw, s)
#define NAMES(p, kw, s)                                                                                      \
    {forward_##p##_##kw##_##s##_INSIDE, forward_##p##_##kw##_##s##_EDGE, forward_##p##_##kw##_##s##_TAIL}
#define FORWARD_ROW(kw, s) {kw, s, 0, {NAMES(7, kw, s), NAMES(6, kw, s), NAMES(2, kw, s), NAMES(1, kw, s)}}

/* 1 and 2 taps are phases of a stride of 2 in backward_data. */
FORWARD_KIND(1, 1) FORWARD_KIND(2, 1) FORWARD_KIND(3, 1) FORWARD_KIND(5, 1) FORWARD_KIND(3, 2) FORWARD_KIND(5, 2)
static void forward_whole(const strip *s) { forward(1, s->KW, 1, EDGE, s); }
static void forward_tail(const strip *s) { forward(1, s->KW, 1, TAIL, s); }
static const kind forward_kinds[] = {
    FORWARD_ROW(1, 1), FORWARD_ROW(2, 1), FORWARD_ROW(3, 1), FORWARD_ROW(5, 1), FORWARD_ROW(3, 2), FORWARD_ROW(5, 2), {0}};
static const kind forward_other = {0, 0, 0, {[SIZES - 1] = {forward_whole, forward_whole, forward_tail}}};

#define WEIGHTS(kw, s, v) static void weights_##kw##_##s##_##v(const strip *t) { weights(kw, s, v, t); }
#define WEIGHTS_KIND(kw, s) WEIGHTS(kw, s, INSIDE) WEIGHTS(kw, s, EDGE) WEIGHTS(kw, s, TAIL)
#define WEIGHTS_ROW(kw, s)                                                                                   \
    {kw, s, LONGEST, {[SIZES - 1] = {weights_##kw##_##s##_INSIDE, weights_##kw##_##s##_EDGE, weights_##kw##_##s##_TAIL}}}

WEIGHTS_KIND(3, 1) WEIGHTS_KIND(5, 1) WEIGHTS_KIND(3, 2) WEIGHTS_KIND(5, 2)
static void weights_whole(const strip *s) { weights_any(EDGE, s); }
static void weights_tail(const strip *s) { weights_any(TAIL, s); }
static const kind weights_kinds[] = {WEIGHTS_ROW(3, 1), WEIGHTS_ROW(5, 1), WEIGHTS_ROW(3, 2), WEIGHTS_ROW(5, 2), {0}};
static const kind weights_other = {0, 0, 0, {[SIZES - 1] = {weights_whole, weights_whole, weights_tail}}};

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
    for (int64_t ow = 0; ow < g.OW; ow += s.pixels) {
        int i = 0;
        while (sizes[i] > g.OW - ow || !k->run[i][INSIDE]) i++;
        s.pixels = k->longest ? min64(k->longest, g.OW - ow) : sizes[i];
        const int64_t w0 = ow * g.stride - g.pad, columns = (s.pixels - 1) * g.stride + s.KW;
        const range in = inside(w0, g.dilation, columns, g.W);
        s.x = x + w0 * x_w;
        s.left = in.begin;
        s.right = in.end;
        const int edge = in.begin > 0 || in.end < columns;
        s.begin = begin;
        s.end = whole;
        if (begin < whole) k->run[i][edge ? EDGE : INSIDE](&s);
        s.begin = whole;
        s.end = end;
        if (whole < end) k->run[i][TAIL](&s);
        if (s.y) s.y += s.pixels * s.y_w;
        if (s.r) s.r += s.pixels * s.r_w;
        if (s.dy) s.dy += s.pixels * s.y_w;
    }
}

/* y = clamp(conv(x, w) + b + r, lo, hi).
 * x (N, C, H, W), r (like y, or NULL) and y (N, C, OH, OW) channels-last; w (KH, KW, C), its channels side
 * by side; b (C) or NULL. Work items: blocks of rows x channels of an image. y may be r. */
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
                .x = a->x + n * a->x_s[0] + h0 * a->x_s[1],
                .x_h = a->dilation[0] * a->x_s[1], .x_w = a->x_s[2],
                .top = taps.begin, .bottom = taps.end, .KW = a->KW,
                .w = a->w, .w_h = a->w_s[0], .w_w = a->w_s[1], .b = a->b,
                .r = a->r ? a->r + n * a->r_s[0] + oh * a->r_s[1] : 0, .r_w = a->r_s[2],
                .y = a->y + n * a->y_s[0] + oh * a->y_s[1], .y_w = a->y_s[2],
                .lo = (float)a->lo, .hi = (float)a->hi, .cold = (int)a->cold}, g);
        }
    }
}

/* dw[s] = sum over the s-th share of the N * OH output rows of x dy, (KH, KW, C) each. Work items are slabs
 * times blocks of channels, so that the order of summation does not depend on the threads. */
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
                .x = a->x + n * a->x_s[0] + h0 * a->x_s[1],
                .x_h = a->dilation[0] * a->x_s[1], .x_w = a->x_s[2],
                .top = taps.begin, .bottom = taps.end, .KW = a->KW,
                .dw = dw, .w_h = a->KW * a->C, .w_w = a->C,
                .dy = a->dy + n * a->dy_s[0] + oh * a->dy_s[1], .y_w = a->dy_s[2], .cold = (int)a->cold}, g);
        }
    }
}

/* dw[c][kh][kw] = the sum of the slabs, in their order. Threads share vectors of channels. */
DEFINE(depthwise_sum_slabs) {
    const int64_t size = a->KH * a->KW * a->C;
    const range mine = share(ceil_div(a->C, VL), tid, nthreads);
    for (int64_t c = mine.begin * VL; c < min64(a->C, mine.end * VL); c += VL)
        for (int64_t kh = 0; kh < a->KH; kh++)
            for (int64_t kw = 0; kw < a->KW; kw++) {
                const int64_t n = min64(VL, a->C - c);
                const float *slab = a->slabs + (kh * a->KW + kw) * a->C + c;
                float *dw = a->dw + c * a->dw_s[0] + kh * a->dw_s[1] + kw * a->dw_s[2];
                vf sum = splat(0);
                for (int64_t s = 0; s < a->count; s++, slab += size)
                    sum += get(slab, n);
                for (int64_t i = 0; i < n; i++) dw[i * a->dw_s[0]] = sum[i];
            }
}
