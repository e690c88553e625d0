/* Elementwise kernels, y = f(x), y = f(a, b) and y = f(a, b, c), over up to six loops with any strides (0 repeats an
 * operand). y may lie exactly over an operand. p and q are the coefficients of f. Denormal results are flushed to 0. */
#include "functions.h"

enum { RANK = 6, CUT = 4096, FEW_LINES = 64 };

typedef vf (*map)(vf a, vf b, vf c, vf p, vf q);

typedef struct {
    const int64_t *dims, *a_s, *b_s, *c_s, *y_s;
    const float *a, *b, *c;
    float *y;
    double p, q;
} nest;

/* Two loops: distance between rows (_r) and between the elements of one (_c). */
typedef struct {
    int64_t rows, cols, a_r, a_c, b_r, b_c, c_r, c_c, y_r, y_c;
    const float *a, *b, *c;
    float *y;
    vf p, q;
} plane;

/* n <= VL elements that lie s apart. */
INLINE vf fetch(const float *x, int64_t s, int64_t n) { return s == 0 ? splat(*x) : get_strided(x, s, n); }

INLINE void map_rows(map f, const plane *t, int64_t as, int64_t bs, int64_t cs, int64_t ys) {
    const vf p = t->p, q = t->q;
    for (int64_t r = 0; r < t->rows; r++) {
        const float *a = t->a + r * t->a_r, *b = t->b + r * t->b_r, *c = t->c + r * t->c_r;
        float *y = t->y + r * t->y_r;
        int64_t i = 0;
        for (; i + VL <= t->cols; i += VL)
            put_strided(y + i * ys, ys,
                        f(fetch(a + i * as, as, VL), fetch(b + i * bs, bs, VL), fetch(c + i * cs, cs, VL), p, q), VL);
        const int64_t n = t->cols - i;
        if (n)
            put_strided(y + i * ys, ys,
                        f(fetch(a + i * as, as, n), fetch(b + i * bs, bs, n), fetch(c + i * cs, cs, n), p, q), n);
    }
}

/* f has `operands` operands; those it lacks are its first again. */
INLINE void map_plane(map f, int operands, plane t) {
    if (t.cols < VL && t.rows > t.cols) /* few channels: pixels fill the vectors */
        t = (plane){t.cols, t.rows, t.a_c, t.a_r, t.b_c, t.b_r, t.c_c, t.c_r, t.y_c, t.y_r, t.a, t.b, t.c, t.y, t.p, t.q};
    const int strides = t.y_c != 1 ? 0 : (t.a_c == 1) | (t.b_c == 1) << 1 | (t.c_c == 1) << 2;
    const int repeated = (t.a_c == 0) | (t.b_c == 0) << 1 | (t.c_c == 0) << 2;
    if (strides == 7) map_rows(f, &t, 1, 1, 1, 1);
    else if (operands == 2 && strides == 5 && repeated == 2) map_rows(f, &t, 1, 0, 1, 1);
    else if (operands == 2 && strides == 2 && repeated == 5) map_rows(f, &t, 0, 1, 0, 1);
    else if (operands == 3 && strides == 1 && repeated == 6) map_rows(f, &t, 1, 0, 0, 1);
    else if (operands == 3 && strides == 3 && repeated == 4) map_rows(f, &t, 1, 1, 0, 1);
    else map_rows(f, &t, t.a_c, t.b_c, t.c_c, t.y_c);
}

