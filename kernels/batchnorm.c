/* Batch normalisation of channels-last pixels (Ioffe and Szegedy 2015), vectorised over channels.
 *
 * Statistics are 5 rows of C floats: the mean; what rounding the mean lost; 1 / sqrt(var + epsilon); the scale gamma times
 * that; the shift. y = (x - mean) * scale + shift is exact to a few ulp even where the mean is large against the
 * deviation, which x * a + b is not.
 *
 * Sums over all pixels are taken per slab, of which there is a fixed number, whoever computes them; in a slab per block of
 * pixels in single precision, and in double from there on. */
#include "simd.h"

enum { MEAN, REST, INV_STD, SCALE, SHIFT }; /* rows of the statistics */
enum { GROUP = 256 };                       /* channels summed together, a multiple of every VL */
enum { BLOCK = 64 };                        /* pixels of a block */

/* How many pixels from p on, not more than up to `end`, are a constant stride apart. */
INLINE int64_t run(int64_t p, int64_t end, int64_t W) { return min64(W - p % W, end - p); }

INLINE vf normal(vf x, const float *statistics, int64_t C, int64_t n) {
    return (x - get(statistics + MEAN * C, n)) * get(statistics + SCALE * C, n) + get(statistics + SHIFT * C, n);
}

/* Pixels that are added to the sums at once, one after the other: these are loaded and stored so much less often. */
enum { AT_ONCE = 4 };

/* Pixels that are fetched into the L2 ahead: so many runs of a few lines confuse the hardware's own fetching, and the L1 can
 * wait for few lines at a time (256 channels on Zen 4: 11 GB/s without, 14 into the L1, 26 into the L2). */
enum { SOON = 8 };
INLINE void fetch_soon(const float *pixel, int64_t step) { __builtin_prefetch(pixel + SOON * step, 0, 2); }

/* sum += x, of one vector of `count` pixels */
INLINE void add_vectors(int count, const float *x, int64_t step, float *sum, int64_t n) {
    vf s = load(sum);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        fetch_soon(x + i * step, step);
        s += get(x + i * step, n);
    }
    store(sum, s);
}

/* d += x - pivot, q += (x - pivot)^2 */
INLINE void add_deviations(int count, const float *x, int64_t step, const float *pivot, float *d, float *q, int64_t n) {
    vf sum = load(d), squares = load(q);
    const vf p = load(pivot);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        fetch_soon(x + i * step, step);
        const vf e = get(x + i * step, n) - p;
        sum += e;
        squares += e * e;
    }
    store(d, sum);
    store(q, squares);
}

/* The first walk of block_statistics over `count` pixels, or the second. */
INLINE void add_pixels(int second, int count, const float *x, int64_t step, int64_t C, float *pivot, float *d, float *q) {
    for (int64_t c = 0, n; c < C; c += n) {
        n = min64(VL, C - c);
        if (second && n == VL) add_deviations(count, x + c, step, pivot + c, d + c, q + c, VL);
        else if (second) add_deviations(count, x + c, step, pivot + c, d + c, q + c, n);
        else if (n == VL) add_vectors(count, x + c, step, pivot + c, VL);
        else add_vectors(count, x + c, step, pivot + c, n);
    }
}

/* Of a block of pixels of at most GROUP channels the sums of (x - pivot) and of (x - pivot)^2, merged into the mean and the
 * sum of squared deviations of the `count` pixels before it (Chan, Golub and LeVeque 1979). The pivot is the mean of those:
 * what cancels if this block's lies elsewhere is no more than what the distance adds to the result. The first block walks
 * twice, for its own mean. */
