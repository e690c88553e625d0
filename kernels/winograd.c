/* Winograd's minimal filtering for 3x3 kernels of stride 1, F(m x m, 3x3) with m = 4 or 2 (Winograd 1980; Lavin and Gray
 * 2016): an m x m tile of outputs costs (m+2)^2 products per pair of channels instead of 9 m^2: a quarter for m = 4, 4/9 for m = 2.
 *
 *     y = A^T [(G w G^T) . (B^T x B)] A        dw = G^T [(B^T x B) . (A dy A^T)] G
 *
 * with the points 0, +-sqrt(1/2), +-sqrt(2), infinity for m = 4, whose rounding errors are four times smaller than those of
 * 0, +-1, +-2, and 0, +-1, infinity for m = 2. The products of all tiles and channels are one matrix product for each of
 * the (m+2)^2 frequencies.
 *
 * A block of tiles is transformed into a thread's scratch, multiplied and transformed back before the next: nothing but x
 * and y leaves the cache. Each output is a sum in an order that depends on neither the block nor the thread. */
#include "tile.h"

enum { MAX_K = 6 };  /* m + 2 */
static const float A1 = 0.70710678f, A3 = 0.35355339f, B1 = 1.41421356f, B3 = 2.82842712f; /* sqrt(1/2), sqrt(2), cubed */

/* The five maps of one dimension; `i` and `o` are the distances between elements of the input and of the output. */

/* B^T: m + 2 inputs to m + 2 frequencies. */
INLINE void input_1d(int m, const vf *d, int i, vf *t, int o) {
    if (m == 2) {
        t[0] = d[0] - d[2 * i];
        t[o] = d[i] + d[2 * i];
        t[2 * o] = d[2 * i] - d[i];
        t[3 * o] = d[3 * i] - d[i];
        return;
    }
    const vf p = d[4 * i] - d[2 * i] * 2, q = d[3 * i] * A1 - d[i] * B1;
    const vf r = d[4 * i] - d[2 * i] * 0.5f, u = d[3 * i] * B1 - d[i] * A1;
    t[0] = d[0] - d[2 * i] * 2.5f + d[4 * i];
    t[o] = p + q;
    t[2 * o] = p - q;
    t[3 * o] = r + u;
    t[4 * o] = r - u;
    t[5 * o] = d[i] - d[3 * i] * 2.5f + d[5 * i];
}

/* A^T: frequencies to m outputs. */
INLINE void output_1d(int m, const vf *f, int i, vf *y, int o) {
    if (m == 2) {
        y[0] = f[0] + f[i] + f[2 * i];
        y[o] = f[i] - f[2 * i] + f[3 * i];
        return;
    }
    const vf s1 = f[i] + f[2 * i], d1 = f[i] - f[2 * i], s2 = f[3 * i] + f[4 * i], d2 = f[3 * i] - f[4 * i];
    y[0] = f[0] + s1 + s2;
    y[o] = d1 * A1 + d2 * B1;
    y[2 * o] = s1 * 0.5f + s2 * 2;
    y[3 * o] = d1 * A3 + d2 * B3 + f[5 * i];
}

/* A: m gradients of outputs to frequencies. */
INLINE void gradient_1d(int m, const vf *y, int i, vf *f, int o) {
    f[0] = y[0];
    f[(m + 1) * o] = y[(m - 1) * i];
    if (m == 2) {
        f[o] = y[0] + y[i];
        f[2 * o] = y[0] - y[i];
        return;
    }
    const vf e1 = y[0] + y[2 * i] * 0.5f, o1 = y[i] * A1 + y[3 * i] * A3;
    const vf e2 = y[0] + y[2 * i] * 2, o2 = y[i] * B1 + y[3 * i] * B3;
    f[o] = e1 + o1;
    f[2 * o] = e1 - o1;
    f[3 * o] = e2 + o2;
    f[4 * o] = e2 - o2;
}

/* G: 3 weights to frequencies. */
INLINE void weights_1d(int m, const vf *w, int i, vf *u, int o) {
    u[0] = w[0];
    u[(m + 1) * o] = w[2 * i];
    if (m == 2) {
        u[o] = (w[0] + w[2 * i] + w[i]) * 0.5f;
        u[2 * o] = (w[0] + w[2 * i] - w[i]) * 0.5f;
        return;
    }
    const vf e1 = w[0] * (-2.0f / 3) - w[2 * i] * (1.0f / 3), o1 = w[i] * (-B1 / 3);
    const vf e2 = w[0] * (1.0f / 6) + w[2 * i] * (1.0f / 3), o2 = w[i] * (B1 / 6);
    u[o] = e1 + o1;
    u[2 * o] = e1 - o1;
    u[3 * o] = e2 + o2;
    u[4 * o] = e2 - o2;
}

