/* Register tiles of the matrix products inside convolutions: pixels x output channels (tile), and sums of outer products of
 * pixels (outer_tile). Everything that convolves is made of these two.
 *
 * Packed weights: panels of NR output channels, the last padded with zeros; in a panel, NR floats per step of the sum. */
#ifndef EDGECNN_TILE_H
#define EDGECNN_TILE_H
#include "simd.h"

/* Where the taps of an output pixel lie relative to it: KH rows, in each `taps` runs of `run` contiguous floats. */
typedef struct {
    int64_t KH, taps, run;
    int64_t h, w;        /* distance between tap rows, between runs of a row */
    int64_t pixel;       /* distance between the inputs of neighbouring output pixels */
    int64_t fetch, part; /* how far `next` walks per step, from tile to tile */
} tap_grid;

/* The outputs of a panel: what is done with the sums, and where neighbouring pixels lie; cold: not in the cache, so that their
 * lines are fetched. */
typedef struct {
    const float *b; /* or NULL */
    int64_t nc;     /* channels that exist */
    int64_t y_w, r_w;
    float lo, hi;
    int cold;
} tile_out;

/* The first of neighbouring pixels in a row: its input, its output, and the residual added before the clamp, or NULL. */
typedef struct {
    const float *x;
    float *y;
    const float *r;
} tile_row;

/* n floats or a few more, an odd number of cache lines: what lies so far apart falls into different sets of a cache. */
INLINE int64_t odd_lines(int64_t n) { return (ceil_div(n, LINE) | 1) * LINE; }

enum { AHEAD = 8 };  /* steps that the weights of the present panel are fetched into L1 ahead: +4 % on AVX-512 */

/* Base registers for the inputs of a tile. Where there is one for each pixel, a tile may go on in the next row after any
 * pixel (ANYWHERE). On AVX-512 five pixels hang on one, since x86 addresses scale by 1, 2, 4: a base, a stride and its
 * triple; left alone, gcc keeps a register per pixel and spills half of them in the inner loop. MOVING: they go along with
 * the steps, which AVX2 and SSE count in a register that they add for nothing. */
enum { ANYWHERE = MR <= 8, PER_BASE = ANYWHERE ? 1 : 5, OF_ROW = (MR + PER_BASE - 1) / PER_BASE,
       BASES = ANYWHERE ? MR : 2 * OF_ROW, MOVING = LANEWISE || !ANYWHERE };

INLINE void move(const float **base, int mr, int steps) {
#pragma GCC unroll 8
    for (int i = 0; i < (ANYWHERE ? mr : BASES) && MOVING; i++) {
        const float *p = base[i];
        STEP(p, steps); /* of a copy: an element might stay in memory */
        base[i] = p;
    }
}

/* y = clamp(sums + r) of a tile; full: all its channels exist, residual: there is an r. Spilled addresses would cost more than
 * elsewhere: they fill the queue of stores, which holds up the next tile (Zen 4: 64 places, of which a vector of 16 floats takes
 * two). */
INLINE void finish_as(int mr, int nv, int split, vf acc[MR][NV], tile_row row, tile_row other, const tile_out *o, int full,
                      int residual) {
    const vf lo = splat(o->lo), hi = splat(o->hi);
    const int64_t nc = o->nc, y_w = o->y_w, r_w = o->r_w; /* what is stored cannot change copies */
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        if (i == split) row = other;
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            const int64_t n = nc - j * VL;
            const float *r = row.r + j * VL;
            float *y = row.y + j * VL;
            if (full || n >= VL) {
                const vf v = residual ? acc[i][j] + load(r) : acc[i][j];
                store(y, vmin(hi, vmax(lo, v)));
            } else if (n > 0) {
                const vf v = residual ? acc[i][j] + load_n(r, n) : acc[i][j];
                store_n(y, vmin(hi, vmax(lo, v)), n);
            }
        }
        STEP(row.y, y_w);
        if (residual) STEP(row.r, r_w);
    }
}

