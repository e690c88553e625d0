/* Convolution as an implicit matrix product over channels-last images: no im2col buffer.
 *
 * For one tap row kh, the KW*C inputs that an output pixel needs lie side by side, and neighbouring output pixels are a
 * constant stride apart. A register tile therefore holds MR pixels x NV vectors of output channels and walks along that
 * contiguous run, broadcasting inputs against packed weights.
 *
 * Packed weights: [group][panel of NR output channels][KH][KW][C/groups][NR], the last panel padded with zeros.
 * Every output is one accumulator, summed over (kh, kw, c) in this order from the bias: the bits depend neither on the
 * tile an output falls into nor on the number of threads. */
#include "tile.h"

/* Tiles that go on in the next row, by their number of pixels: ANYWHERE after `split`, else (even ones) after half of them. */
#define ACROSS_AS(m, v)                                                                                                \
    static void tile_##m##_s##v(int split, const tile_row *rows, const tap_grid *g, const float *w, const float *next, \
                                const tile_out *o) {                                                                   \
        tile(m, v, ANYWHERE ? split : (m) / 2, rows[0], rows[1], g, w, next, o);                                       \
    }
#define ACROSS(m) ACROSS_AS(m, 1) ACROSS_AS(m, 2)
#define NAME_ACROSS(m) [m] = {tile_##m##_s1, tile_##m##_s2}
ACROSS(2) ACROSS(4) ACROSS(6)
#if defined(__AVX512F__) || defined(__aarch64__)
ACROSS(8)
#endif
#if defined(__AVX512F__)
ACROSS(10) ACROSS(12) ACROSS(14)
#else
ACROSS(3) ACROSS(5)
#if defined(__aarch64__)
ACROSS(7)
#endif
#endif
static const tile_fn across[MR + 1][2] = {
    NAME_ACROSS(2), NAME_ACROSS(4), NAME_ACROSS(6),
#if defined(__AVX512F__) || defined(__aarch64__)
    NAME_ACROSS(8),
#endif
#if defined(__AVX512F__)
    NAME_ACROSS(10), NAME_ACROSS(12), NAME_ACROSS(14),
#else
    NAME_ACROSS(3), NAME_ACROSS(5),
#if defined(__aarch64__)
    NAME_ACROSS(7),
#endif
#endif
};

/* A single pixel (a fully connected layer on one picture) would be bound by the latency of its NV accumulators: four
 * panels at once instead. Same sums in the same order. */
enum { WIDE = 4 };
static void tile_wide(const tile_row *row, const tap_grid *g, const float *w, int64_t panel_size, const tile_out *o) {
    vf acc[WIDE][NV];
    const float *wp[WIDE];
    for (int p = 0; p < WIDE; p++) {
        wp[p] = w + p * panel_size;
        for (int j = 0; j < NV; j++) acc[p][j] = o->b ? load(o->b + p * NR + j * VL) : splat(0);
    }
    int64_t at = 0;
    for (int64_t kh = 0; kh < g->KH; kh++)
        for (int64_t t = 0; t < g->taps; t++) {
            const float *x = row->x + kh * g->h + t * g->w;
            for (int64_t k = 0; k < g->run; k++, at += NR)
#pragma GCC unroll 4
                for (int p = 0; p < WIDE; p++)
#pragma GCC unroll 2
                    for (int j = 0; j < NV; j++) acc[p][j] += load(wp[p] + at + j * VL) * x[k];
        }
    for (int p = 0; p < WIDE; p++)
        for (int j = 0; j < NV; j++) {
            int64_t c = p * NR + j * VL, n = o->nc - c;
            vf v = acc[p][j];
            if (n >= VL) {
                if (row->r) v += load(row->r + c);
                store(row->y + c, vmin(splat(o->hi), vmax(splat(o->lo), v)));
            } else if (n > 0) {
                if (row->r) v += load_n(row->r + c, n);
                store_n(row->y + c, vmin(splat(o->hi), vmax(splat(o->lo), v)), n);
            }
        }
}