/* G^T: frequencies to 3 weights. */
INLINE void weights_back_1d(int m, const vf *u, int i, vf *w, int o) {
    const vf last = u[(m + 1) * i], s1 = u[i] + u[2 * i], d1 = u[i] - u[2 * i];
    if (m == 2) {
        w[0] = u[0] + s1 * 0.5f;
        w[o] = d1 * 0.5f;
        w[2 * o] = s1 * 0.5f + last;
        return;
    }
    const vf s2 = u[3 * i] + u[4 * i], d2 = u[3 * i] - u[4 * i];
    w[0] = u[0] - s1 * (2.0f / 3) + s2 * (1.0f / 6);
    w[o] = d2 * (B1 / 6) - d1 * (B1 / 3);
    w[2 * o] = (s2 - s1) * (1.0f / 3) + last;
}

typedef void (*map_1d)(int m, const vf *in, int i, vf *out, int o);

/* A map of columns, then of rows: `from` x `from` to `to` x `to`; v is both, rows of MAX_K. */
INLINE void map_2d(map_1d map, int m, int from, int to, vf *v) {
    vf t[MAX_K * MAX_K];
#pragma GCC unroll 6
    for (int j = 0; j < from; j++) map(m, v + j, MAX_K, t + j, MAX_K);
#pragma GCC unroll 6
    for (int i = 0; i < to; i++) map(m, t + i * MAX_K, 1, v + i * MAX_K, 1);
}

/* Tiles are counted over (n, row, column) of the output. */
typedef struct {
    int64_t rows, cols;
} tile_grid;

typedef struct {
    int64_t n, h, w;  /* image; first output row and column */
} corner;

INLINE tile_grid grid_of(int64_t m, int64_t OH, int64_t OW) { return (tile_grid){ceil_div(OH, m), ceil_div(OW, m)}; }

INLINE corner corner_of(tile_grid g, int64_t m, int64_t tile) {
    return (corner){tile / g.cols / g.rows, tile / g.cols % g.rows * m, tile % g.cols * m};
}

/* An image batch, and where a thread finds zeros for the pixels outside. */
typedef struct {
    const float *x;
    const int64_t *s; /* strides n, h, w */
    int64_t H, W;
    const float *zeros;
} picture;

/* v[frequency * step + c] = map of the size x size pixels from (h, w) on, C channels; writes whole vectors. */
INLINE void gather(map_1d map, int m, int size, picture in, int64_t n, int64_t h, int64_t w, int64_t C, float *v,
                   int64_t step) {
    const float *p[MAX_K * MAX_K];
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < size; j++) {
            const int inside = h + i >= 0 && h + i < in.H && w + j >= 0 && w + j < in.W;
            p[i * MAX_K + j] = inside ? in.x + n * in.s[0] + (h + i) * in.s[1] + (w + j) * in.s[2] : in.zeros;
        }
    for (int64_t c = 0; c < C; c += VL) {
        vf t[MAX_K * MAX_K];
        const int64_t rest = C - c;
#pragma GCC unroll 6
        for (int j = 0; j < size; j++) { /* what does not fit into registers is loaded and stored next to its use */
            vf column[MAX_K];
#pragma GCC unroll 6
            for (int i = 0; i < size; i++) {
                const float *at = p[i * MAX_K + j] + c;
                column[i] = rest >= VL ? load(at) : load_n(at, rest);
                if (j >= size - m) __builtin_prefetch(at + m * in.s[2], 0, 2); /* of the next tile */
            }
            map(m, column, 1, t + j, MAX_K);
        }
        float *to = v + c;
#pragma GCC unroll 6
        for (int i = 0; i < m + 2; i++) {
            vf row[MAX_K];
            map(m, t + i * MAX_K, 1, row, 1);
#pragma GCC unroll 6
            for (int j = 0; j < m + 2; j++) {
                store(to, row[j]);
                __builtin_prefetch(to + VL, 1, 3); /* the next line: so many stores at once would wait for the L2 */
                STEP(to, step);
            }
        }
    }
}

