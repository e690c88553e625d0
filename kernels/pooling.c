/* Maximum and average pooling of channels-last images, vectorised over channels. */
#include "functions.h"

enum { CHUNK = 4 }; /* vectors of channels that one walk over a window takes along */

/* The n taps of output coordinate o that fall inside an axis, the first of them at `at`. */
typedef struct { int64_t at, n; } taps;

/* How many of K taps from `start` on, `dilation` apart, lie before `end`. */
INLINE int64_t before(int64_t start, int64_t end, int64_t dilation, int64_t K) {
    if (start >= end) return 0;
    return min64(K, dilation == 1 ? end - start : ceil_div(end - start, dilation));
}

INLINE taps inside(int64_t o, int64_t stride, int64_t pad, int64_t dilation, int64_t K, int64_t size) {
    const int64_t start = o * stride - pad, outside = before(start, 0, dilation, K);
    return (taps){start + outside * dilation, before(start, size, dilation, K) - outside};
}

/* What an average divides by along one axis: the taps inside (include_pad 0), those inside the padded axis (1), or 1 (2: it
 * is a sum). */
INLINE int64_t divisor(taps t, int64_t include_pad, int64_t o, int64_t stride, int64_t pad, int64_t pad_after,
                       int64_t dilation, int64_t K, int64_t size) {
    return include_pad == 2 ? 1 : include_pad ? before(o * stride - pad, size + pad_after, dilation, K) : t.n;
}

/* y = maximum, or sum times scale, of KH x KW taps h and w apart; nv vectors of n channels. */
INLINE void window(int average, int nv, int64_t KH, int64_t KW, const float *x, int64_t h, int64_t w, float scale,
                   float *y, int64_t n) {
    vf acc[CHUNK];
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) acc[j] = splat(average ? 0 : -INFINITY);
    for (int64_t kh = 0; kh < KH; kh++)
        for (int64_t kw = 0; kw < KW; kw++) {
            const float *p = x + kh * h + kw * w;
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) {
                const vf v = get(p + j * VL, n);
                acc[j] = average ? acc[j] + v : larger(acc[j], v);
            }
        }
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) put(y + j * VL, average ? acc[j] * scale : acc[j], n);
}

INLINE void pixel(int average, int64_t KH, int64_t KW, const float *x, int64_t h, int64_t w, float scale, float *y,
                  int64_t C) {
    int64_t c = 0;
    for (; c + CHUNK * VL <= C; c += CHUNK * VL) window(average, CHUNK, KH, KW, x + c, h, w, scale, y + c, VL);
    for (; c + VL <= C; c += VL) window(average, 1, KH, KW, x + c, h, w, scale, y + c, VL);
    if (c < C) window(average, 1, KH, KW, x + c, h, w, scale, y + c, C - c);
}

/* `count` neighbouring windows of the same taps: x_w and y_w from one to the next. */
INLINE void pixels(int average, int64_t KH, int64_t KW, int64_t count, const float *x, int64_t h, int64_t w, int64_t x_w,
                   float scale, float *y, int64_t y_w, int64_t C) {
    for (int64_t i = 0; i < count; i++) pixel(average, KH, KW, x + i * x_w, h, w, scale, y + i * y_w, C);
}

/* y = pooled x. An average over nothing is 0, a maximum over nothing -inf. Threads share output rows. */
DEFINE(pool) {
    const int64_t *s = a->stride, *pad = a->pad, *d = a->dilation;
    const int64_t h = a->x_s[1] * d[0], w = a->x_s[2] * d[1], x_w = s[1] * a->x_s[2], y_w = a->y_s[2];
    const range mine = share(a->N * a->OH, tid, nthreads);
    /* output columns whose taps are all inside the picture */
    const int64_t inner = ceil_div(pad[1], s[1]), outer = min64(a->OW, (a->W - 1 - (a->KW - 1) * d[1] + pad[1]) / s[1] + 1);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const int64_t n = row / a->OH, oh = row % a->OH;
        const taps th = inside(oh, s[0], pad[0], d[0], a->KH, a->H);
        const int64_t dh = divisor(th, a->include_pad, oh, s[0], pad[0], pad[2], d[0], a->KH, a->H);
        for (int64_t ow = 0, count; ow < a->OW; ow += count) {
            const taps tw = inside(ow, s[1], pad[1], d[1], a->KW, a->W);
            const int64_t dw = divisor(tw, a->include_pad, ow, s[1], pad[1], pad[3], d[1], a->KW, a->W);
            const float *x = a->x + n * a->x_s[0] + th.at * a->x_s[1] + tw.at * a->x_s[2];
            float *y = a->y + n * a->y_s[0] + oh * a->y_s[1] + ow * a->y_s[2];
            count = ow >= inner && ow < outer ? outer - ow : 1;
            if (a->average) pixels(1, th.n, tw.n, count, x, h, w, x_w, 1.0f / (float)max64(1, dh * dw), y, y_w, a->C);
            else if (th.n == 3 && tw.n == 3) pixels(0, 3, 3, count, x, h, w, x_w, 0, y, y_w, a->C);
            else if (th.n == 2 && tw.n == 2) pixels(0, 2, 2, count, x, h, w, x_w, 0, y, y_w, a->C);
            else pixels(0, th.n, tw.n, count, x, h, w, x_w, 0, y, y_w, a->C);
        }
    }
}

