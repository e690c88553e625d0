/* Convolution the plain way: the inputs of every output pixel copied side by side (im2col), then a matrix
 * product. Takes everything, shares nothing with convolution.c: what the others can be compared with. */
#include "simd.h"

/* col[oh][ow][c][kh][kw] = x[c][h][w] of one image, 0 where a tap falls outside. A block of rows is asked for
 * by its own OH and a pad[0] that is less by its first row * stride. */
DEFINE(im2col) {
    const range mine = share(a->OH * a->OW, tid, nthreads);
    float *col = a->col + mine.begin * a->C * a->KH * a->KW;
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const int64_t h0 = i / a->OW * a->stride[0] - a->pad[0], w0 = i % a->OW * a->stride[1] - a->pad[1];
        for (int64_t c = 0; c < a->C; c++)
            for (int64_t kh = 0; kh < a->KH; kh++)
                for (int64_t kw = 0; kw < a->KW; kw++) {
                    const int64_t h = h0 + kh * a->dilation[0], w = w0 + kw * a->dilation[1];
                    const int inside = h >= 0 && h < a->H && w >= 0 && w < a->W;
                    *col++ = inside ? a->x[c * a->x_s[0] + h * a->x_s[1] + w * a->x_s[2]] : 0;
                }
    }
}

/* The output position whose tap k lies on input position i, or -1; t = i + pad - k * dilation. */
INLINE int64_t reached_from(int64_t t, int64_t stride, int64_t out) {
    return t >= 0 && t % stride == 0 && t / stride < out ? t / stride : -1;
}

/* dx[c][h][w] = sum of the entries of col that im2col would copy from there; with `accumulate` added to dx.
 * It gathers: threads share dx, and the order of summation is fixed. */
DEFINE(col2im) {
    const range mine = share(a->H * a->W, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const int64_t h = i / a->W, w = i % a->W;
        for (int64_t c = 0; c < a->C; c++) {
            float *dx = a->dx + c * a->dx_s[0] + h * a->dx_s[1] + w * a->dx_s[2];
            float sum = a->accumulate ? *dx : 0;
            for (int64_t kh = 0; kh < a->KH; kh++) {
                const int64_t oh = reached_from(h + a->pad[0] - kh * a->dilation[0], a->stride[0], a->OH);
                for (int64_t kw = 0; oh >= 0 && kw < a->KW; kw++) {
                    const int64_t ow = reached_from(w + a->pad[1] - kw * a->dilation[1], a->stride[1], a->OW);
                    if (ow >= 0) sum += a->col[(((oh * a->OW + ow) * a->C + c) * a->KH + kh) * a->KW + kw];
                }
            }
            *dx = sum;
        }
    }
}

enum { ROWS = 4 }; /* of c at once: each vector of b is used as often */

/* c = clamp(a b + bias + r, lo, hi): batch times c (M, N), a (M, K), b (K, N), bias (N) and r (M, N) or
 * NULL; any strides. c may be r. Threads share the rows of c; each element is summed in the order of K. */
DEFINE(gemm) {
    const vf lo = splat((float)a->lo), hi = splat((float)a->hi);
    const range mine = share(a->batch * a->M, tid, nthreads);
    for (int64_t i = mine.begin, rows; i < mine.end; i += rows) {
        const int64_t g = i / a->M, m = i % a->M;
        rows = min64(min64(ROWS, a->M - m), mine.end - i);
        const float *am[ROWS]; /* a partial block repeats its last row */
        for (int64_t j = 0; j < ROWS; j++)
            am[j] = a->a + g * a->a_s[0] + (m + min64(j, rows - 1)) * a->a_s[1];
        for (int64_t n = 0; n < a->N; n += VL) {
            const int64_t left = min64(VL, a->N - n);
            const float *b = a->b + g * a->b_s[0] + n * a->b_s[2];
            vf acc[ROWS] = {0};
            if (a->bias) {
                const float *bias = a->bias + g * a->bias_s[0] + n * a->bias_s[1];
                for (int j = 0; j < ROWS; j++) acc[j] = get_strided(bias, a->bias_s[1], left);
            }
            for (int64_t k = 0; k < a->K; k++) {
                const vf bk = get_strided(b + k * a->b_s[1], a->b_s[2], left);
#pragma GCC unroll 4
                for (int j = 0; j < ROWS; j++) acc[j] += bk * am[j][k * a->a_s[2]];
            }
            const float *r = a->r ? a->r + g * a->r_s[0] + m * a->r_s[1] + n * a->r_s[2] : 0;
            float *c = a->c + g * a->c_s[0] + m * a->c_s[1] + n * a->c_s[2];
            for (int64_t j = 0; j < rows; j++) {
                if (r) acc[j] += get_strided(r + j * a->r_s[1], a->r_s[2], left);
                put_strided(c + j * a->c_s[1], a->c_s[2], vmin(hi, vmax(lo, acc[j])), left);
            }
        }
    }
}