/* Distance between the rows (tiles) of C transformed channels: whole vectors, and not a power of two apart. */
INLINE int64_t padded(int64_t C) { return ceil_div(C, VL) * VL + LINE; }

/* y = clamp(A^T M A + b + r) of one tile and the nc channels of a panel; product[frequency * step]. */
INLINE void scatter(int m, const winograd_forward_args *a, corner at, int64_t oc, int64_t nc, const float *b,
                    const float *product, int64_t step) {
    const int64_t rows = min64(m, a->OH - at.h), cols = min64(m, a->OW - at.w);
    float *y = a->y + at.n * a->y_s[0] + at.h * a->y_s[1] + at.w * a->y_s[2] + oc;
    const float *r = a->r ? a->r + at.n * a->r_s[0] + at.h * a->r_s[1] + at.w * a->r_s[2] + oc : 0;
    const vf lo = splat((float)a->lo), hi = splat((float)a->hi);
    const int64_t y_w = a->y_s[2];
    for (int64_t c = 0; c < min64(nc, NR); c += VL) {
        vf t[MAX_K * MAX_K];
#pragma GCC unroll 6
        for (int j = 0; j < m + 2; j++) {
            vf column[MAX_K];
            const float *from = product + j * step + c;
#pragma GCC unroll 6
            for (int i = 0; i < m + 2; i++) {
                column[i] = load(from);
                STEP(from, (m + 2) * step);
            }
            output_1d(m, column, 1, t + j, MAX_K);
        }
        const vf bias = b ? load(b + c) : splat(0);
        const int64_t n = nc - c;
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            if (i >= rows) break;
            vf row[MAX_K];
            float *to = y + i * a->y_s[1] + c;
            output_1d(m, t + i * MAX_K, 1, row, 1);
#pragma GCC unroll 4
            for (int j = 0; j < m; j++) {
                if (j >= cols) break;
                const float *from = r + i * a->r_s[1] + j * a->r_s[2] + c;
                vf v = row[j] + bias;
                __builtin_prefetch(to + m * y_w, 1, 3); /* the next tile's */
                if (n >= VL) {
                    if (r) v += load(from);
                    store(to, vmin(hi, vmax(lo, v)));
                } else {
                    if (r) v += load_n(from, n);
                    store_n(to, vmin(hi, vmax(lo, v)), n);
                }
                STEP(to, y_w);
            }
        }
    }
}

/* Distance between frequencies of transformed weights [C][NR]: a step more, so that they do not share cache sets. */
INLINE int64_t frequency_size(int64_t C) { return (C + 1) * NR; }

/* The products of one panel: product[frequency][tile][NR] = v[frequency][tile][C] u[frequency][C][NR]; frequencies of v and
 * product are odd_lines apart. */
static void multiply(int64_t frequencies, int64_t count, int64_t C, const float *v, const float *u, int64_t nc,
                     float *product) {
    const int64_t pixel = padded(C), pieces = ceil_div(count, MR), piece = ceil_div(count, pieces);
    const int64_t of_v = odd_lines(count * pixel), of_product = odd_lines(count * NR);
    const int64_t full = count / piece, fetch = ceil_div(NR, ceil_div(count, piece));
    const tap_grid grid = {1, 1, C, 0, 0, pixel, fetch, C * fetch};
    const tile_out out = {0, nc > VL ? NR : VL, NR, 0, -INFINITY, INFINITY, 0};
    const int wide = nc > VL;
    for (int64_t f = 0; f < frequencies; f++, u += frequency_size(C)) {
        const tile_row row = {v + f * of_v, product + f * of_product, 0};
        const tile_row last = {row.x + full * piece * pixel, row.y + full * piece * NR, 0};
        const float *next = u + frequency_size(C); /* of the next frequency or panel */
        tiles[piece][wide]((int)full, &row, &grid, u, next, &out);
        if (full * piece < count) tiles[count - full * piece][wide](1, &last, &grid, u, next + full * grid.part, &out);
    }
}

