/* Sums over any axes. Each slab, a fixed share of the terms whatever the number of threads, gives its own partial sum;
 * floats are added in runs of RUN, runs in double, so the error does not grow with the number of terms. */
#include "simd.h"

enum { RANK = 3, RUN = 32, STRIPE = 4 * VL, CHUNK = 16 * STRIPE };

/* acc[c] += sum over n <= RUN rows, s apart, of x[c], for c < width. */
static void add_rows(double *acc, const float *x, int64_t s, int64_t n, int64_t width) {
    int64_t c = 0;
    for (; c + STRIPE <= width; c += STRIPE) {
        vf v[4] = {{0}, {0}, {0}, {0}};
        for (int64_t i = 0; i < n; i++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) v[j] += load(x + i * s + c + j * VL);
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < VL; k++) acc[c + j * VL + k] += v[j][k];
    }
    for (; c < width; c += VL) {
        const int64_t m = min64(VL, width - c);
        vf v = splat(0);
        if (m == VL)
            for (int64_t i = 0; i < n; i++) v += load(x + i * s + c);
        else
            for (int64_t i = 0; i < n; i++) v += load_n(x + i * s + c, m);
        for (int64_t k = 0; k < m; k++) acc[c + k] += v[k];
    }
}

INLINE double add_lanes(vf v) {
    double d[VL];
    for (int k = 0; k < VL; k++) d[k] = v[k];
    for (int half = VL / 2; half; half /= 2)
        for (int k = 0; k < half; k++) d[k] += d[k + half];
    return d[0];
}

/* The sum of n floats, s apart. */
static double sum_line(const float *x, int64_t s, int64_t n) {
    double sum = 0;
    int64_t i = 0;
    if (s == 1)
        for (; i + VL <= n;) {
            vf v[4] = {{0}, {0}, {0}, {0}};
            const int64_t end = min64(i + RUN * STRIPE, n);
            for (; i + STRIPE <= end; i += STRIPE)
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) v[j] += load(x + i + j * VL);
            for (; i + VL <= end; i += VL) v[0] += load(x + i);
            sum += add_lanes((v[0] + v[1]) + (v[2] + v[3]));
        }
    for (; i < n; i++) sum += x[i * s];
    return sum;
}

INLINE int64_t offset(int64_t index, const int64_t *dims, const int64_t *s, int n) {
    int64_t at = 0;
    for (int d = n - 1; d >= 0; d--) {
        at += index % dims[d] * s[d];
        index /= dims[d];
    }
    return at;
}

/* acc[c] = the sum of a slab's terms of `width` outputs side by side in x. */
static void add_slab(double *acc, const sum_args *a, const float *x, range terms, int64_t width) {
    const int64_t *d = a->dims + RANK, *s = a->x_s + RANK, inner = d[RANK - 1];
    memset(acc, 0, (size_t)width * sizeof *acc);
    for (int64_t i = terms.begin; i < terms.end;) {
        const int64_t n = min64(inner - i % inner, terms.end - i);
        const float *line = x + offset(i, d, s, RANK);
        if (width == 1)
            acc[0] += sum_line(line, s[RANK - 1], n);
        else
            for (int64_t r = 0; r < n; r += RUN)
                add_rows(acc, line + r * s[RANK - 1], s[RANK - 1], min64(RUN, n - r), width);
        i += n;
    }
}

/* y[slab, kept] = scale * sum of x[kept, terms of the slab]. Outputs side by side in x are summed together. */
DEFINE(sum) {
    const int64_t *d = a->dims, terms = d[3] * d[4] * d[5];
    const int64_t width = a->x_s[RANK - 1] == 1 ? min64(CHUNK, d[RANK - 1]) : 1;
    const int64_t chunks = ceil_div(d[RANK - 1], max64(width, 1)), per_slab = d[0] * d[1] * chunks;
    const range mine = share(a->slabs * per_slab, tid, nthreads);
    double acc[CHUNK];
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const int64_t slab = i / per_slab, outer = i % per_slab / chunks, c0 = i % chunks * width;
        const int64_t n = min64(width, d[RANK - 1] - c0);
        const float *x = a->x + offset(outer, d, a->x_s, RANK - 1) + c0 * a->x_s[RANK - 1];
        float *y = a->y + slab * a->y_s[0] + offset(outer, d, a->y_s + 1, RANK - 1) + c0 * a->y_s[RANK];
        add_slab(acc, a, x, share(terms, (int)slab, (int)a->slabs), n);
        for (int64_t c = 0; c < n; c++) y[c * a->y_s[RANK]] = (float)(acc[c] * a->scale);
    }
}
