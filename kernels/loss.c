/* Losses. Each row of a batch gives its own numbers, added in a fixed order afterwards (reduce.c). */
#include "simd.h"

enum { RUN = 32 * VL }; /* values that are added in single precision before they go to double */

/* n <= VL floats; the rest of the vector is `rest`. */
INLINE vf fetch(const float *x, int64_t n, float rest) {
    if (n == VL) return load(x);
    vf v = splat(rest);
    for (int64_t i = 0; i < n; i++) v[i] = x[i];
    return v;
}

/* A row of scores: its largest, the first place of that (-1 if there is none), and the sum of exp(x - max)
 * over all others. The largest itself gives exactly 1, and left out it cannot hide small terms: log1p(others)
 * is accurate for confident rows too. `others` is NaN if the row holds a NaN or +inf, or nothing but -inf. */
typedef struct {
    float max;
    int64_t top;
    double others;
} row;

/* e, if not NULL, receives exp(x - max); it may be x. */
INLINE row row_exp(const float *x, float *e, int64_t C) {
    vf m = splat(-INFINITY);
    for (int64_t c = 0; c < C; c += VL) m = vmax(m, fetch(x + c, min64(VL, C - c), -INFINITY));
    row r = {-INFINITY, -1, 0};
    for (int k = 0; k < VL; k++) r.max = m[k] > r.max ? m[k] : r.max;
    for (int64_t c = 0; c < C && r.top < 0; c++)
        if (x[c] == r.max) r.top = c;
    r.others = r.max - r.max;
    for (int64_t begin = 0; begin < C; begin += RUN) {
        vf sum = splat(0);
        for (int64_t c = begin; c < min64(C, begin + RUN); c += VL) {
            const int64_t n = min64(VL, C - c);
            vf v = vexp(fetch(x + c, n, -INFINITY) - r.max);
            if (e) put(e + c, v, n);
            if (c <= r.top && r.top < c + VL) v[r.top - c] = 0;
            sum += v;
        }
        r.others += sum_lanes(sum);
    }
    return r;
}

/* Sum of x - max. */
static double row_sum(const float *x, float max, int64_t C) {
    double sum = 0;
    for (int64_t begin = 0; begin < C; begin += RUN) {
        vf part = splat(0);
        for (int64_t c = begin; c < min64(C, begin + RUN); c += VL)
            part += fetch(x + c, min64(VL, C - c), max) - max;
        sum += sum_lanes(part);
    }
    return sum;
}

/* losses[n] = -sum of t log softmax(x[n]) with t = (1 - smoothing) onehot(label) + smoothing / C; NaN for a
 * label out of range, which nothing is read for. hits[n] = 1 if the first of the largest scores is the
 * label's. Threads share rows. */
DEFINE(cross_entropy) {
    const range mine = share(a->N, tid, nthreads);
    const double s = a->smoothing;
    for (int64_t n = mine.begin; n < mine.end; n++) {
        const float *x = a->x + n * a->C;
        const int64_t label = a->labels[n * a->labels_s[0]];
        a->losses[n] = NAN;
        a->hits[n] = 0;
        if (label < 0 || label >= a->C) continue;
        const row r = row_exp(x, 0, a->C);
        double loss = log1p(r.others) - (1 - s) * ((double)x[label] - r.max);
        if (s > 0) loss -= s / (double)a->C * row_sum(x, r.max, a->C);
        a->losses[n] = (float)loss;
        a->hits[n] = r.top == label && r.others == r.others;
    }
}

/* dx = (softmax(x) - t) dloss / N; NaN in a row whose label is out of range. dx may be x. Threads share rows.
 * */
DEFINE(cross_entropy_backward) {
    const range mine = share(a->N, tid, nthreads);
    const double s = a->smoothing, even = s / (double)a->C, factor = *a->dloss / (double)a->N;
    for (int64_t n = mine.begin; n < mine.end; n++) {
        const float *x = a->x + n * a->C;
        float *dx = a->dx + n * a->C;
        const int64_t label = a->labels[n * a->labels_s[0]];
        const int valid = label >= 0 && label < a->C;
        const row r = row_exp(x, dx, a->C);
        const double sum = 1 + r.others;
        /* softmax - 1 of the label, without cancellation where it is the largest */
        const double miss = !valid ? NAN : label == r.top ? -r.others / sum : dx[label] / sum - 1;
        const float scale = valid ? (float)(factor / sum) : NAN, shift = (float)(factor * even);
        for (int64_t c = 0; c < a->C; c += VL) {
            const int64_t m = min64(VL, a->C - c);
            put(dx + c, fetch(dx + c, m, 0) * scale - shift, m);
        }
        if (valid) dx[label] = (float)(factor * (miss + s - even));
    }
}

INLINE vf difference(const squared_distance_args *a, int64_t i, int64_t n) {
    const vf x = fetch(a->x + i, n, 0);
    return a->y ? x - fetch(a->y + i, n, 0) : x;
}

/* out[k] = sum over slab k, a fixed share of the n values, of (x - y)^2; y may be NULL for 0. Threads share
 * slabs. */
DEFINE(squared_distance) {
    const range mine = share(a->slabs, tid, nthreads);
    for (int64_t k = mine.begin; k < mine.end; k++) {
        const range slab = share(a->n, (int)k, (int)a->slabs);
        double total = 0;
        for (int64_t begin = slab.begin; begin < slab.end; begin += RUN) {
            const int64_t end = min64(slab.end, begin + RUN);
            vf sum = splat(0);
            for (int64_t i = begin; i < end; i += VL) {
                const vf d = difference(a, i, min64(VL, end - i));
                sum += d * d;
            }
            total += sum_lanes(sum);
        }
        a->out[k] = (float)total;
    }
}