/* The part of the input that a block of output pixels reads, in place or copied with its padding. */
typedef struct {
    const float *origin; /* tap (0, 0), channel 0 of the block's first output pixel */
    int64_t n, h, w;     /* strides of images, rows, pixels */
} window;

typedef struct {
    const float *x;
    const int64_t *s; /* strides n, h, w, c */
    int64_t H, W, C;  /* C: channels to take */
} source;

/* n pixels of C channels, dw apart; sw and sc are the strides of the source. */
static void copy_pixels(float *dst, int64_t dw, const float *src, int64_t n, int64_t C, int64_t sw, int64_t sc) {
    if (sc == 1 && sw == C && dw == C) {
        memcpy(dst, src, (size_t)(n * C) * sizeof *dst);
    } else if (sc == 1) {
        for (int64_t i = 0; i < n; i++) memcpy(dst + i * dw, src + i * sw, (size_t)C * sizeof *dst);
    } else {
        int64_t done = 0;
        if (C == 3 && dw == 3 && sw == 1) /* a picture in planes */
            for (vf y[3]; done + VL <= n; done += VL) {
                interleave3(load(src + done), load(src + done + sc), load(src + done + 2 * sc), y);
                for (int k = 0; k < 3; k++) store(dst + 3 * done + k * VL, y[k]);
            }
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = done; i < n; i++) dst[i * dw + c] = src[i * sw + c * sc];
    }
}

/* Copies images x rows x cols pixels starting at (n0, h0, w0), which may lie outside the picture: zeros there. In the copy
 * they lie `pixel` floats apart; what is between them is never read. */
static window pack_window(float *dst, int64_t pixel, source in, int64_t n0, int64_t images, int64_t h0, int64_t rows,
                          int64_t w0, int64_t cols) {
    const int64_t left = min64(cols, max64(0, -w0)), right = max64(left, min64(cols, in.W - w0));
    window win = {dst, rows * cols * pixel, cols * pixel, pixel};
    for (int64_t n = n0; n < n0 + images; n++)
        for (int64_t h = h0; h < h0 + rows; h++, dst += cols * pixel) {
            if (h < 0 || h >= in.H) {
                memset(dst, 0, (size_t)(cols * pixel) * sizeof *dst);
                continue;
            }
            const float *src = in.x + n * in.s[0] + h * in.s[1] + (w0 + left) * in.s[2];
            memset(dst, 0, (size_t)(left * pixel) * sizeof *dst);
            copy_pixels(dst + left * pixel, pixel, src, right - left, in.C, in.s[2], in.s[3]);
            memset(dst + right * pixel, 0, (size_t)((cols - right) * pixel) * sizeof *dst);
        }
    return win;
}

static window in_place(source in, int64_t n0, int64_t h0, int64_t w0) {
    return (window){in.x + n0 * in.s[0] + h0 * in.s[1] + w0 * in.s[2], in.s[0], in.s[1], in.s[2]};
}

INLINE tap_grid grid_of(window win, int64_t C, int64_t KH, int64_t KW, const int64_t *stride, const int64_t *dilation) {
    const int joined = dilation[1] == 1 && (win.w == C || KW == 1); /* the taps of a row touch */
    return (tap_grid){KH, joined ? 1 : KW, joined ? KW * C : C, dilation[0] * win.h, dilation[1] * win.w,
                      stride[1] * win.w, 0, 0};
}

typedef struct {
    int64_t n, oh, ow, rows, cols; /* one image, a block of output rows and columns */
} block;

enum { L2_BYTES = 4 * X_BLOCK_BYTES }; /* about */

/* The next tiles of a block: `count` of so many pixels in the present row, or one of which only `split` lie in it and the others
 * in the next. */
typedef struct {
    int64_t pixels, split, count;
} extent;

/* As many as fit, but the last two tiles share: one of a few pixels would wait for its own sums. */
INLINE int64_t even(int64_t n) { return n <= MR ? n : n < 2 * MR ? (n + 1) / 2 : MR; }

