/* Reductions over any axes: sums, products and extremes of x, and sums of functions of x and z. Each slab, a fixed share of
 * the terms whatever the number of threads, gives its own partial result; floats are joined in runs of RUN, runs in double,
 * so the error of a sum does not grow with the number of terms. */
#include "functions.h"

enum { RANK = 3, RUN = 32, STRIPE = 4 * VL, CHUNK = 16 * STRIPE };

/* What a reduction does: the terms are term(x, z), the result of no terms is `none`. */
typedef struct {
    vf (*term)(vf x, vf z), (*join)(vf acc, vf t);
    double (*join_runs)(double acc, double t), none;
} reduction;

typedef struct {
    const float *x, *z;
    const int64_t *dims, *x_s, *z_s;
    int64_t slabs, y_slab;
    const int64_t *y_s;
    float *y;
    double scale;
} nest;

/* n <= VL elements that lie 0 or 1 apart. */
INLINE vf fetch(const float *p, int64_t s, int64_t n) { return s == 0 ? splat(*p) : get(p, n); }

/* acc[c] joined with n <= RUN rows, xs and zs apart, of terms c < width. */
INLINE void join_rows(const reduction *f, double *acc, const float *x, int64_t xs, const float *z, int64_t zs, int64_t n,
                      int64_t width) {
    int64_t c = 0;
    for (; c + STRIPE <= width; c += STRIPE) {
        vf v[4];
        for (int j = 0; j < 4; j++) v[j] = splat((float)f->none);
        for (int64_t i = 0; i < n; i++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                v[j] = f->join(v[j], f->term(load(x + i * xs + c + j * VL), load(z + i * zs + c + j * VL)));
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < VL; k++) acc[c + j * VL + k] = f->join_runs(acc[c + j * VL + k], v[j][k]);
    }
    for (; c < width; c += VL) {
        const int64_t m = min64(VL, width - c);
        vf v = splat((float)f->none);
        if (m == VL)
            for (int64_t i = 0; i < n; i++) v = f->join(v, f->term(load(x + i * xs + c), load(z + i * zs + c)));
        else
            for (int64_t i = 0; i < n; i++) v = f->join(v, f->term(load_n(x + i * xs + c, m), load_n(z + i * zs + c, m)));
        for (int64_t k = 0; k < m; k++) acc[c + k] = f->join_runs(acc[c + k], v[k]);
    }
}

INLINE double join_lanes(const reduction *f, vf v) {
    double d[VL];
    for (int k = 0; k < VL; k++) d[k] = v[k];
    for (int half = VL / 2; half; half /= 2)
        for (int k = 0; k < half; k++) d[k] = f->join_runs(d[k], d[k + half]);
    return d[0];
}

/* n vectors of terms side by side, zs 0 or 1. */
INLINE double join_vectors(const reduction *f, double acc, const float *x, const float *z, int64_t zs, int64_t n) {
    for (int64_t i = 0; i < n;) {
        vf v[4];
        for (int j = 0; j < 4; j++) v[j] = splat((float)f->none);
        const int64_t end = min64(i + 4 * RUN, n);
        for (; i + 4 <= end; i += 4)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                v[j] = f->join(v[j], f->term(load(x + (i + j) * VL), fetch(z + (i + j) * VL * zs, zs, VL)));
        for (; i < end; i++) v[0] = f->join(v[0], f->term(load(x + i * VL), fetch(z + i * VL * zs, zs, VL)));
        acc = f->join_runs(acc, join_lanes(f, f->join(f->join(v[0], v[1]), f->join(v[2], v[3]))));
    }
    return acc;
}

/* n terms, xs and zs apart. */
INLINE double join_line(const reduction *f, double acc, const float *x, int64_t xs, const float *z, int64_t zs, int64_t n) {
    const int64_t whole = xs == 1 && (zs == 0 || zs == 1) ? n / VL : 0;
    if (whole && zs) acc = join_vectors(f, acc, x, z, 1, whole);
    else if (whole) acc = join_vectors(f, acc, x, z, 0, whole);
    for (int64_t i = whole * VL; i < n; i++) acc = f->join_runs(acc, f->term(splat(x[i * xs]), splat(z[i * zs]))[0]);
    return acc;
}