/* What a gradient goes through: everything, or only what came from values between lo and hi. */
typedef struct {
    int narrow;
    float lo, hi;
} gate;

/* Adds dy of one window of KH x KW taps to dx: to every tap times scale, or to the first maximum in row-major order (of NaNs,
 * which count as larger than all, to the last), if the gate lets it through. Only tap rows [k0, k1) of dx are touched.
 * alone: no other window has these taps, so there is nothing to add to. */
INLINE void route(int average, int alone, int64_t KH, int64_t KW, int64_t k0, int64_t k1, const float *x, int64_t xh, int64_t xw,
                  float *dx, int64_t dxh, int64_t dxw, const float *dy, float scale, gate through, int64_t n) {
    vi best = {0};
    vf g = get(dy, n);
    if (average) g *= scale;
    else {
        vf m = splat(-INFINITY);
        for (int64_t kh = 0; kh < KH; kh++)
            for (int64_t kw = 0; kw < KW; kw++) {
                const vf v = get(x + kh * xh + kw * xw, n);
                const vi take = (v > m) | (v != v);
                m = blend(take, v, m);
                best = (vi)blend(take, (vf)((vi){0} + (int32_t)(kh * KW + kw)), (vf)best);
            }
        if (through.narrow) g = blend((m > through.lo) & (m < through.hi), g, splat(0));
    }
    for (int64_t kh = 0; kh < KH; kh++)
        for (int64_t kw = 0; kw < KW && kh >= k0 && kh < k1; kw++) {
            float *p = dx + kh * dxh + kw * dxw;
            const vf add = average ? g : blend(best == (int32_t)(kh * KW + kw), g, splat(0));
            put(p, alone ? add : get(p, n) + add, n);
        }
}

/* The same for all taps of a window of KH x KW <= MAX_TAPS, where no input is NaN: the largest is found first, then who equals
 * it first, which is no chain of comparisons. Sums tell NaN, and may also where infinities meet. */
enum { MAX_TAPS = 9 };
INLINE void route_window(int alone, int KH, int KW, const float *x, int64_t xh, int64_t xw, float *dx, int64_t dxh, int64_t dxw,
                         const float *dy, gate through, int64_t n) {
    vf v[MAX_TAPS], m, sum;
#pragma GCC unroll 9
    for (int i = 0; i < KH * KW; i++) {
        v[i] = get(x + i / KW * xh + i % KW * xw, n);
        m = i ? vmax(m, v[i]) : v[i];
        sum = i ? sum + v[i] : v[i];
    }
    if (any(sum != sum)) {
        route(0, alone, KH, KW, 0, KH, x, xh, xw, dx, dxh, dxw, dy, 0, through, n);
        return;
    }
    vf g = get(dy, n);
    if (through.narrow) g = blend((m > through.lo) & (m < through.hi), g, splat(0));
    vi left = (vi)g;
#pragma GCC unroll 9
    for (int i = 0; i < KH * KW; i++) {
        float *p = dx + i / KW * dxh + i % KW * dxw;
        const vi largest = v[i] == m;
        const vf add = (vf)(left & largest);
        left &= ~largest;
        put(p, alone ? add : get(p, n) + add, n);
    }
}

/* Either for C channels; known: KH, KW and alone are constants, and all tap rows are touched. */
INLINE void route_pixel(int known, int average, int alone, int64_t KH, int64_t KW, int64_t k0, int64_t k1, const float *x,
                        int64_t xh, int64_t xw, float *dx, int64_t dxh, int64_t dxw, const float *dy, float scale,
                        gate through, int64_t C) {
    for (int64_t c = 0; c < C; c += VL) {
        const int64_t n = min64(VL, C - c);
        const float *xc = x + c, *dyc = dy + c;
        float *dxc = dx + c;
        if (known && n == VL) route_window(alone, (int)KH, (int)KW, xc, xh, xw, dxc, dxh, dxw, dyc, through, VL);
        else if (known) route_window(alone, (int)KH, (int)KW, xc, xh, xw, dxc, dxh, dxw, dyc, through, n);
        else if (n == VL) route(average, alone, KH, KW, k0, k1, xc, xh, xw, dxc, dxh, dxw, dyc, scale, through, VL);
        else route(average, alone, KH, KW, k0, k1, xc, xh, xw, dxc, dxh, dxw, dyc, scale, through, n);
    }
}