INLINE extent next_tiles(block blk, int64_t row, int64_t col) {
    const int64_t rest = blk.cols - col, below = blk.rows - row - 1;
    if (!ANYWHERE && blk.cols <= MR / 2 && below) return (extent){2 * blk.cols, blk.cols, 1};
    const int64_t total = rest + (ANYWHERE ? below * blk.cols : 0), full = min64(rest / MR, total / MR - 1);
    if (full > 0) return (extent){MR, MR, full};
    const int64_t pixels = min64(even(total), rest + blk.cols);
    return (extent){pixels, min64(pixels, rest), 1};
}

/* Pixel (row, col) of a block whose first is `first`. */
INLINE tile_row pixel_of(const conv_direct_args *a, tile_row first, int64_t x_h, int64_t x_w, int64_t row, int64_t col) {
    return (tile_row){first.x + row * x_h + col * x_w, first.y + row * a->y_s[1] + col * a->y_s[2],
                      first.r ? first.r + row * a->r_s[1] + col * a->r_s[2] : 0};
}

/* One block's panels; again: the block before has read their weights. */
static void block_panels(const conv_direct_args *a, window win, block blk, int64_t g, int64_t panel, int64_t end,
                         int again) {
    const int64_t Cg = a->C / a->groups, OCg = a->OC / a->groups, panels = ceil_div(OCg, NR);
    tap_grid grid = grid_of(win, Cg, a->KH, a->KW, a->stride, a->dilation);
    const int64_t panel_size = a->KH * a->KW * Cg * NR, x_h = a->stride[0] * win.h, total = blk.rows * blk.cols;
    const int through = ANYWHERE || blk.cols <= MR / 2; /* tiles go on from row to row */
    const int64_t count = through ? ceil_div(total, MR) : blk.rows * ceil_div(blk.cols, MR);
    /* Weights that are read once, or of which the L2 cannot hold a panel, are fetched a constant distance ahead, else each
     * tile fetches its part of the next panel; where the L2 holds them all from the block before, of the next block's
     * pixels. */
    const int64_t stream = count == 1 || 4 * panel_size > L2_BYTES, ahead = stream ? X_BLOCK_BYTES / 16 : panel_size;
    const int64_t kept = again && !a->pack && 4 * (end - panel) * panel_size <= L2_BYTES / 2;
    const int64_t pixels = blk.rows < a->OH ? blk.rows * x_h : blk.cols * grid.pixel;
    const int64_t part = kept ? pixels / (count * (end - panel)) : stream ? 0 : panel_size / count;
    grid.fetch = kept ? ceil_div(part * NR, panel_size) : stream ? NR : ceil_div(NR, count);
    grid.part = part;
    const float *next = win.origin + pixels;
    for (; panel < end; panel++) {
        const int64_t oc = g * OCg + panel * NR;
        const float *w = a->w + (g * panels + panel) * panel_size;
        const tile_out out = {a->b ? a->b + (g * panels + panel) * NR : 0, OCg - panel * NR, a->y_s[2], a->r_s[2],
                              (float)a->lo, (float)a->hi, (int)a->cold};
        if (!kept) next = w + (panel + 1 < panels ? ahead : 0);
        const tile_row first = {win.origin, a->y + blk.n * a->y_s[0] + blk.oh * a->y_s[1] + blk.ow * a->y_s[2] + oc,
                                a->r ? a->r + blk.n * a->r_s[0] + blk.oh * a->r_s[1] + blk.ow * a->r_s[2] + oc : 0};
        if (total == 1 && end - panel >= WIDE) {
            tile_wide(&first, &grid, w, panel_size, &out);
            panel += WIDE - 1;
            continue;
        }
        const int wide = out.nc > VL;
        for (int64_t i = 0, j = 0; i < blk.rows;) {
            const extent e = next_tiles(blk, i, j);
            const tile_row rows[2] = {pixel_of(a, first, x_h, grid.pixel, i, j),
                                      pixel_of(a, first, x_h, grid.pixel, i + 1, 0)};
            if (e.pixels > e.split) across[e.pixels][wide]((int)e.split, rows, &grid, w, next, &out);
            else tiles[e.pixels][wide]((int)e.count, rows, &grid, w, next, &out);
            next += e.count * part;
            for (j += e.count * e.pixels; j >= blk.cols; i++) j -= blk.cols;
        }
    }
}