INLINE void finish(int mr, int nv, int split, vf acc[MR][NV], tile_row row, tile_row other, const tile_out *o) {
    if (o->nc >= nv * VL && !row.r) finish_as(mr, nv, split, acc, row, other, o, 1, 0);
    else if (o->nc >= nv * VL) finish_as(mr, nv, split, acc, row, other, o, 1, 1);
    else if (!row.r) finish_as(mr, nv, split, acc, row, other, o, 0, 0);
    else finish_as(mr, nv, split, acc, row, other, o, 0, 1);
}

/* Fetches the lines of y and r into the L2, where they arrive while the sums grow: stores would wait for them one by one, and
 * the L1 has better use for its places and can wait for few lines at a time (1x1, 64 to 256 channels of 8 pictures of 56x56
 * on Zen 4: 75 GFLOP/s without, 79 into the L1, 96 into the L2). */
INLINE void fetch_out(int mr, int nv, int split, tile_row row, tile_row other, const tile_out *o) {
    const int residual = row.r && row.r != row.y;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        if (i == split) row = other;
#pragma GCC unroll 2
        for (int l = 0; l < nv * VL; l += LINE) {
            __builtin_prefetch(row.y + l, 1, 2);
            if (residual) __builtin_prefetch(row.r + l, 0, 2);
        }
        STEP(row.y, o->y_w);
        if (residual) STEP(row.r, o->r_w);
    }
}

/* `next` walks over what is wanted soon, mostly weights, a share of the next panel for each tile of the present one: their
 * first use would else wait for memory (7x7x512: 87 GFLOP/s without, 130 with).
 *
 * y[i][oc] = clamp(b[oc] + sum_taps x[i][tap] w[tap][oc] + r[i][oc]) for mr pixels and the nc <= nv*VL channels of a
 * panel. The pixels from `split` on are those of the other row. */
INLINE void tile(int mr, int nv, int split, tile_row row, tile_row other, const tap_grid *g, const float *w,
                 const float *next, const tile_out *o) {
    vf acc[MR][NV];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) acc[i][j] = o->b ? load(o->b + j * VL) : splat(0);
    if (o->cold) fetch_out(mr, nv, split, row, other, o);
    for (int64_t kh = 0; kh < g->KH; kh++)
        for (int64_t t = 0; t < g->taps; t++) {
            OPAQUE(g);
            const int64_t xs = g->pixel;
            const float *base[BASES]; /* of the first row, of the other; ANYWHERE: of each pixel */
#pragma GCC unroll 16
            for (int i = 0; i < (ANYWHERE ? mr : BASES); i++) {
                const int beyond = ANYWHERE ? i >= split : i >= OF_ROW;
                const int64_t px = ANYWHERE ? i - beyond * split : i % OF_ROW * PER_BASE;
                const float *x = (beyond ? other.x : row.x) + px * xs + kh * g->h + t * g->w;
                OPAQUE(x);
                base[i] = x;
            }
            int64_t k = 0;
            /* Four steps at once: a vector of inputs per pixel, each lane multiplied by itself, in the order of the steps
             * below. 0.18 instructions per FLOP instead of 0.30. */
            for (; LANEWISE && k + VL <= g->run; k += VL, w += VL * NR, next += VL * g->fetch) {
                vf xv[MR];
#pragma GCC unroll 16
                for (int i = 0; i < mr; i++) xv[i] = load(base[i]);
#pragma GCC unroll 2
                for (int l = 0; l < 2; l++) {
                    __builtin_prefetch(next + l * VL / 2 * g->fetch, 0, 2);
                    __builtin_prefetch(w + AHEAD * NR + l * LINE, 0, 3);
                }
#pragma GCC unroll 4
                for (int l = 0; l < VL; l++) {
                    __asm__("" : "+r"(w) : : "memory"); /* else gcc loads all weights first and spills accumulators */
                    vf wv[NV];
#pragma GCC unroll 2
                    for (int j = 0; j < nv; j++) wv[j] = load(w + l * NR + j * VL);
#pragma GCC unroll 16
                    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
                        for (int j = 0; j < nv; j++) acc[i][j] += wv[j] * xv[i][l];
                }
                move(base, mr, VL);
            }
            for (; k < g->run; k++, w += NR, next += g->fetch) {
                if (nv > 1) { /* else weights are few, and fetching would take a sixth of all loads */
                    __builtin_prefetch(next, 0, 2);
#pragma GCC unroll 2
                    for (int l = 0; l < nv * VL; l += LINE) __builtin_prefetch(w + AHEAD * NR + l, 0, 3);
                }
                vf wv[NV];
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) wv[j] = load(w + j * VL);
#pragma GCC unroll 16
                for (int i = 0; i < mr; i++) {
                    const int px = i < split ? i : i - split, first = i < split ? 0 : OF_ROW;
                    const float s = ANYWHERE ? base[i][MOVING ? 0 : k] : base[first + px / PER_BASE][px % PER_BASE * xs];
#pragma GCC unroll 2
                    for (int j = 0; j < nv; j++) acc[i][j] += wv[j] * s;
                }
                if (!MOVING) OPAQUE(k); /* else gcc moves them nevertheless */
                move(base, mr, 1);
            }
        }
    finish(mr, nv, split, acc, row, other, o);
}