static void zero_rows(float *dx, const int64_t *s, int64_t from, int64_t to, int64_t W, int64_t C) {
    if (s[2] == C) C *= W, W = 1; /* pixels without gaps */
    for (int64_t h = from; h < to; h++)
        for (int64_t w = 0; w < W; w++) memset(dx + h * s[1] + w * s[2], 0, (size_t)C * sizeof *dx);
}

/* dx of rows [h0, h1) of image n: every window that reaches them, in row-major order, so that the sums do not depend on
 * how rows are shared. Rows are zeroed just before the first window reaches them. */
INLINE void band(int average, const pool_backward_args *a, int64_t n, int64_t h0, int64_t h1) {
    const int64_t *s = a->stride, *pad = a->pad, *d = a->dilation;
    const gate through = {a->narrow, (float)a->lo, (float)a->hi};
    const int alone = s[0] > (a->KH - 1) * d[0] && s[1] > (a->KW - 1) * d[1];
    const float *x_n = average ? 0 : a->x + n * a->x_s[0];
    float *dx_n = a->dx + n * a->dx_s[0];
    const int64_t first = ceil_div(max64(0, h0 + pad[0] - (a->KH - 1) * d[0]), s[0]);
    const int64_t end = min64(a->OH, (h1 - 1 + pad[0]) / s[0] + 1);
    const int tiled = s[0] == a->KH && s[1] == a->KW && !pad[0] && !pad[1];
    const int covered = alone && tiled && a->OH * a->KH == a->H && a->OW * a->KW == a->W; /* each pixel by one window */
    int64_t zeroed = covered ? h1 : h0;
    for (int64_t oh = first; oh < end; oh++) {
        const taps th = inside(oh, s[0], pad[0], d[0], a->KH, a->H);
        const int64_t dh = divisor(th, a->include_pad, oh, s[0], pad[0], pad[2], d[0], a->KH, a->H);
        const int64_t k0 = before(th.at, h0, d[0], th.n), k1 = before(th.at, h1, d[0], th.n);
        const int64_t reach = min64(h1, th.at + (th.n - 1) * d[0] + 1);
        if (k0 >= k1) continue;
        zero_rows(dx_n, a->dx_s, zeroed, reach, a->W, a->C);
        zeroed = max64(zeroed, reach);
        for (int64_t ow = 0; ow < a->OW; ow++) {
            const taps tw = inside(ow, s[1], pad[1], d[1], a->KW, a->W);
            const int64_t dw = divisor(tw, a->include_pad, ow, s[1], pad[1], pad[3], d[1], a->KW, a->W);
            const float scale = 1.0f / (float)max64(1, dh * dw);
            const float *x = average ? 0 : x_n + th.at * a->x_s[1] + tw.at * a->x_s[2];
            float *dx = dx_n + th.at * a->dx_s[1] + tw.at * a->dx_s[2];
            const float *dy = a->dy + n * a->dy_s[0] + oh * a->dy_s[1] + ow * a->dy_s[2];
            const int64_t xh = average ? 0 : a->x_s[1] * d[0], xw = average ? 0 : a->x_s[2] * d[1];
            const int64_t dxh = a->dx_s[1] * d[0], dxw = a->dx_s[2] * d[1];
            const int whole = !average && k0 == 0 && k1 == th.n; /* all tap rows are of the band */
            if (whole && !alone && th.n == 3 && tw.n == 3)
                route_pixel(1, 0, 0, 3, 3, 0, 3, x, xh, xw, dx, dxh, dxw, dy, scale, through, a->C);
            else if (whole && alone && th.n == 2 && tw.n == 2)
                route_pixel(1, 0, 1, 2, 2, 0, 2, x, xh, xw, dx, dxh, dxw, dy, scale, through, a->C);
            else route_pixel(0, average, alone, th.n, tw.n, k0, k1, x, xh, xw, dx, dxh, dxw, dy, scale, through, a->C);
        }
    }
    zero_rows(dx_n, a->dx_s, zeroed, h1, a->W, a->C);
}