/* y = clamp(conv(x, w) + b + r, lo, hi).
 * x (N, C, H, W) any strides if pack, else channel stride 1 and every tap inside; w packed; b [groups][panels][NR] or
 * NULL; r like y or NULL; y (N, OC, OH, OW) channels-last. Work items: blocks of rows x cols output pixels times
 * `panels` panels. ws: ws_thread floats per thread, for the padded copy with pixels ws_pixel apart. y may be r; nothing else
 * may overlap. */
DEFINE(conv_direct) {
    const int64_t Cg = a->C / a->groups, panels = ceil_div(a->OC / a->groups, NR);
    const int64_t nr = ceil_div(a->OH, a->rows), ncol = ceil_div(a->OW, a->cols), np = ceil_div(panels, a->panels);
    const int64_t places = a->N * a->groups * nr * ncol;
    const range mine = share(places * np, tid, nthreads);
    float *ws = a->ws + tid * a->ws_thread;
    int64_t packed = -1, last = -1; /* the block that ws holds; the first panel of the item before */
    window win = {0};
    for (int64_t item = mine.begin; item < mine.end; item++) {
        /* of many pictures a thread keeps its own, of one its panels */
        const int64_t where = a->N > 1 ? item / np : item % places;
        const int64_t p = (a->N > 1 ? item % np : item / places) * a->panels;
        const int64_t col = where % ncol * a->cols, row = where / ncol % nr * a->rows;
        const int64_t g = where / ncol / nr % a->groups, n = where / ncol / nr / a->groups;
        const block blk = {n, row, col, min64(a->rows, a->OH - row), min64(a->cols, a->OW - col)};
        const int64_t h0 = row * a->stride[0] - a->pad[0], w0 = col * a->stride[1] - a->pad[1];
        const source in = {a->x + g * Cg * a->x_s[3], a->x_s, a->H, a->W, Cg};
        if (!a->pack) {
            win = in_place(in, n, h0, w0);
        } else if (packed != where) {
            win = pack_window(ws, a->ws_pixel, in, n, 1, h0,
                              (blk.rows - 1) * a->stride[0] + (a->KH - 1) * a->dilation[0] + 1, w0,
                              (blk.cols - 1) * a->stride[1] + (a->KW - 1) * a->dilation[1] + 1);
            packed = where;
        }
        block_panels(a, win, blk, g, p, min64(panels, p + a->panels), last == g * panels + p);
        last = g * panels + p;
    }
}