static void block_statistics(const float *x, int64_t step, int64_t pixels, int64_t C, int64_t count, double *mean,
                             double *m2) {
    float pivot[GROUP] = {0}, d[GROUP] = {0}, q[GROUP] = {0};
    int64_t i = 0;
    for (; !count && i + AT_ONCE <= pixels; i += AT_ONCE) add_pixels(0, AT_ONCE, x + i * step, step, C, pivot, d, q);
    for (; !count && i < pixels; i++) add_pixels(0, 1, x + i * step, step, C, pivot, d, q);
    for (int64_t c = 0; c < C; c++) pivot[c] = count ? (float)mean[c] : pivot[c] * (1.0f / (float)pixels);
    for (i = 0; i + AT_ONCE <= pixels; i += AT_ONCE) add_pixels(1, AT_ONCE, x + i * step, step, C, pivot, d, q);
    for (; i < pixels; i++) add_pixels(1, 1, x + i * step, step, C, pivot, d, q);
    const double nb = (double)pixels, part = nb / (double)(count + pixels), both = (double)count * part, share = 1 / nb;
    for (int64_t c = 0; c < C; c++) {
        const double delta = pivot[c] + d[c] * share - mean[c];
        m2[c] += q[c] - (double)d[c] * d[c] * share + delta * delta * both;
        mean[c] += delta * part;
    }
}

/* Slab s of the pixels. */
INLINE range slab(int64_t pixels, int64_t slabs, int64_t s) { return share(pixels, (int)s, (int)slabs); }

/* partials = slabs x (mean, sum of squared deviations) x C doubles of x. */
DEFINE(batch_norm_partials) {
    const int64_t C = a->C, step = a->x_s[2];
    const range mine = share(a->slabs, tid, nthreads);
    for (int64_t s = mine.begin; s < mine.end; s++) {
        double *mean = (double *)(void *)a->partials + 2 * C * s, *m2 = mean + C;
        memset(mean, 0, (size_t)(2 * C) * sizeof *mean);
        const range r = slab(a->pixels, a->slabs, s);
        for (int64_t p = r.begin, n; p < r.end; p += n) {
            n = min64(BLOCK, run(p, r.end, a->W));
            const float *x = a->x + pixel_offset(a->x_s, p, a->H, a->W);
            for (int64_t c = 0; c < C; c += GROUP)
                block_statistics(x + c, step, n, min64(GROUP, C - c), p - r.begin, mean + c, m2 + c);
        }
    }
}

/* Mean and biased variance of n <= GROUP channels from their partials (Chan, Golub and LeVeque again). */
static void merge(const batch_norm_statistics_args *a, int64_t c, int64_t n, double *mean, double *var) {
    const double *part = (const double *)(const void *)a->partials + c;
    double count = 0;
    for (int64_t i = 0; i < n; i++) mean[i] = var[i] = 0;
    for (int64_t s = 0; s < a->slabs; s++, part += 2 * a->C) {
        const range r = slab(a->pixels, a->slabs, s);
        const double more = (double)(r.end - r.begin), weight = more / (count + more), both = count * weight;
        for (int64_t i = 0; i < n; i++) {
            const double delta = part[i] - mean[i];
            var[i] += part[a->C + i] + delta * delta * both;
            mean[i] += delta * weight;
        }
        count += more;
    }
    for (int64_t i = 0; i < n; i++) var[i] /= count;
}

/* Statistics from the partials of a batch, which also move the running ones, or without partials from the running ones.
 * The biased variance is used for both, as in ONNX; momentum is the weight of the old value. Threads share channels. */
DEFINE(batch_norm_statistics) {
    const int64_t C = a->C;
    const range mine = share(ceil_div(C, GROUP), tid, nthreads);
    for (int64_t c = mine.begin * GROUP; c < min64(C, mine.end * GROUP); c += GROUP) {
        const int64_t n = min64(GROUP, C - c);
        double mean[GROUP], var[GROUP];
        if (a->partials) merge(a, c, n, mean, var);
        for (int64_t i = 0; i < n; i++) {
            if (a->partials) {
                a->new_mean[c + i] = (float)(a->mean[c + i] * a->momentum + mean[i] * (1 - a->momentum));
                a->new_var[c + i] = (float)(a->var[c + i] * a->momentum + var[i] * (1 - a->momentum));
            } else {
                mean[i] = a->mean[c + i];
                var[i] = a->var[c + i];
            }
            float *out = a->statistics + c + i;
            const double inv_std = 1 / sqrt(var[i] + a->epsilon), scale = a->gamma[c + i] * inv_std;
            const double rest = mean[i] - (float)mean[i];
            out[MEAN * C] = (float)mean[i];
            out[REST * C] = (float)rest;
            out[INV_STD * C] = (float)inv_std;
            out[SCALE * C] = (float)scale;
            out[SHIFT * C] = (float)(a->beta[c + i] - rest * scale);
        }
    }
}