INLINE void forward(int m, const winograd_forward_args *a, int tid, int nthreads) {
    const int64_t frequencies = (m + 2) * (m + 2), panels = ceil_div(a->OC, NR), np = ceil_div(panels, a->panels);
    const tile_grid grid = grid_of(m, a->OH, a->OW);
    const int64_t total = a->N * grid.rows * grid.cols;
    const range mine = share(ceil_div(total, a->tiles) * np, tid, nthreads);
    float *zeros = a->ws + tid * a->ws_thread, *v = zeros + padded(a->C);
    float *product = v + frequencies * odd_lines(a->tiles * padded(a->C));
    const picture in = {a->x, a->x_s, a->H, a->W, zeros};
    memset(zeros, 0, (size_t)padded(a->C) * sizeof *zeros);
    int64_t transformed = -1;
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t first = item / np * a->tiles, count = min64(a->tiles, total - first);
        const int64_t begin = item % np * a->panels, end = min64(panels, begin + a->panels);
        for (int64_t t = 0; t < count && transformed != first; t++) {
            const corner at = corner_of(grid, m, first + t);
            gather(input_1d, m, m + 2, in, at.n, at.h - a->pad[0], at.w - a->pad[1], a->C, v + t * padded(a->C),
                   odd_lines(count * padded(a->C)));
        }
        transformed = first;
        for (int64_t panel = begin; panel < end; panel++) {
            const int64_t nc = a->OC - panel * NR;
            multiply(frequencies, count, a->C, v, a->u + panel * frequencies * frequency_size(a->C), nc, product);
            for (int64_t t = 0; t < count; t++)
                scatter(m, a, corner_of(grid, m, first + t), panel * NR, nc, a->b ? a->b + panel * NR : 0,
                        product + t * NR, odd_lines(count * NR));
        }
    }
}

/* y = clamp(conv(x, w) + b + r, lo, hi), stride 1. x (N, C, H, W), y (N, OC, OH, OW), r like y or NULL, all channels-last;
 * u transformed weights; b padded to whole panels or NULL. Work items: blocks of `tiles` tiles times `panels` panels.
 * ws: ws_thread floats per thread. y may be r; nothing else may overlap. */
DEFINE(winograd_forward) {
    if (a->m == 4) forward(4, a, tid, nthreads);
    else forward(2, a, tid, nthreads);
}

/* From so many bytes on, transformed weights are written past the cache, where they would wait for lines that are
 * overwritten anyway (256x256 on Zen 4: 11 GB/s through the cache, 27 past it). */
enum { PAST_BYTES = 4 << 20 };

INLINE void transform_weights(int m, const winograd_weights_args *a, int tid, int nthreads) {
    const int64_t frequencies = (m + 2) * (m + 2), step = a->C * NR, size = frequency_size(a->C);
    const range mine = share(ceil_div(a->OC, NR) * a->C, tid, nthreads);
    const int past = 4 * frequencies * a->OC * a->C > PAST_BYTES && (uintptr_t)a->u % sizeof(vf) == 0;
    for (int64_t i = mine.begin; i < mine.end; i++)
        for (int64_t l = 0; l < NR; l += VL) {
            const float *w = a->packed + (i / a->C * 9 * a->C + i % a->C) * NR + l;
            float *u = a->u + i / a->C * frequencies * size + i % a->C * NR + l;
            vf f[MAX_K * MAX_K];
            for (int t = 0; t < 9; t++) f[t / 3 * MAX_K + t % 3] = load(w + t * step);
            map_2d(weights_1d, m, 3, m + 2, f);
            for (int j = 0; j < frequencies; j++)
                put_past(past, u + j * size, f[j / (m + 2) * MAX_K + j % (m + 2)]);
        }
    finish_past();
}

/* u [panel][(m+2)^2][C][NR] = G w G^T, from packed weights [panel][3][3][C][NR]. */
DEFINE(winograd_weights) {
    if (a->m == 4) transform_weights(4, a, tid, nthreads);
    else transform_weights(2, a, tid, nthreads);
}

/* The channels [c, c + nc) x panels [panel, end) of dw. */
typedef struct {
    int64_t c, nc, panel, end;
} weights_block;