/* Threads share the lines; few long ones are cut. */
INLINE void walk(map f, int operands, const nest *t, int tid, int nthreads) {
    const int64_t *d = t->dims, rows = d[RANK - 2], cols = d[RANK - 1], lines = d[0] * d[1] * d[2] * d[3] * rows;
    const int64_t cuts = lines < FEW_LINES ? ceil_div(cols, CUT) : 1;
    const int64_t *as = t->a_s, *bs = t->b_s, *cs = t->c_s, *ys = t->y_s;
    const range mine = share(lines * cuts, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end;) {
        const int64_t line = i / cuts, c0 = i % cuts * CUT;
        const int64_t n = cuts > 1 ? 1 : min64(rows - line % rows, mine.end - i);
        map_plane(f, operands, (plane){
            n, cuts > 1 ? min64(CUT, cols - c0) : cols, as[RANK - 2], as[RANK - 1], bs[RANK - 2], bs[RANK - 1],
            cs[RANK - 2], cs[RANK - 1], ys[RANK - 2], ys[RANK - 1],
            t->a + offset(line, d, as, RANK - 1) + c0 * as[RANK - 1],
            t->b + offset(line, d, bs, RANK - 1) + c0 * bs[RANK - 1],
            t->c + offset(line, d, cs, RANK - 1) + c0 * cs[RANK - 1],
            t->y + offset(line, d, ys, RANK - 1) + c0 * ys[RANK - 1], splat(t->p), splat(t->q)});
        i += n;
    }
}

#define MAP(name, operands, A, B, C, first, second, third, result)                                              \
    INLINE vf name##_f(vf first, vf second, vf third, vf p, vf q) {                                             \
        (void)first, (void)second, (void)third, (void)p, (void)q;                                               \
        return result;                                                                                          \
    }                                                                                                           \
    DEFINE(name) {                                                                                              \
        walk(name##_f, operands, &(nest){a->dims, a->A##_s, a->B##_s, a->C##_s, a->y_s, a->A, a->B, a->C, a->y, \
                                         a->p, a->q}, tid, nthreads);                                           \
    }
#define UNARY(name, result) MAP(name, 1, x, x, x, x, same, same_, result)
#define BINARY(name, first, second, result) MAP(name, 2, a, b, a, first, second, same, result)
#define TERNARY(name, first, second, third, result) MAP(name, 3, a, b, c, first, second, third, result)

/* s + x s (1 - s) with s = sigmoid(x); exp of -|x| neither overflows nor lets 1 - s cancel. */
INLINE vf swish_slope(vf x) {
    const vf e = vexp(-vabs(x)), big = vreciprocal(1.0f + e), small = e * big;
    return blend(x < 0.0f, small, big) * (1.0f + x * blend(x < 0.0f, big, small));
}

/* tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2); from x = 20 on it is 1. */
INLINE vf mish_n(vf x) {
    const vf e = vexp(vmin(splat(20), x));
    return e * (e + 2.0f);
}

INLINE vf vmish(vf x) {
    const vf n = mish_n(x);
    return x * (n / (n + 2.0f));
}

INLINE vf mish_slope(vf x) {
    const vf n = mish_n(x), m = 1.0f / (n + 2.0f);
    return n * m + x * vsigmoid(x) * (4.0f * (n + 1.0f) * m * m);
}

#define SQRT_HALF 0.7071067812f
INLINE vf normal_density(vf x) { return 0.3989422804f * vexp(-0.5f * x * x); }

/* (1 + tanh(u / 2)) / 2 = sigmoid(u): u is twice the argument in Hendrycks and Gimpel 2016. */
INLINE vf gelu_u(vf x) { return x * (1.5957691216f + 0.0713548163f * x * x); }
INLINE vf gelu_tanh_slope(vf x) {
    const vf s = vsigmoid(gelu_u(x));
    return s + x * s * (1.0f - s) * (1.5957691216f + 0.2140644488f * x * x);
}

BINARY(add, a, b, a + b)
BINARY(sub, a, b, a - b)
BINARY(mul, a, b, a * b)
BINARY(div, a, b, a / b)
BINARY(max, a, b, blend(a == a, vmax(a, b), a))
BINARY(min, a, b, blend(a == a, vmin(a, b), a))
BINARY(pow, a, b, vpow(a, b))
BINARY(equal, a, b, blend(a == b, splat(1), splat(0)))
BINARY(prelu, x, slope, blend(x < 0.0f, x * slope, x))
BINARY(prelu_slope, dy, x, blend(x < 0.0f, dy * x, splat(0)))