/* The gradient of pool. No index is stored: maxima are found again in x. Threads share the rows of dx. */
DEFINE(pool_backward) {
    const range mine = share(a->N * a->H, tid, nthreads);
    for (int64_t row = mine.begin; row < mine.end;) {
        const int64_t h0 = row % a->H, h1 = min64(a->H, h0 + mine.end - row);
        if (a->average) band(1, a, row / a->H, h0, h1);
        else band(0, a, row / a->H, h0, h1);
        row += h1 - h0;
    }
}

/* The place of the first maximum (of NaNs, the last) of one window with the first tap at `start`, as {d, h, w}. */
static void first_maximum(const max_indices_args *a, const float *x, const int64_t start[3], int64_t best[3]) {
    const int64_t *s = a->x_s + 2, *K = a->window, *step = a->dilation;
    float m = -INFINITY;
    int found = 0;
    for (int64_t i = 0, d = start[0]; i < K[0]; i++, d += step[0])
        for (int64_t j = 0, h = start[1]; j < K[1]; j++, h += step[1])
            for (int64_t k = 0, w = start[2]; k < K[2]; k++, w += step[2]) {
                if (d < 0 || d >= a->size[0] || h < 0 || h >= a->size[1] || w < 0 || w >= a->size[2]) continue;
                const float v = x[d * s[0] + h * s[1] + w * s[2]];
                if (found && !(v > m) && v == v) continue;
                found = 1, m = v, best[0] = d, best[1] = h, best[2] = w;
            }
}

/* y (N, C, out) = where in x (N, C, size), its elements numbered in row-major order, the maxima of a pooling lie; with
 * column_major an image's elements are numbered rows first. Threads share the channels of all images. */
DEFINE(max_indices) {
    const int64_t *size = a->size, *out = a->out, pixels = size[0] * size[1] * size[2];
    const range mine = share(a->N * a->C, tid, nthreads);
    for (int64_t image = mine.begin; image < mine.end; image++) {
        const int64_t n = image / a->C, c = image % a->C;
        const float *x = a->x + n * a->x_s[0] + c * a->x_s[1];
        for (int64_t o = 0; o < out[0] * out[1] * out[2]; o++) {
            const int64_t at[3] = {o / (out[1] * out[2]), o / out[2] % out[1], o % out[2]};
            int64_t start[3], best[3] = {0};
            for (int i = 0; i < 3; i++) start[i] = at[i] * a->stride[i] - a->pad[i];
            first_maximum(a, x, start, best);
            a->y[n * a->y_s[0] + c * a->y_s[1] + at[0] * a->y_s[2] + at[1] * a->y_s[3] + at[2] * a->y_s[4]] =
                image * pixels + (a->column_major ? (best[2] * size[1] + best[1]) * size[0] + best[0]
                                                  : (best[0] * size[1] + best[1]) * size[2] + best[2]);
        }
    }
}

enum { BLOCK = 64 }; /* pixels summed in single precision before the total, which is double, takes them */

/* y = sum over H x W of nv vectors of n channels, times scale. */
INLINE void mean(int nv, const global_average_args *a, const float *x, double scale, float *y, int64_t n) {
    double total[CHUNK * VL] = {0};
    float part[CHUNK * VL];
    for (int64_t h = 0; h < a->H; h++)
        for (int64_t w = 0; w < a->W; w += BLOCK) {
            const float *p = x + h * a->x_s[1] + w * a->x_s[2];
            const int64_t pixels = min64(BLOCK, a->W - w);
            vf acc[CHUNK] = {{0}};
            for (int64_t i = 0; i < pixels; i++, p += a->x_s[2])
#pragma GCC unroll 4
                for (int j = 0; j < nv; j++) acc[j] += get(p + j * VL, n);
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) store(part + j * VL, acc[j]);
            for (int i = 0; i < nv * VL; i++) total[i] += part[i];
        }
    for (int64_t i = 0; i < (nv - 1) * VL + n; i++) y[i] = (float)(total[i] * scale);
}

/* y = mean of x over all pixels. Threads share images and vectors of channels. The caller joins rows that lie without
 * gaps: then W is the number of pixels. */
DEFINE(global_average) {
    const int64_t vectors = ceil_div(a->C, VL);
    const double scale = 1.0 / (double)(a->H * a->W);
    const range mine = share(a->N * vectors, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end;) {
        const int64_t n = i / vectors, v = i % vectors, c = v * VL;
        const int64_t whole = min64(a->C / VL - v, mine.end - i);
        const float *x = a->x + n * a->x_s[0] + c;
        float *y = a->y + n * a->y_s[0] + c;
        if (whole >= CHUNK) {
            mean(CHUNK, a, x, scale, y, VL);
            i += CHUNK;
        } else {
            mean(1, a, x, scale, y, min64(VL, a->C - c));
            i++;
        }
    }
}