INLINE void forward_run(int with_r, const batch_norm_args *a, const float *x, const float *r, float *y, int64_t pixels) {
    const int64_t C = a->C;
    const vf lo = splat((float)a->lo), hi = splat((float)a->hi);
    for (int64_t i = 0; i < pixels; i++, x += a->x_s[2], y += a->y_s[2], r += with_r ? a->r_s[2] : 0) {
        int64_t c = 0;
        for (; c + VL <= C; c += VL) {
            vf z = normal(load(x + c), a->statistics + c, C, VL);
            if (with_r) z += load(r + c);
            store(y + c, vmin(hi, vmax(lo, z)));
        }
        if (c < C) {
            vf z = normal(load_n(x + c, C - c), a->statistics + c, C, C - c);
            if (with_r) z += load_n(r + c, C - c);
            store_n(y + c, vmin(hi, vmax(lo, z)), C - c);
        }
    }
}

/* y = clamp((x - mean) * scale + shift + r, lo, hi); r may be NULL. Threads share pixels. */
DEFINE(batch_norm) {
    const range mine = share(a->pixels, tid, nthreads);
    for (int64_t p = mine.begin, n; p < mine.end; p += n) {
        n = run(p, mine.end, a->W);
        const float *x = a->x + pixel_offset(a->x_s, p, a->H, a->W);
        float *y = a->y + pixel_offset(a->y_s, p, a->H, a->W);
        if (a->r) forward_run(1, a, x, a->r + pixel_offset(a->r_s, p, a->H, a->W), y, n);
        else forward_run(0, a, x, 0, y, n);
    }
}

/* How the gradient passes the clamp: there is none, or z is computed again from x, or y is read because a residual
 * went into it. */
enum { OPEN, FROM_X, FROM_Y };

INLINE vf masked(int how, vf dy, const float *x, const float *y, const float *statistics, int64_t C, vf lo, vf hi,
                 int64_t n) {
    if (how == OPEN) return dy;
    const vf z = how == FROM_X ? normal(get(x, n), statistics, C, n) : get(y, n);
    return blend((z > lo) & (z < hi), dy, splat(0));
}

/* The pixels of one run of each image, already at their first pixel and a channel, and their steps. */
typedef struct {
    const float *dy, *x, *y;
    float *out;
    int64_t dy_w, x_w, y_w, out_w;
} streams;

/* Adds dz and dz * (x - mean) of a vector of `count` pixels; writes dz if asked. */
INLINE void sum_vectors(int how, int write, int count, const streams *t, const float *statistics, int64_t C, vf lo, vf hi,
                        float *sum, float *dot, int64_t n) {
    vf s = load(sum), d = load(dot);
    const vf mean = get(statistics + MEAN * C, n);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        const float *x = t->x + i * t->x_w, *y = how == FROM_Y ? t->y + i * t->y_w : 0;
        fetch_soon(x, t->x_w);
        fetch_soon(t->dy + i * t->dy_w, t->dy_w);
        if (how == FROM_Y) fetch_soon(y, t->y_w);
        const vf dz = masked(how, get(t->dy + i * t->dy_w, n), x, y, statistics, C, lo, hi, n);
        if (write) put(t->out + i * t->out_w, dz, n);
        s += dz;
        d += dz * (get(x, n) - mean);
    }
    store(sum, s);
    store(dot, d);
}