TERNARY(multiply_add, a, b, c, a * b + c)
TERNARY(standardize, x, mean, inv_std, (x - mean) * inv_std)
TERNARY(pass_greater, dy, a, b, blend(a > b, dy, splat(0)))
TERNARY(pass_greater_equal, dy, a, b, blend(a >= b, dy, splat(0)))
TERNARY(prelu_backward, dy, x, slope, blend(x > 0.0f, dy, dy * slope))

UNARY(scale, x * p)
UNARY(clamp, vmin(q, vmax(p, x)))
UNARY(leaky_relu, blend(x < 0.0f, x * p, x))
UNARY(sigmoid, vsigmoid(x))
UNARY(tanh, vtanh(x))
UNARY(elu, blend(x < 0.0f, p * vexpm1(x * q), x))
UNARY(selu, blend(x < 0.0f, p * vexpm1(x), q * x))
UNARY(hard_sigmoid, vmin(splat(1), vmax(splat(0), p * x + q)))
UNARY(hard_swish, x * vmin(splat(1), vmax(splat(0), x * (1.0f / 6.0f) + 0.5f)))
UNARY(swish, x * vsigmoid(p * x))
UNARY(softplus, vsoftplus(x))
UNARY(softsign, x / (1.0f + vabs(x)))
UNARY(thresholded_relu, blend(x <= p, splat(0), x))
UNARY(mish, vmish(x))
UNARY(gelu, x * (0.5f + 0.5f * verf(x * SQRT_HALF)))
UNARY(gelu_tanh, x * vsigmoid(gelu_u(x)))

UNARY(abs, vabs(x))
UNARY(sign, blend(x > 0.0f, splat(1), blend(x < 0.0f, splat(-1), x)))
UNARY(floor, each(floorf, x))
UNARY(ceil, each(ceilf, x))
UNARY(round, each(rintf, x))
UNARY(reciprocal, 1.0f / x)
UNARY(sqrt, vsqrt(x))
UNARY(inv_sqrt, 1.0f / vsqrt(x + p))
UNARY(exp, vexp(x))
UNARY(log, vlog(x))
UNARY(erf, verf(x))

BINARY(clamp_backward, dy, y, blend((y > p) & (y < q), dy, splat(0)))
BINARY(leaky_relu_backward, dy, y, blend(y > 0.0f, dy, dy * p))
BINARY(sigmoid_backward, dy, y, dy * (y * (1.0f - y)))
BINARY(tanh_backward, dy, y, dy * ((1.0f - y) * (1.0f + y)))
BINARY(elu_backward, dy, y, blend(y > 0.0f, dy, dy * ((y + p) * q)))
BINARY(selu_backward, dy, y, dy * blend(y > 0.0f, q, y + p))
BINARY(hard_sigmoid_backward, dy, y, blend((y > 0.0f) & (y < 1.0f), dy * p, splat(0)))
BINARY(hard_swish_backward, dy, x, blend(x <= -3.0f, splat(0), blend(x >= 3.0f, dy, dy * (x * (1.0f / 3.0f) + 0.5f))))
BINARY(swish_backward, dy, x, dy * swish_slope(p * x))
BINARY(softplus_backward, dy, x, dy * vsigmoid(x))
BINARY(softsign_backward, dy, y, dy * ((1.0f - vabs(y)) * (1.0f - vabs(y))))
BINARY(mish_backward, dy, x, dy * mish_slope(x))
BINARY(gelu_backward, dy, x, dy * (0.5f + 0.5f * verf(x * SQRT_HALF) + x * normal_density(x)))
BINARY(gelu_tanh_backward, dy, x, dy * gelu_tanh_slope(x))
BINARY(erf_backward, dy, x, dy * (1.128379167f * vexp(-x * x)))
