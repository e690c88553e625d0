/* Elementwise kernels, y = f(x) and y = f(a, b), over up to six loops with any strides (0 repeats an operand).
 * y may lie exactly over an operand. p and q are the coefficients of f. Denormal results are flushed to 0. */
#include "simd.h"

enum { RANK = 6, CUT = 4096, FEW_LINES = 64 };

typedef vf (*map)(vf a, vf b, vf p, vf q);

typedef struct {
    const int64_t *dims, *a_s, *b_s, *y_s;
    const float *a, *b;
    float *y;
    double p, q;
} nest;

/* Two loops: distance between rows (_r) and between the elements of one (_c). */
typedef struct {
    int64_t rows, cols, a_r, a_c, b_r, b_c, y_r, y_c;
    const float *a, *b;
    float *y;
    vf p, q;
} plane;

/* n <= VL elements that lie s apart. */
INLINE vf fetch(const float *x, int64_t s, int64_t n) {
    if (s == 0) return splat(*x);
    if (s == 1) return n == VL ? load(x) : load_n(x, n);
    vf v = {0};
    for (int64_t i = 0; i < n; i++) v[i] = x[i * s];
    return v;
}

INLINE void put(float *y, int64_t s, vf v, int64_t n) {
    if (s == 1 && n == VL) store(y, v);
    else if (s == 1) store_n(y, v, n);
    else
        for (int64_t i = 0; i < n; i++) y[i * s] = v[i];
}

INLINE void map_rows(map f, const plane *t, int64_t as, int64_t bs, int64_t ys) {
    const vf p = t->p, q = t->q;
    for (int64_t r = 0; r < t->rows; r++) {
        const float *a = t->a + r * t->a_r, *b = t->b + r * t->b_r;
        float *y = t->y + r * t->y_r;
        int64_t i = 0;
        for (; i + VL <= t->cols; i += VL)
            put(y + i * ys, ys, f(fetch(a + i * as, as, VL), fetch(b + i * bs, bs, VL), p, q), VL);
        const int64_t n = t->cols - i;
        if (n) put(y + i * ys, ys, f(fetch(a + i * as, as, n), fetch(b + i * bs, bs, n), p, q), n);
    }
}

INLINE void map_plane(map f, plane t) {
    if (t.cols < VL && t.rows > t.cols) /* few channels: pixels fill the vectors */
        t = (plane){t.cols, t.rows, t.a_c, t.a_r, t.b_c, t.b_r, t.y_c, t.y_r, t.a, t.b, t.y, t.p, t.q};
    if (t.y_c == 1 && t.a_c == 1 && t.b_c == 1) map_rows(f, &t, 1, 1, 1);
    else if (t.y_c == 1 && t.a_c == 1 && t.b_c == 0) map_rows(f, &t, 1, 0, 1);
    else if (t.y_c == 1 && t.a_c == 0 && t.b_c == 1) map_rows(f, &t, 0, 1, 1);
    else map_rows(f, &t, t.a_c, t.b_c, t.y_c);
}

/* Of the first element of a line, an index over all loops but the last. */
INLINE int64_t offset(int64_t line, const int64_t *dims, const int64_t *s) {
    int64_t at = 0;
    for (int d = RANK - 2; d >= 0; d--) {
        at += line % dims[d] * s[d];
        line /= dims[d];
    }
    return at;
}

/* Threads share the lines; few long ones are cut. */
INLINE void walk(map f, const nest *t, int tid, int nthreads) {
    const int64_t *d = t->dims, rows = d[RANK - 2], cols = d[RANK - 1], lines = d[0] * d[1] * d[2] * d[3] * rows;
    const int64_t cuts = lines < FEW_LINES ? ceil_div(cols, CUT) : 1, *as = t->a_s, *bs = t->b_s, *ys = t->y_s;
    const range mine = share(lines * cuts, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end;) {
        const int64_t line = i / cuts, c0 = i % cuts * CUT;
        const int64_t n = cuts > 1 ? 1 : min64(rows - line % rows, mine.end - i);
        map_plane(f, (plane){n, cuts > 1 ? min64(CUT, cols - c0) : cols, as[RANK - 2], as[RANK - 1], bs[RANK - 2],
                             bs[RANK - 1], ys[RANK - 2], ys[RANK - 1], t->a + offset(line, d, as) + c0 * as[RANK - 1],
                             t->b + offset(line, d, bs) + c0 * bs[RANK - 1],
                             t->y + offset(line, d, ys) + c0 * ys[RANK - 1], splat(t->p), splat(t->q)});
        i += n;
    }
}

