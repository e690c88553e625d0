/* Sparse linear maps along one axis: resizing, windows over one axis, and their transposes. */
#include "simd.h"

enum { LOOPS = 5 };

/* y = sum over taps t of weight[t] * x[index[t] * step], n elements; 0 without taps. */
static void combine(float *y, int64_t ys, const float *x, int64_t xs, int64_t step, const int64_t *index,
                    const float *weight, int64_t taps, int64_t n) {
    int64_t i = 0;
    if (ys == 1 && xs == 1)
        for (; i < n; i += VL) {
            const int64_t m = min64(VL, n - i);
            vf sum = {0};
            for (int64_t t = 0; t < taps; t++) {
                const float *p = x + index[t] * step + i;
                sum += weight[t] * get(p, m);
            }
            if (m == VL) store(y + i, sum);
            else store_n(y + i, sum, m);
        }
    for (; i < n; i++) {
        float sum = 0;
        for (int64_t t = 0; t < taps; t++) sum += weight[t] * x[index[t] * step + i * xs];
        y[i * ys] = sum;
    }
}

/* y[.., o, ..] = sum over t in [starts[o], starts[o + 1]) of weight[t] * x[.., index[t], ..]: the last stride of x and y is
 * that of the mapped axis, dims are the others. x and y do not overlap. Threads share lines of y. */
DEFINE(axis_map) {
    const int64_t *d = a->dims, n = d[LOOPS - 1];
    const range mine = share(d[0] * d[1] * d[2] * d[3] * a->out, tid, nthreads);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t o = item % a->out, first = a->starts[o];
        const float *x = a->x;
        float *y = a->y + o * a->y_s[LOOPS];
        for (int64_t k = LOOPS - 2, row = item / a->out; k >= 0; row /= d[k--]) {
            x += row % d[k] * a->x_s[k];
            y += row % d[k] * a->y_s[k];
        }
        combine(y, a->y_s[LOOPS - 1], x, a->x_s[LOOPS - 1], a->x_s[LOOPS], a->index + first, a->weight + first,
                a->starts[o + 1] - first, n);
    }
}