/* dw = G^T du G of a block; du [frequency][panel][nc][NR]. */
INLINE void weights_back(int m, const winograd_backward_weights_args *a, weights_block blk, const float *du) {
    const int64_t step = (blk.end - blk.panel) * blk.nc * NR;
    for (int64_t panel = blk.panel; panel < blk.end; panel++)
        for (int64_t c = 0; c < blk.nc; c++)
            for (int64_t l = 0; l < min64(NR, a->OC - panel * NR); l += VL) {
                const float *from = du + ((panel - blk.panel) * blk.nc + c) * NR + l;
                float *dw = a->dw + (panel * 9 * a->C + blk.c + c) * NR + l;
                vf f[MAX_K * MAX_K];
                for (int i = 0; i < (m + 2) * (m + 2); i++) f[i / (m + 2) * MAX_K + i % (m + 2)] = load(from + i * step);
                map_2d(weights_back_1d, m, m + 2, 3, f);
                for (int t = 0; t < 9; t++) {
                    store(dw + t * a->C * NR, f[t / 3 * MAX_K + t % 3]);
                    __builtin_prefetch(dw + t * a->C * NR + 2 * NR, 1, 3); /* nine lines that memory has to deliver */
                }
            }
}

/* du += (B^T x B) (A dy A^T)^T of `count` tiles: for each frequency sums of outer products over the tiles. */
static void accumulate(int64_t frequencies, int64_t count, weights_block blk, int64_t OC, const float *v, const float *w,
                       float *du, int first) {
    const int64_t panels = blk.end - blk.panel, v_w = padded(blk.nc), w_w = padded(panels * NR);
    const pixels px = {1, 1, count, 0, 0, v_w, 0, 0, w_w, 0};
    for (int64_t f = 0; f < frequencies; f++, v += odd_lines(count * v_w), w += odd_lines(count * w_w))
        for (int64_t p = 0; p < panels; p++, du += blk.nc * NR) {
            const int wide = OC - (blk.panel + p) * NR > VL;
            for (int64_t k = 0; k < blk.nc; k += MR)
                outers[min64(MR, blk.nc - k)][wide ? TWO : ONE](v + k, w + p * NR, &px, du + k * NR, NR, first);
        }
}

INLINE void backward_weights(int m, const winograd_backward_weights_args *a, int tid, int nthreads) {
    const int64_t frequencies = (m + 2) * (m + 2), panels = ceil_div(a->OC, NR), np = ceil_div(panels, a->panels);
    const tile_grid grid = grid_of(m, a->OH, a->OW);
    const int64_t total = a->N * grid.rows * grid.cols;
    const int64_t v_w = padded(a->channels), w_w = padded(a->panels * NR);
    const range mine = share(ceil_div(a->C, a->channels) * np, tid, nthreads);
    float *zeros = a->ws + tid * a->ws_thread, *v = zeros + max64(v_w, w_w);
    float *w = v + frequencies * odd_lines(a->tiles * v_w), *du = w + frequencies * odd_lines(a->tiles * w_w);
    memset(zeros, 0, (size_t)max64(v_w, w_w) * sizeof *zeros);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t c = item / np * a->channels, panel = item % np * a->panels;
        const weights_block blk = {c, min64(a->channels, a->C - c), panel, min64(panels, panel + a->panels)};
        const picture x = {a->x + c, a->x_s, a->H, a->W, zeros}, dy = {a->dy + panel * NR, a->dy_s, a->OH, a->OW, zeros};
        const int64_t nc = padded(blk.nc), nk = padded((blk.end - panel) * NR);
        const int64_t channels = min64(a->OC - panel * NR, (blk.end - panel) * NR);
        for (int64_t first = 0; first < total; first += a->tiles) {
            const int64_t count = min64(a->tiles, total - first);
            for (int64_t t = 0; t < count; t++) {
                const corner at = corner_of(grid, m, first + t);
                gather(input_1d, m, m + 2, x, at.n, at.h - a->pad[0], at.w - a->pad[1], blk.nc, v + t * nc,
                       odd_lines(count * nc));
                gather(gradient_1d, m, m, dy, at.n, at.h, at.w, channels, w + t * nk, odd_lines(count * nk));
            }
            accumulate(frequencies, count, blk, a->OC, v, w, du, !first);
        }
        weights_back(m, a, blk, du);
    }
}

/* dw = gradient of the weights from x and dy as in winograd_forward, in their packed layout [panel][3][3][C][NR]. Work
 * items: blocks of `channels` x `panels` of dw; each walks over all tiles, `tiles` at a time. ws: ws_thread floats per
 * thread. */
DEFINE(winograd_backward_weights) {
    if (a->m == 4) backward_weights(4, a, tid, nthreads);
    else backward_weights(2, a, tid, nthreads);
}