/* acc[c] = a slab's terms of `width` outputs side by side in x and z. */
INLINE void join_slab(const reduction *f, double *acc, const nest *t, const float *x, const float *z, range terms,
                      int64_t width) {
    const int64_t *d = t->dims + RANK, inner = d[RANK - 1];
    const int64_t xs = t->x_s[2 * RANK - 1], zs = t->z_s[2 * RANK - 1];
    for (int64_t c = 0; c < width; c++) acc[c] = f->none;
    for (int64_t i = terms.begin; i < terms.end;) {
        const int64_t n = min64(inner - i % inner, terms.end - i);
        const float *xl = x + offset(i, d, t->x_s + RANK, RANK), *zl = z + offset(i, d, t->z_s + RANK, RANK);
        if (width == 1)
            acc[0] = join_line(f, acc[0], xl, xs, zl, zs, n);
        else
            for (int64_t r = 0; r < n; r += RUN)
                join_rows(f, acc, xl + r * xs, xs, zl + r * zs, zs, min64(RUN, n - r), width);
        i += n;
    }
}

/* y[slab, kept] = scale * reduction of the terms [kept, share of the slab]. Outputs side by side in x and z are reduced
 * together. */
INLINE void reduce(const reduction f, const nest *t, int tid, int nthreads) {
    const int64_t *d = t->dims, terms = d[3] * d[4] * d[5], xc = t->x_s[RANK - 1], zc = t->z_s[RANK - 1];
    const int64_t width = xc == 1 && zc == 1 ? min64(CHUNK, d[RANK - 1]) : 1;
    const int64_t chunks = ceil_div(d[RANK - 1], max64(width, 1)), per_slab = d[0] * d[1] * chunks;
    const range mine = share(t->slabs * per_slab, tid, nthreads);
    double acc[CHUNK];
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const int64_t slab = i / per_slab, outer = i % per_slab / chunks, c0 = i % chunks * width;
        const int64_t n = min64(width, d[RANK - 1] - c0);
        const float *x = t->x + offset(outer, d, t->x_s, RANK - 1) + c0 * xc;
        const float *z = t->z + offset(outer, d, t->z_s, RANK - 1) + c0 * zc;
        float *y = t->y + slab * t->y_slab + offset(outer, d, t->y_s, RANK - 1) + c0 * t->y_s[RANK - 1];
        join_slab(&f, acc, t, x, z, share(terms, (int)slab, (int)t->slabs), n);
        for (int64_t c = 0; c < n; c++) y[c * t->y_s[RANK - 1]] = (float)(acc[c] * t->scale);
    }
}

INLINE vf add(vf acc, vf t) { return acc + t; }
INLINE vf multiply(vf acc, vf t) { return acc * t; }
INLINE vf smaller(vf acc, vf t) { return blend(acc == acc, vmin(acc, t), acc); }
INLINE double add_runs(double acc, double t) { return acc + t; }
INLINE double multiply_runs(double acc, double t) { return acc * t; }
INLINE double larger_run(double acc, double t) { return acc >= t || acc != acc ? acc : t; }
INLINE double smaller_run(double acc, double t) { return acc <= t || acc != acc ? acc : t; }

#define REDUCTION(name, expression, join, join_runs, none)                                                          \
    INLINE vf name##_term(vf x, vf z) { (void)z; return expression; }                                               \
    DEFINE(name) {                                                                                                  \
        reduce((reduction){name##_term, join, join_runs, none},                                                     \
               &(nest){a->x, a->z ? a->z : a->x, a->dims, a->x_s, a->z ? a->z_s : a->x_s, a->slabs, a->y_s[0],      \
                       a->y_s + 1, a->y, a->scale}, tid, nthreads);                                                 \
    }
REDUCTION(sum, x, add, add_runs, 0)
REDUCTION(sum_abs, vabs(x), add, add_runs, 0)
REDUCTION(sum_products, x * z, add, add_runs, 0)
REDUCTION(sum_squared_differences, (x - z) * (x - z), add, add_runs, 0)
REDUCTION(sum_exp, vexp(x - z), add, add_runs, 0)
REDUCTION(product, x, multiply, multiply_runs, 1)
REDUCTION(maximum, x, larger, larger_run, -INFINITY)
REDUCTION(minimum, x, smaller, smaller_run, INFINITY)