/* `count` tiles side by side: each function call of its own would store its registers, as what g and o say would be if it were
 * not read again for each tile. */
INLINE void row_of_tiles(int mr, int nv, int count, tile_row row, const tap_grid *g, const float *w, const float *next,
                         const tile_out *o) {
    for (; count; count--, next += g->part) {
        OPAQUE(g);
        OPAQUE(o);
        tile(mr, nv, mr, row, row, g, w, next, o);
        row.x += mr * g->pixel;
        row.y += mr * o->y_w;
        if (row.r) row.r += mr * o->r_w;
    }
}

/* So many tiles in the first row, or one that goes on in the second after so many pixels. */
typedef void (*tile_fn)(int, const tile_row *, const tap_grid *, const float *w, const float *next, const tile_out *);

/* tile_PIXELS_VECTORS: one function per height and width of a tile. */
#define TILE_AS(m, v)                                                                                                  \
    static void tile_##m##_##v(int count, const tile_row *rows, const tap_grid *g, const float *w, const float *next,  \
                               const tile_out *o) {                                                                    \
        row_of_tiles(m, v, count, rows[0], g, w, next, o);                                                             \
    }
#define TILE(m) TILE_AS(m, 1) TILE_AS(m, 2)
#define NAMES(m) [m] = {tile_##m##_1, tile_##m##_2}
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if defined(__AVX512F__) || defined(__aarch64__)
TILE(7) TILE(8)
#endif
#if defined(__AVX512F__)
TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)
#endif

static const tile_fn tiles[MR + 1][2] = {
    NAMES(1), NAMES(2), NAMES(3), NAMES(4), NAMES(5), NAMES(6),
#if defined(__AVX512F__) || defined(__aarch64__)
    NAMES(7), NAMES(8),
#endif
#if defined(__AVX512F__)
    NAMES(9), NAMES(10), NAMES(11), NAMES(12), NAMES(13), NAMES(14),
#endif
};

/* dw[k0..k0+mk][oc..oc+nc] += sum over a block's output pixels of x[pixel][k] dy[pixel][oc]: an outer product per pixel,
 * accumulated in registers. x points at run position k0 of the block's first pixel. */
typedef struct {
    int64_t images, rows, cols;
    int64_t x_n, x_h, x_w;    /* distance between the inputs of neighbouring output images, rows, pixels */
    int64_t dy_n, dy_h, dy_w;
    int64_t x_tap;            /* from a tap row to the next, for tiles of two */
} pixels;

/* Two vectors of which the second is not whole overlap: lanes that both hold are summed and stored twice. The rows of dw
 * from `split` on belong to the next tap row. */