/* The same for a group of channels of these pixels. */
INLINE void sum_pixels(int how, int write, int count, const streams *t, const float *statistics, int64_t C, int64_t group,
                       vf lo, vf hi, float *sum, float *dot) {
    for (int64_t c = 0, n; c < group; c += n) {
        const streams u = {t->dy + c, t->x + c, how == FROM_Y ? t->y + c : 0, write ? t->out + c : 0,
                           t->dy_w, t->x_w, t->y_w, t->out_w};
        n = min64(VL, group - c);
        if (n == VL) sum_vectors(how, write, count, &u, statistics + c, C, lo, hi, sum + c, dot + c, VL);
        else sum_vectors(how, write, count, &u, statistics + c, C, lo, hi, sum + c, dot + c, n);
    }
}

/* The same for a block of pixels, added to the sums of a slab. */
INLINE void block_sums(int how, int write, streams t, int64_t pixels, const float *statistics, int64_t C, vf lo, vf hi,
                       double *partials) {
    for (int64_t c0 = 0; c0 < C; c0 += GROUP) {
        const int64_t group = min64(GROUP, C - c0);
        float sum[GROUP] = {0}, dot[GROUP] = {0};
        for (int64_t i = 0, count; i < pixels; i += count) {
            count = pixels - i >= AT_ONCE ? AT_ONCE : 1;
            const streams u = {t.dy + i * t.dy_w + c0, t.x + i * t.x_w + c0, how == FROM_Y ? t.y + i * t.y_w + c0 : 0,
                               write ? t.out + i * t.out_w + c0 : 0, t.dy_w, t.x_w, t.y_w, t.out_w};
            if (count == AT_ONCE) sum_pixels(how, write, AT_ONCE, &u, statistics + c0, C, group, lo, hi, sum, dot);
            else sum_pixels(how, write, 1, &u, statistics + c0, C, group, lo, hi, sum, dot);
        }
        for (int64_t c = 0; c < group; c++) {
            partials[c0 + c] += sum[c];
            partials[C + c0 + c] += dot[c];
        }
    }
}

/* partials = slabs x (sum of dz, sum of dz * (x - mean)) x C doubles, dz = dy where the clamp let z through. dz is
 * written if it is not NULL, over dy if it is dy; it is with a residual only. */
DEFINE(batch_norm_backward_partials) {
    const range mine = share(a->slabs, tid, nthreads);
    const vf lo = splat((float)a->lo), hi = splat((float)a->hi);
    for (int64_t s = mine.begin; s < mine.end; s++) {
        double *partials = (double *)(void *)a->partials + 2 * a->C * s;
        memset(partials, 0, (size_t)(2 * a->C) * sizeof *partials);
        const range r = slab(a->pixels, a->slabs, s);
        for (int64_t p = r.begin, n; p < r.end; p += n) {
            n = min64(BLOCK, run(p, r.end, a->W));
            const streams t = {a->dy + pixel_offset(a->dy_s, p, a->H, a->W), a->x + pixel_offset(a->x_s, p, a->H, a->W),
                               a->y ? a->y + pixel_offset(a->y_s, p, a->H, a->W) : 0,
                               a->dz ? a->dz + pixel_offset(a->dz_s, p, a->H, a->W) : 0,
                               a->dy_s[2], a->x_s[2], a->y_s[2], a->dz_s[2]};
            if (!a->clamped) block_sums(OPEN, 0, t, n, a->statistics, a->C, lo, hi, partials);
            else if (!a->y) block_sums(FROM_X, 0, t, n, a->statistics, a->C, lo, hi, partials);
            else if (!a->dz) block_sums(FROM_Y, 0, t, n, a->statistics, a->C, lo, hi, partials);
            else block_sums(FROM_Y, 1, t, n, a->statistics, a->C, lo, hi, partials);
        }
    }
}