/* Two tap rows of `run` floats each in one tile, where they are so short that a tile of one would do little per pixel. */
#define OUTER_TAPS(m)                                                                                                \
    OUTER_AS(outer_taps_##m##_ONE, 2 * m, m, 1, 0) OUTER_AS(outer_taps_##m##_PART, 2 * m, m, 1, 1)                   \
    OUTER_AS(outer_taps_##m##_TWO, 2 * m, m, 2, 0)
#define NAME_TAPS(m) [m] = {outer_taps_##m##_ONE, outer_taps_##m##_PART, outer_taps_##m##_TWO}
OUTER_TAPS(1) OUTER_TAPS(2) OUTER_TAPS(3)
#if defined(__AVX512F__) || defined(__aarch64__)
OUTER_TAPS(4)
#endif
#if defined(__AVX512F__)
OUTER_TAPS(5) OUTER_TAPS(6) OUTER_TAPS(7)
#endif
static const outer_fn outer_taps[MR / 2 + 1][WIDTHS] = {
    NAME_TAPS(1), NAME_TAPS(2), NAME_TAPS(3),
#if defined(__AVX512F__) || defined(__aarch64__)
    NAME_TAPS(4),
#endif
#if defined(__AVX512F__)
    NAME_TAPS(5), NAME_TAPS(6), NAME_TAPS(7),
#endif
};

/* How the dw of one panel is cut into tiles: `tap_rows` of them, with `taps` runs of `tiles` each; rows of taps in a tile. */
typedef struct {
    int64_t tap_rows, taps, tiles, rows;
} cut;

INLINE cut cut_of(int64_t KH, int64_t taps, int64_t run) {
    const int64_t rows = taps == 1 && run <= MR / 2 ? 2 : 1;
    return (cut){ceil_div(KH, rows), taps, ceil_div(run, MR), rows};
}

/* The tiles [begin, end) of one block, counted over (panel, kh, run, k0) of group g; to is the group's dw. */
static void outer_block(const conv_backward_weights_args *a, window win, block blk, int64_t images, int64_t g, range t,
                        float *to, int first) {
    const int64_t Cg = a->C / a->groups, OCg = a->OC / a->groups;
    const tap_grid grid = grid_of(win, Cg, a->KH, a->KW, a->stride, a->dilation);
    const cut parts = cut_of(a->KH, grid.taps, grid.run);
    const pixels px = {images, blk.rows, blk.cols, win.n, a->stride[0] * win.h, grid.pixel,
                       a->dy_s[0], a->dy_s[1], a->dy_s[2], grid.h};
    for (int64_t i = t.begin; i < t.end; i++) {
        const int64_t k0 = i % parts.tiles * MR, tap = i / parts.tiles % parts.taps;
        const int64_t kh = i / parts.tiles / parts.taps % parts.tap_rows * parts.rows;
        const int64_t panel = i / parts.tiles / parts.taps / parts.tap_rows, nc = min64(NR, OCg - panel * NR);
        const float *x = win.origin + kh * grid.h + tap * grid.w + k0;
        const float *dy = a->dy + blk.n * a->dy_s[0] + blk.oh * a->dy_s[1] + blk.ow * a->dy_s[2] + g * OCg + panel * NR;
        float *dw = to + (((panel * a->KH + kh) * grid.taps + tap) * grid.run + k0) * NR;
        const outer_fn *run = parts.rows > 1 && kh + 1 < a->KH ? outer_taps[grid.run] : outers[min64(MR, grid.run - k0)];
        run[outer_width(nc)](x, dy, &px, dw, nc, first);
    }
}

/* The pixels of a 1x1 convolution in the order in which they are summed. */
typedef struct {
    int64_t n, h, w;
} pixel_at;

INLINE void advance(pixel_at *p, int64_t OH, int64_t OW) {
    if (++p->w < OW) return;
    p->w = 0;
    if (++p->h < OH) return;
    p->h = 0;
    p->n++;
}

/* Floats of a pixel in a packed strip of MR channels: whole vectors. */
enum { STRIP = (MR + VL - 1) / VL * VL };

/* Copies `width` of C floats of a pixel to strips of `step` floats, `strip` apart, whole vectors each. */
INLINE void pack_strips(const float *from, int64_t C, int width, int step, int64_t strip, float *to) {
    for (int64_t c = 0; c < C; c += width, to += strip)
#pragma GCC unroll 2
        for (int l = 0; l < step; l += VL) {
            const int64_t rest = C - c - l;
            store(to + l, rest >= VL ? load(from + c + l) : rest > 0 ? load_n(from + c + l, rest) : splat(0));
        }
}

/* A block of dw of a 1x1 convolution: where its channels lie in the first pixels of x and dy, and how many there are. */
typedef struct {
    const float *x, *dy;
    int64_t c, oc;
} weights_block;

INLINE const float *x_at(const conv_backward_weights_args *a, weights_block b, pixel_at p) {
    return b.x + p.n * a->x_s[0] + p.h * a->stride[0] * a->x_s[1] + p.w * a->stride[1] * a->x_s[2];
}

INLINE const float *dy_at(const conv_backward_weights_args *a, weights_block b, pixel_at p) {
    return b.dy + p.n * a->dy_s[0] + p.h * a->dy_s[1] + p.w * a->dy_s[2];
}

/* Fetches the next `count` pixels into the L2. */
INLINE void fetch_pixels(const conv_backward_weights_args *a, weights_block b, pixel_at *next, int64_t count) {
    for (int64_t i = 0; i < count && next->n < a->N; i++, advance(next, a->OH, a->OW)) {
        const float *x = x_at(a, b, *next), *dy = dy_at(a, b, *next);
        for (int64_t c = 0; c < b.c; c += LINE) __builtin_prefetch(x + c, 0, 2);
        for (int64_t c = 0; c < b.oc; c += LINE) __builtin_prefetch(dy + c, 0, 2);
    }
}

/* dw of a 1x1 convolution, for blocks of `channels` x `panels` of it that stay in the cache, `cols` pixels at a time, read in
 * place if they lie in one row, or packed into strips as wide as the tile: pixels that lie a power of two apart share the sets
 * of the cache. Meanwhile each tile fetches its share of the pixels that come next. */
static void pointwise_weights(const conv_backward_weights_args *a, int tid, int nthreads) {
    const int64_t Cg = a->C / a->groups, OCg = a->OC / a->groups, panels = ceil_div(OCg, NR);
    const int64_t nc = ceil_div(Cg, a->channels), np = ceil_div(panels, a->panels), total = a->N * a->OH * a->OW;
    const range mine = share(a->groups * nc * np, tid, nthreads);
    float *xs = a->ws + tid * a->ws_thread, *dys = a->pack ? xs + ceil_div(a->channels, MR) * odd_lines(a->cols * STRIP) : 0;
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t g = item / np / nc, c0 = item / np % nc * a->channels, channels = min64(a->channels, Cg - c0);
        const int64_t panel0 = item % np * a->panels, end = min64(panels, panel0 + a->panels), oc0 = panel0 * NR;
        const weights_block b = {a->x + g * Cg + c0, a->dy + g * OCg + oc0, channels, min64(OCg, end * NR) - oc0};
        const int64_t part = ceil_div(a->cols, ceil_div(channels, MR) * (end - panel0));
        pixel_at at = {0, 0, 0};
        for (int64_t first = 0; first < total; first += a->cols) {
            const int64_t count = min64(a->cols, total - first);
            const int64_t of_x = a->pack ? odd_lines(count * STRIP) : MR, of_dy = a->pack ? odd_lines(count * NR) : NR;
            const float *x = a->pack ? xs : x_at(a, b, at), *dy = a->pack ? dys : dy_at(a, b, at);
            for (int64_t i = 0; i < count; i++, advance(&at, a->OH, a->OW)) {
                if (!a->pack) continue;
                pack_strips(x_at(a, b, at), b.c, MR, STRIP, of_x, xs + i * STRIP);
                pack_strips(dy_at(a, b, at), b.oc, NR, NR, of_dy, dys + i * NR);
            }
            const pixels px = {1, 1, count, 0, 0, a->pack ? STRIP : a->stride[1] * a->x_s[2],
                               0, 0, a->pack ? NR : a->dy_s[2], 0};
            pixel_at next = at;
            for (int64_t panel = panel0; panel < end; panel++) {
                const int64_t width = min64(NR, OCg - panel * NR);
                for (int64_t k = 0; k < channels; k += MR) {
                    outers[min64(MR, channels - k)][outer_width(width)](
                        x + k / MR * of_x, dy + (panel - panel0) * of_dy, &px,
                        a->dw + ((g * panels + panel) * Cg + c0 + k) * NR, width, first == 0);
                    fetch_pixels(a, b, &next, part);
                }
            }
        }
    }
}

/* dw = sum over output pixels of x (x) dy, in the packed layout of the weights.
 * x as in conv_direct; dy (N, OC, OH, OW) channels-last. The images are taken in `parts`, each with a dw of its own. Threads
 * share the tiles of all; each walks over a part's pixels in blocks of `images` x rows x cols (which fix the order of
 * summation). With `channels`, for 1x1 kernels in one part, without `pack` only if the pixels lie in one row: see
 * pointwise_weights. ws: ws_thread floats per thread. */
DEFINE(conv_backward_weights) {
    if (a->channels) {
        pointwise_weights(a, tid, nthreads);
        return;
    }
    const int64_t Cg = a->C / a->groups, OCg = a->OC / a->groups, panels = ceil_div(OCg, NR);
    const int64_t run = a->dilation[1] == 1 && (a->pack || a->x_s[2] == Cg || a->KW == 1) ? a->KW * Cg : Cg;
    const cut parts = cut_of(a->KH, a->KW * Cg / run, run);
    const int64_t per_group = panels * parts.tap_rows * parts.taps * parts.tiles;
    const range mine = share(a->parts * a->groups * per_group, tid, nthreads);
    float *ws = a->ws + tid * a->ws_thread;
    for (int64_t i = mine.begin / per_group; i * per_group < mine.end; i++) {
        const range t = {max64(0, mine.begin - i * per_group), min64(per_group, mine.end - i * per_group)};
        const range part = share(a->N, (int)(i / a->groups), (int)a->parts);
        const int64_t g = i % a->groups;
        float *dw = a->dw + i * panels * a->KH * a->KW * Cg * NR;
        const source in = {a->x + g * Cg * a->x_s[3], a->x_s, a->H, a->W, Cg};
        int first = 1;
        for (int64_t n = part.begin; n < part.end; n += a->images)
            for (int64_t row = 0; row < a->OH; row += a->rows)
                for (int64_t col = 0; col < a->OW; col += a->cols, first = 0) {
                    const block blk = {n, row, col, min64(a->rows, a->OH - row), min64(a->cols, a->OW - col)};
                    const int64_t images = min64(a->images, part.end - n);
                    const int64_t h0 = row * a->stride[0] - a->pad[0], w0 = col * a->stride[1] - a->pad[1];
                    const int64_t rows = (blk.rows - 1) * a->stride[0] + (a->KH - 1) * a->dilation[0] + 1;
                    const int64_t cols = (blk.cols - 1) * a->stride[1] + (a->KW - 1) * a->dilation[1] + 1;
                    const window win = a->pack ? pack_window(ws, Cg, in, n, images, h0, rows, w0, cols)
                                               : in_place(in, n, h0, w0);
                    outer_block(a, win, blk, images, g, t, dw, first);
                }
    }
}

INLINE int64_t packed_panels(int64_t OC, int64_t groups) { return groups * ceil_div(OC / groups, NR); }

/* Where the packed panel holds w (groups, OC/groups, C/groups, KH, KW), strides in that order. */
typedef struct {
    int64_t offset;  /* of its first output channel in w, tap (0, 0) */
    int64_t nc;      /* output channels in it */
} panel_at;

INLINE panel_at locate(int64_t panel, int64_t OCg, const int64_t *s) {
    const int64_t per = ceil_div(OCg, NR), oc = panel % per * NR;
    return (panel_at){panel / per * s[0] + oc * s[1], min64(NR, OCg - oc)};
}

/* How w lies: rows of `length` contiguous floats, one for each output channel and each of `rows` strides `step`; float l of
 * row r is the weight of channel `channel` and tap `tap`. Either whole rows (C/groups, KH, KW), or only the taps of a
 * channel, perhaps backwards, when output channels lie closer than input channels (backward_data). */
typedef struct {
    int64_t rows, step, length, origin;
    int flipped, whole;
} rows_of_w;

INLINE int describe(const int64_t *s, int64_t Cg, int64_t KH, int64_t KW, rows_of_w *r) {
    const int64_t taps = KH * KW;
    const int up = (KW == 1 || s[4] == 1) && (KH == 1 || s[3] == KW), down = s[4] == -1 && s[3] == -KW;
    const int whole = up && s[2] == taps;
    *r = whole ? (rows_of_w){1, 0, Cg * taps, 0, 0, 1}
               : (rows_of_w){Cg, s[2], taps, down && !up ? 1 - taps : 0, down && !up, 0};
    return s[1] != 1 && (whole || ((up || down) && s[1] >= taps));
}

/* Where float l of row r goes in its panel. */
INLINE int64_t place(const rows_of_w *r, int64_t row, int64_t l, int64_t Cg, int64_t taps) {
    const int64_t c = r->whole ? l / taps : row, t = r->whole ? l % taps : r->flipped ? taps - 1 - l : l;
    return (t * Cg + c) * NR;
}

/* Floats that rows of w are fetched into the L2 ahead: they are more than the hardware can follow (512x512x3x3 on Zen 4:
 * packed in 2.0 ms without, 1.2 with, unpacked in 1.9 and 0.9). */
enum { ROW_SOON = 64 };

/* Moves VL output channels (n of them real) x m <= VL floats of a row between w and packed. */
INLINE void move_block(float *w, int64_t oc_step, int64_t n, const rows_of_w *r, int64_t row, int64_t l0, int64_t m,
                       float *packed, int64_t Cg, int64_t taps, int unpack) {
    vf block[VL];
    for (int64_t j = 0; j < n; j++) __builtin_prefetch(w + j * oc_step + ROW_SOON, 0, 2);
    for (int64_t l = 0; unpack && l < VL; l++)
        block[l] = l < m ? load(packed + place(r, row, l0 + l, Cg, taps)) : splat(0);
    for (int64_t j = 0; !unpack && j < VL; j++)
        block[j] = j >= n ? splat(0) : get(w + j * oc_step, m);
    transpose(block);
    for (int64_t l = 0; !unpack && l < m; l++) store(packed + place(r, row, l0 + l, Cg, taps), block[l]);
    for (int64_t j = 0; unpack && j < n; j++)
        if (m == VL) store(w + j * oc_step, block[j]);
        else store_n(w + j * oc_step, block[j], m);
}

/* One panel of which nc output channels are real, VL channels at a time. */
INLINE void move_panel(float *w, const int64_t *s, int64_t nc, float *packed, const rows_of_w *r, int64_t Cg,
                       int64_t taps, int unpack) {
    for (int64_t row = 0; row < r->rows; row++)
        for (int64_t l0 = 0; l0 < r->length; l0 += VL)
            for (int64_t j = 0; j < NR; j += VL)
                move_block(w + r->origin + row * r->step + j * s[1] + l0, s[1], max64(0, min64(VL, nc - j)), r, row, l0,
                           min64(VL, r->length - l0), packed + j, Cg, taps, unpack);
}

/* The same for any strides. */
INLINE void move_any(float *w, const int64_t *s, int64_t nc, float *packed, int64_t Cg, int64_t KH, int64_t KW,
                     int unpack) {
    for (int64_t kh = 0; kh < KH; kh++)
        for (int64_t kw = 0; kw < KW; kw++)
            for (int64_t c = 0; c < Cg; c++, packed += NR) {
                float *at = w + c * s[2] + kh * s[3] + kw * s[4];
                if (s[1] == 1 && nc >= NR) {
                    memcpy(unpack ? at : packed, unpack ? packed : at, NR * sizeof *at);
                    continue;
                }
                for (int64_t j = 0; unpack && j < min64(nc, NR); j++) at[j * s[1]] = packed[j];
                for (int64_t j = 0; !unpack && j < NR; j++) packed[j] = j < nc ? at[j * s[1]] : 0;
            }
}

INLINE void move_weights(float *w, const int64_t *s, float *packed, int64_t OC, int64_t C, int64_t KH, int64_t KW,
                         int64_t groups, int unpack, int tid, int nthreads) {
    const int64_t Cg = C / groups, OCg = OC / groups, size = KH * KW * Cg * NR;
    const range mine = share(groups * ceil_div(OCg, NR), tid, nthreads);
    rows_of_w r;
    const int regular = describe(s, Cg, KH, KW, &r);
    for (int64_t panel = mine.begin; panel < mine.end; panel++) {
        const panel_at at = locate(panel, OCg, s);
        if (regular) move_panel(w + at.offset, s, at.nc, packed + panel * size, &r, Cg, KH * KW, unpack);
        else move_any(w + at.offset, s, at.nc, packed + panel * size, Cg, KH, KW, unpack);
    }
}

/* packed = w (groups, OC/groups, C/groups, KH, KW), any strides; negative ones flip the taps and exchanged ones the
 * channels, as backward_data needs. */
DEFINE(conv_pack_weights) {
    move_weights((float *)a->w, a->w_s, a->packed, a->OC, a->C, a->KH, a->KW, a->groups, 0, tid, nthreads);
}

/* w = packed, the inverse: for gradients of the weights. */
DEFINE(conv_unpack_weights) {
    move_weights(a->w, a->w_s, (float *)a->packed, a->OC, a->C, a->KH, a->KW, a->groups, 1, tid, nthreads);
}
