/* Losses over the rows of a batch. A row's share is computed on its own and the rows are added in order. */
#include "simd.h"

/* Sum of exp(x - top) over a row; y receives the terms if not NULL. */
static double row_exp(const float *x, float *y, int64_t C, float top) {
    double sum = 0;
    for (int64_t c = 0; c < C; c += VL) {
        const int64_t left = C - c;
        const vf e = vexp((left >= VL ? load(x + c) : load_n(x + c, left)) - top);
        for (int64_t j = 0; j < min64(VL, left); j++) sum += e[j];
        if (y && left >= VL) store(y + c, e);
        else if (y) store_n(y + c, e, left);
    }
    return sum;
}

static int64_t row_argmax(const float *x, int64_t C) {
    int64_t best = 0;
    for (int64_t c = 1; c < C; c++)
        if (x[c] > x[best]) best = c;
    return best;
}

/* The target distribution is (1 - s) onehot(label) + s / C. rows[n] = loss of row n, NaN for a label out of range;
 * hits[n] = 1 if the first largest score is the label's. */
DEFINE(cross_entropy_rows) {
    const range mine = share(a->N, tid, nthreads);
    const double s = a->smoothing;
    for (int64_t n = mine.begin; n < mine.end; n++) {
        const float *x = a->x + n * a->x_s[0];
        const int64_t label = a->labels[n], best = row_argmax(x, a->C);
        if (label < 0 || label >= a->C) {
            a->rows[n] = NAN;
            a->hits[n] = 0;
            continue;
        }
        double mean = 0;
        for (int64_t c = 0; s > 0 && c < a->C; c++) mean += x[c] / (double)a->C;
        const double log_sum = log(row_exp(x, 0, a->C, x[best])) + x[best];
        a->rows[n] = (float)(log_sum - (1 - s) * x[label] - s * mean);
        a->hits[n] = best == label;
    }
}

/* dx = (softmax(x) - target) * dloss / N; a row whose label is out of range becomes NaN. */
DEFINE(cross_entropy_backward) {
    const range mine = share(a->N, tid, nthreads);
    const float off = (float)(a->smoothing / (double)a->C), on = (float)(1 - a->smoothing);
    for (int64_t n = mine.begin; n < mine.end; n++) {
        const float *x = a->x + n * a->x_s[0];
        float *dx = a->dx + n * a->dx_s[0];
        const int64_t label = a->labels[n];
        const int valid = label >= 0 && label < a->C;
        const double sum = row_exp(x, dx, a->C, x[row_argmax(x, a->C)]);
        const float factor = valid ? *a->dloss / (float)a->N : NAN, scale = (float)(1 / sum);
        for (int64_t c = 0; c < a->C; c++) dx[c] = (dx[c] * scale - off - (c == label ? on : 0)) * factor;
    }
}

/* out = sum of x * factor. */
DEFINE(total) {
    (void)tid, (void)nthreads;
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) sum += a->x[i];
    *a->out = (float)(sum * a->factor);
}

/* rows[i] = sum of (x - target)^2 over the i-th block of n / blocks values (the last takes the rest). */
DEFINE(squared_error_blocks) {
    const range mine = share(a->blocks, tid, nthreads);
    for (int64_t b = mine.begin; b < mine.end; b++) {
        const range part = share(a->n, (int)b, (int)a->blocks);
        double sum = 0;
        for (int64_t i = part.begin; i < part.end; i++) {
            const double d = (double)a->x[i] - a->target[i];
            sum += d * d;
        }
        a->rows[b] = (float)sum;
    }
}

/* dx = 2 (x - target) dloss / n. */
DEFINE(squared_error_backward) {
    const range mine = share(a->n, tid, nthreads);
    const float factor = 2 * *a->dloss / (float)a->n;
    for (int64_t i = mine.begin; i < mine.end; i++) a->dx[i] = (a->x[i] - a->target[i]) * factor;
}
