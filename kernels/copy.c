/* Moving values between layouts. */
#include "simd.h"

enum { RANK = 6 };

static void copy_row(float *y, int64_t ys, const float *x, int64_t xs, int64_t n) {
    if (ys == 1 && xs == 1) {
        memcpy(y, x, (size_t)n * sizeof *y);
    } else if (ys == 1 && xs == 0) {
        for (int64_t i = 0; i < n; i++) y[i] = *x;
    } else {
        for (int64_t i = 0; i < n; i++) y[i * ys] = x[i * xs];
    }
}

/* A plane whose fast axis in x is rows and in y columns, in blocks that stay in L1: NCHW <-> NHWC. */
static void copy_plane(float *y, const int64_t *ys, const float *x, const int64_t *xs, int64_t rows, int64_t cols) {
    enum { B = 16 };
    for (int64_t i = 0; i < rows; i += B)
        for (int64_t j = 0; j < cols; j += B)
            for (int64_t ii = i; ii < min64(rows, i + B); ii++)
                for (int64_t jj = j; jj < min64(cols, j + B); jj++)
                    y[ii * ys[0] + jj * ys[1]] = x[ii * xs[0] + jj * xs[1]];
}

/* The index along every axis but the last two, from the number of a plane. */
static void offsets(int64_t plane, const int64_t *dims, const int64_t *a, const int64_t *b, int64_t *ao, int64_t *bo) {
    *ao = *bo = 0;
    for (int d = RANK - 3; d >= 0; d--) {
        *ao += plane % dims[d] * a[d];
        *bo += plane % dims[d] * b[d];
        plane /= dims[d];
    }
}

/* y = x over dims, any strides (0 in x repeats). Threads share planes, or the rows of a single one. */
DEFINE(copy) {
    const int64_t *d = a->dims, rows = d[RANK - 2], cols = d[RANK - 1];
    const int64_t planes = d[0] * d[1] * d[2] * d[3];
    const int64_t *xs = a->x_s + RANK - 2, *ys = a->y_s + RANK - 2;
    const range mine = share(planes * rows, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end;) {
        const int64_t r0 = i % rows, n = min64(rows - r0, mine.end - i);
        int64_t xo, yo;
        offsets(i / rows, d, a->x_s, a->y_s, &xo, &yo);
        float *y = a->y + yo + r0 * ys[0];
        const float *x = a->x + xo + r0 * xs[0];
        if (ys[1] == 1 && (xs[1] == 1 || xs[1] == 0))
            for (int64_t r = 0; r < n; r++) copy_row(y + r * ys[0], 1, x + r * xs[0], xs[1], cols);
        else
            copy_plane(y, ys, x, xs, n, cols);
        i += n;
    }
}

DEFINE(fill) {
    const int64_t *d = a->dims, rows = d[RANK - 2], cols = d[RANK - 1];
    const int64_t *ys = a->y_s + RANK - 2;
    const range mine = share(d[0] * d[1] * d[2] * d[3] * rows, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        int64_t yo, unused;
        offsets(i / rows, d, a->y_s, a->y_s, &yo, &unused);
        float *y = a->y + yo + i % rows * ys[0];
        for (int64_t c = 0; c < cols; c++) y[c * ys[1]] = (float)a->value;
    }
}