INLINE void outer_tile(int mk, int split, int nv, int tail, const float *x, const float *dy, const pixels *p, float *dw,
                       int64_t nc, int first) {
    const int lanewise = LANEWISE && split == mk ? mk / VL : 0; /* vectors of x whose lanes are taken one by one */
    const int64_t at[NV] = {0, min64(VL, nc - VL)}; /* of the vectors */
    vf acc[MR][NV];
#pragma GCC unroll 16
    for (int i = 0; i < mk; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) acc[i][j] = first ? splat(0) : load(dw + i * NR + at[j]);
    for (int64_t n = 0; n < p->images; n++)
        for (int64_t h = 0; h < p->rows; h++) {
            OPAQUE(p);
            const float *xp = x + n * p->x_n + h * p->x_h, *dp = dy + n * p->dy_n + h * p->dy_h;
            for (int64_t c = 0; c < p->cols; c++, xp += p->x_w, dp += p->dy_w) {
                vf d[NV], lanes[MR / VL + 1]; /* of xp, as many as are whole vectors */
#pragma GCC unroll 4
                for (int l = 0; l < lanewise; l++) lanes[l] = load(xp + l * VL);
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) d[j] = tail ? load_n(dp, nc) : load(dp + at[j]);
#pragma GCC unroll 16
                for (int i = 0; i < mk; i++) {
                    const float *at_i = i < split ? xp + i : xp + p->x_tap + i - split;
                    const float s = i < lanewise * VL ? lanes[i / VL][i % VL] : *at_i;
#pragma GCC unroll 2
                    for (int j = 0; j < nv; j++) acc[i][j] += d[j] * s;
                }
            }
        }
    OPAQUE(dw); /* else gcc computes the addresses before the sums, and again spills beside stores */
    OPAQUE(nc);
    const int64_t to[NV] = {0, min64(VL, nc - VL)};
#pragma GCC unroll 16
    for (int i = 0; i < mk; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) store(dw + i * NR + to[j], acc[i][j]);
}

/* Of one vector that is whole, of one that is not, of two. */
enum { ONE, PART, TWO, WIDTHS };
INLINE int outer_width(int64_t nc) { return nc > VL ? TWO : nc == VL ? ONE : PART; }

typedef void (*outer_fn)(const float *, const float *, const pixels *, float *, int64_t, int);
#define OUTER_AS(name, m, split, nv, tail)                                                                           \
    static void name(const float *x, const float *dy, const pixels *p, float *dw, int64_t nc, int first) {           \
        outer_tile(m, split, nv, tail, x, dy, p, dw, nc, first);                                                     \
    }
#define OUTER(m)                                                                                                     \
    OUTER_AS(outer_##m##_ONE, m, m, 1, 0) OUTER_AS(outer_##m##_PART, m, m, 1, 1) OUTER_AS(outer_##m##_TWO, m, m, 2, 0)
#define OUTER_NAMES(m) [m] = {outer_##m##_ONE, outer_##m##_PART, outer_##m##_TWO}
OUTER(1) OUTER(2) OUTER(3) OUTER(4) OUTER(5) OUTER(6)
#if defined(__AVX512F__) || defined(__aarch64__)
OUTER(7) OUTER(8)
#endif
#if defined(__AVX512F__)
OUTER(9) OUTER(10) OUTER(11) OUTER(12) OUTER(13) OUTER(14)
#endif
static const outer_fn outers[MR + 1][WIDTHS] = {
    OUTER_NAMES(1), OUTER_NAMES(2), OUTER_NAMES(3), OUTER_NAMES(4), OUTER_NAMES(5), OUTER_NAMES(6),
#if defined(__AVX512F__) || defined(__aarch64__)
    OUTER_NAMES(7), OUTER_NAMES(8),
#endif
#if defined(__AVX512F__)
    OUTER_NAMES(9), OUTER_NAMES(10), OUTER_NAMES(11), OUTER_NAMES(12), OUTER_NAMES(13), OUTER_NAMES(14),
#endif
};
#endif