#define BINARY(name, first, second, result)                                                                     \
    INLINE vf name##_f(vf first, vf second, vf p, vf q) { (void)p, (void)q; return result; }                    \
    DEFINE(name) {                                                                                              \
        walk(name##_f, &(nest){a->dims, a->a_s, a->b_s, a->y_s, a->a, a->b, a->y, a->p, a->q}, tid, nthreads);  \
    }
#define UNARY(name, result)                                                                                     \
    INLINE vf name##_f(vf x, vf same, vf p, vf q) { (void)same, (void)p, (void)q; return result; }              \
    DEFINE(name) {                                                                                              \
        walk(name##_f, &(nest){a->dims, a->x_s, a->x_s, a->y_s, a->x, a->x, a->y, a->p, a->q}, tid, nthreads);  \
    }

INLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }

/* In 3 ulp: the odd polynomial of Cephes' tanhf near 0, where exp would cancel; +-1 at +-inf, NaN for NaN. */
INLINE vf vtanh(vf x) {
    const vf z = x * x, far = 1.0f - 2.0f / (vexp(vabs(x) * 2.0f) + 1.0f);
    vf s = splat(-5.70498872745e-3f);
    s = s * z + 2.06390887954e-2f;
    s = s * z - 5.37397155531e-2f;
    s = s * z + 1.33314422036e-1f;
    s = s * z - 3.33332819422e-1f;
    return blend(vabs(x) < 0.625f, s * z * x + x, blend(x < 0.0f, -far, far));
}

INLINE vf vsigmoid(vf x) { return 1.0f / (1.0f + vexp(-x)); }

/* exp(x) - 1 by tanh(x/2), for x <= 0: nothing cancels. */
INLINE vf vexpm1(vf x) {
    const vf t = vtanh(x * 0.5f);
    return 2.0f * t / (1.0f - t);
}

/* s + x s (1 - s) with s = sigmoid(x); exp of -|x| neither overflows nor lets 1 - s cancel. */
INLINE vf swish_slope(vf x) {
    const vf e = vexp(-vabs(x)), big = 1.0f / (1.0f + e), small = e * big;
    return blend(x < 0.0f, small, big) * (1.0f + x * blend(x < 0.0f, big, small));
}

BINARY(add, a, b, a + b)
BINARY(sub, a, b, a - b)
BINARY(mul, a, b, a * b)
BINARY(div, a, b, a / b)

UNARY(scale, x * p)
UNARY(clamp, vmin(q, vmax(p, x)))
UNARY(leaky_relu, blend(x < 0.0f, x * p, x))
UNARY(sigmoid, vsigmoid(x))
UNARY(tanh, vtanh(x))
UNARY(elu, blend(x < 0.0f, p * vexpm1(x), x))
UNARY(hard_sigmoid, vmin(splat(1), vmax(splat(0), p * x + q)))
UNARY(hard_swish, x * vmin(splat(1), vmax(splat(0), x * (1.0f / 6.0f) + 0.5f)))
UNARY(swish, x / (1.0f + vexp(-p * x)))

BINARY(clamp_backward, dy, y, blend((y > p) & (y < q), dy, splat(0)))
BINARY(leaky_relu_backward, dy, y, blend(y > 0.0f, dy, dy * p))
BINARY(sigmoid_backward, dy, y, dy * (y * (1.0f - y)))
BINARY(tanh_backward, dy, y, dy * ((1.0f - y) * (1.0f + y)))
BINARY(elu_backward, dy, y, blend(y > 0.0f, dy, dy * (y + p)))
BINARY(hard_sigmoid_backward, dy, y, blend((y > 0.0f) & (y < 1.0f), dy * p, splat(0)))
BINARY(hard_swish_backward, dy, x, blend(x <= -3.0f, splat(0), blend(x >= 3.0f, dy, dy * (x * (1.0f / 3.0f) + 0.5f))))
BINARY(swish_backward, dy, x, dy * swish_slope(p * x))
