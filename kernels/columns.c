/* The second half of a data gradient by columns: a matrix product has written what each output pixel gives to all its taps
 * side by side, KH * KW * C numbers; here they are summed where they fall (col2im). */
#include "simd.h"

/* Tap k of output coordinate o falls on o + k - pad: of n taps those whose output is one of `out`. */
INLINE range reaching(int64_t at, int64_t pad, int64_t n, int64_t out) {
    const int64_t begin = max64(0, at + pad - out + 1);
    return (range){begin, max64(begin, min64(n, at + pad + 1))};
}

/* Sum of the taps kh x kw, `down` and `right` apart, tap (0, 0) at `first`; of the first n <= VL of their channels. */
INLINE vf sum_taps(const float *columns, int64_t first, range kh, range kw, int64_t down, int64_t right, int64_t n) {
    vf sum = splat(0);
    for (int64_t i = kh.begin; i < kh.end; i++)
        for (int64_t j = kw.begin; j < kw.end; j++) sum += get(columns + (first + i * down + j * right), n);
    return sum;
}

/* dx[h][w] = sum over taps of columns[h + pad - kh][w + pad - kw][kh][kw], stride 1. columns (N, OH, OW, KH, KW, C) and
 * dx (N, C, H, W) channels-last. Threads share the rows of dx; the order of summation is that of the taps. */
DEFINE(sum_columns) {
    const int64_t pixel = a->KH * a->KW * a->C, down = a->KW * a->C - a->OW * pixel, right = a->C - pixel;
    const range mine = share(a->N * a->H, tid, nthreads);
    for (int64_t row = mine.begin; row < mine.end; row++) {
        const int64_t n = row / a->H, h = row % a->H;
        const range kh = reaching(h, a->pad[0], a->KH, a->OH);
        for (int64_t w = 0; w < a->W; w++) {
            const range kw = reaching(w, a->pad[1], a->KW, a->OW);
            const int64_t first = ((n * a->OH + h + a->pad[0]) * a->OW + w + a->pad[1]) * pixel; /* inside or not */
            float *dx = a->dx + n * a->dx_s[0] + h * a->dx_s[1] + w * a->dx_s[2];
            int64_t c = 0;
            for (; c + VL <= a->C; c += VL) store(dx + c, sum_taps(a->columns, first + c, kh, kw, down, right, VL));
            if (c < a->C) store_n(dx + c, sum_taps(a->columns, first + c, kh, kw, down, right, a->C - c), a->C - c);
        }
    }
}
