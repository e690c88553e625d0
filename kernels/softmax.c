/* Softmax along the last loop of a nest; the others count rows, which threads share. */
#include "simd.h"

enum { LOOPS = 6, RUN = 32 * VL };

/* n <= VL elements, s apart; the rest of the vector is `rest`. */
INLINE vf fetch(const float *x, int64_t s, int64_t n, float rest) {
    if (n == VL && s == 1) return load(x);
    vf v = splat(rest);
    for (int64_t i = 0; i < n; i++) v[i] = x[i * s];
    return v;
}

INLINE float largest(const float *x, int64_t xs, int64_t n) {
    vf top = splat(-INFINITY);
    for (int64_t i = 0; i < n; i += VL) top = vmax(top, fetch(x + i * xs, xs, min64(VL, n - i), -INFINITY));
    float max = -INFINITY;
    for (int k = 0; k < VL; k++) max = top[k] > max ? top[k] : max;
    return max;
}

/* y = exp(x - max(x)) / sum; floats are added in runs, runs in double. A NaN or +inf in a row makes all of it NaN, as
 * does a row of -inf. y may lie over x. */
INLINE void softmax_row(float *y, int64_t ys, const float *x, int64_t xs, int64_t n) {
    const float max = largest(x, xs, n);
    double sum = 0;
    for (int64_t run = 0; run < n; run += RUN) {
        vf part = splat(0);
        for (int64_t i = run; i < min64(n, run + RUN); i += VL) {
            const int64_t m = min64(VL, n - i);
            const vf e = vexp(fetch(x + i * xs, xs, m, -INFINITY) - max);
            part += e;
            put_strided(y + i * ys, ys, e, m);
        }
        sum += sum_lanes(part);
    }
    const float scale = (float)(1 / sum);
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t m = min64(VL, n - i);
        put_strided(y + i * ys, ys, fetch(y + i * ys, ys, m, 0) * scale, m);
    }
}

/* y = x - max(x) - log(sum(exp(x - max(x)))), as above; y may lie over x. */
INLINE void log_softmax_row(float *y, int64_t ys, const float *x, int64_t xs, int64_t n) {
    const float max = largest(x, xs, n);
    double sum = 0;
    for (int64_t run = 0; run < n; run += RUN) {
        vf part = splat(0);
        for (int64_t i = run; i < min64(n, run + RUN); i += VL)
            part += vexp(fetch(x + i * xs, xs, min64(VL, n - i), -INFINITY) - max);
        sum += sum_lanes(part);
    }
    const float rest = (float)log(sum);
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t m = min64(VL, n - i);
        put_strided(y + i * ys, ys, fetch(x + i * xs, xs, m, 0) - max - rest, m);
    }
}

/* dx = y (dy - sum(dy y)); dx may lie over dy or y. */
INLINE void backward_row(float *dx, int64_t s, const float *dy, int64_t gs, const float *y, int64_t ys, int64_t n) {
    double sum = 0;
    for (int64_t run = 0; run < n; run += RUN) {
        vf part = splat(0);
        for (int64_t i = run; i < min64(n, run + RUN); i += VL) {
            const int64_t m = min64(VL, n - i);
            part += fetch(dy + i * gs, gs, m, 0) * fetch(y + i * ys, ys, m, 0);
        }
        sum += sum_lanes(part);
    }
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t m = min64(VL, n - i);
        put_strided(dx + i * s, s, fetch(y + i * ys, ys, m, 0) * (fetch(dy + i * gs, gs, m, 0) - (float)sum), m);
    }
}

/* dx = dy - exp(y) sum(dy); dx may lie over dy or y. */
INLINE void log_backward_row(float *dx, int64_t s, const float *dy, int64_t gs, const float *y, int64_t ys, int64_t n) {
    double sum = 0;
    for (int64_t run = 0; run < n; run += RUN) {
        vf part = splat(0);
        for (int64_t i = run; i < min64(n, run + RUN); i += VL) part += fetch(dy + i * gs, gs, min64(VL, n - i), 0);
        sum += sum_lanes(part);
    }
    for (int64_t i = 0; i < n; i += VL) {
        const int64_t m = min64(VL, n - i);
        put_strided(dx + i * s, s, fetch(dy + i * gs, gs, m, 0) - vexp(fetch(y + i * ys, ys, m, 0)) * (float)sum, m);
    }
}

/* A kernel that walks the rows of x, and one that walks those of dy and y. */
#define FORWARD(name, row)                                                                       \
    DEFINE(name) {                                                                               \
        const int64_t *d = a->dims, n = d[LOOPS - 1], xs = a->x_s[LOOPS - 1], ys = a->y_s[LOOPS - 1]; \
        const range mine = share(d[0] * d[1] * d[2] * d[3] * d[4], tid, nthreads);               \
        for (int64_t i = mine.begin; i < mine.end; i++) {                                        \
            float *y = a->y + offset(i, d, a->y_s, LOOPS - 1);                                   \
            const float *x = a->x + offset(i, d, a->x_s, LOOPS - 1);                             \
            if (xs == 1 && ys == 1) row(y, 1, x, 1, n);                                          \
            else row(y, ys, x, xs, n);                                                           \
        }                                                                                        \
    }
#define BACKWARD(name, row)                                                                      \
    DEFINE(name) {                                                                               \
        const int64_t *d = a->dims, n = d[LOOPS - 1];                                            \
        const int64_t gs = a->dy_s[LOOPS - 1], ys = a->y_s[LOOPS - 1], s = a->dx_s[LOOPS - 1];   \
        const range mine = share(d[0] * d[1] * d[2] * d[3] * d[4], tid, nthreads);               \
        for (int64_t i = mine.begin; i < mine.end; i++) {                                        \
            float *dx = a->dx + offset(i, d, a->dx_s, LOOPS - 1);                                \
            const float *dy = a->dy + offset(i, d, a->dy_s, LOOPS - 1);                          \
            const float *y = a->y + offset(i, d, a->y_s, LOOPS - 1);                             \
            if (gs == 1 && ys == 1 && s == 1) row(dx, 1, dy, 1, y, 1, n);                        \
            else row(dx, s, dy, gs, y, ys, n);                                                   \
        }                                                                                        \
    }
FORWARD(softmax, softmax_row)
FORWARD(log_softmax, log_softmax_row)
BACKWARD(softmax_backward, backward_row)
BACKWARD(log_softmax_backward, log_backward_row)