/* dgamma and dbeta, and with coefficients those of dx = scale * dz + b * (x - mean) + c, which contain what dz changes in
 * the batch's mean and variance: rows b and c. */
DEFINE(batch_norm_backward_parameters) {
    const int64_t C = a->C;
    const range mine = share(C, tid, nthreads);
    for (int64_t c = mine.begin; c < mine.end; c++) {
        const double *part = (const double *)(const void *)a->partials;
        double sum = 0, dot = 0;
        for (int64_t s = 0; s < a->slabs; s++, part += 2 * C) {
            sum += part[c];
            dot += part[C + c];
        }
        const double rest = a->statistics[REST * C + c], inv_std = a->statistics[INV_STD * C + c];
        const double scale = a->statistics[SCALE * C + c], dgamma = (dot - rest * sum) * inv_std;
        if (a->dgamma) a->dgamma[c] = (float)dgamma;
        if (a->dbeta) a->dbeta[c] = (float)sum;
        if (a->coefficients) {
            const double b = -scale * inv_std * dgamma / (double)a->pixels;
            a->coefficients[c] = (float)b;
            a->coefficients[C + c] = (float)(-scale * sum / (double)a->pixels - b * rest);
        }
    }
}

/* One vector of dx. */
INLINE void data_vector(int how, int batch, const streams *t, const float *statistics, const float *coefficients,
                        int64_t C, vf lo, vf hi, int64_t n) {
    const vf dz = masked(how, get(t->dy, n), t->x, t->y, statistics, C, lo, hi, n);
    vf dx = dz * get(statistics + SCALE * C, n);
    if (batch) dx += (get(t->x, n) - get(statistics + MEAN * C, n)) * get(coefficients, n) + get(coefficients + C, n);
    put(t->out, dx, n);
}

INLINE void data_run(int how, int batch, const batch_norm_backward_data_args *a, streams t, int64_t pixels) {
    const int64_t C = a->C;
    const vf lo = splat((float)a->lo), hi = splat((float)a->hi);
    for (int64_t i = 0; i < pixels; i++) {
        int64_t c = 0;
        for (; c < C; c += VL) {
            const streams u = {t.dy + c, batch || how == FROM_X ? t.x + c : 0, how == FROM_Y ? t.y + c : 0, t.out + c,
                               0, 0, 0, 0};
            const float *k = batch ? a->coefficients + c : 0;
            if (C - c >= VL) data_vector(how, batch, &u, a->statistics + c, k, C, lo, hi, VL);
            else data_vector(how, batch, &u, a->statistics + c, k, C, lo, hi, C - c);
        }
        t.dy += t.dy_w, t.x += t.x_w, t.y += t.y_w, t.out += t.out_w;
    }
}

/* dx, over dy or x if it is the same; without coefficients the statistics were no function of x. Threads share pixels. */
DEFINE(batch_norm_backward_data) {
    const range mine = share(a->pixels, tid, nthreads);
    for (int64_t p = mine.begin, n; p < mine.end; p += n) {
        n = run(p, mine.end, a->W);
        const streams t = {a->dy + pixel_offset(a->dy_s, p, a->H, a->W),
                           a->x ? a->x + pixel_offset(a->x_s, p, a->H, a->W) : 0,
                           a->y ? a->y + pixel_offset(a->y_s, p, a->H, a->W) : 0,
                           a->dx + pixel_offset(a->dx_s, p, a->H, a->W),
                           a->dy_s[2], a->x_s[2], a->y_s[2], a->dx_s[2]};
        if (a->coefficients) {
            if (!a->clamped) data_run(OPEN, 1, a, t, n);
            else if (a->y) data_run(FROM_Y, 1, a, t, n);
            else data_run(FROM_X, 1, a, t, n);
        } else {
            if (!a->clamped) data_run(OPEN, 0, a, t, n);
            else if (a->y) data_run(FROM_Y, 0, a, t, n);
            else data_run(FROM_X, 0, a, t, n);
        }
    }
}
