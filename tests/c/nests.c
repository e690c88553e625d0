/* Kernels over nests of loops: elementwise functions, copies, sums, softmax. */
#include "check.h"

typedef double (*function)(double a, double b, double c, double p, double q);

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double softplus(double x) { return log1p(exp(x)); }
static double normal(double x) { return 0.5 * erfc(-x * sqrt(0.5)); }
static double twice_u(double x) { return 2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x); }

#define F(name, result)                                                        \
    static double name##_f(double a, double b, double c, double p, double q) { \
        (void)b, (void)c, (void)p, (void)q;                                    \
        return result;                                                         \
    }
F(add, a + b)
F(sub, a - b)
F(mul, a * b)
F(div, a / b)
F(scale, a * p)
F(clamp, clamped(a, p, q))
F(leaky_relu, a < 0 ? a * p : a)
F(sigmoid, sigmoid(a))
F(tanh, tanh(a))
F(elu, a < 0 ? p * expm1(q * a) : a)
F(selu, a < 0 ? p * expm1(a) : q * a)
F(softplus, softplus(a))
F(softsign, a / (1 + fabs(a)))
F(thresholded_relu, a > p ? a : 0)
F(mish, a * tanh(softplus(a)))
F(gelu, a * normal(a))
F(gelu_tanh, a * sigmoid(twice_u(a)))
F(abs, fabs(a))
F(sign, (a > 0) - (a < 0))
F(floor, floor(a))
F(ceil, ceil(a))
F(round, rint(a))
F(exp, exp(a))
F(erf, erf(a))
F(log, log(a))
F(sqrt, sqrt(a))
F(inv_sqrt, 1 / sqrt(a + p))
F(reciprocal, 1 / a)
F(pow, pow(a, b))
F(max, fmax(a, b))
F(min, fmin(a, b))
F(equal, a == b)
F(prelu, a < 0 ? a * b : a)
F(prelu_slope, b < 0 ? a * b : 0)
F(multiply_add, a * b + c)
F(standardize, (a - b) * c)
F(pass_greater, b > c ? a : 0)
F(pass_greater_equal, b >= c ? a : 0)
F(prelu_backward, b > 0 ? a : a * c)
F(hard_sigmoid, clamped(p * a + q, 0, 1))
F(hard_swish, a * clamped(a / 6 + 0.5, 0, 1))
F(swish, a * sigmoid(p * a))
F(clamp_backward, b > p && b < q ? a : 0)
F(leaky_relu_backward, b > 0 ? a : a * p)
F(sigmoid_backward, a * b * (1 - b))
F(tanh_backward, a * (1 - b * b))
F(elu_backward, b > 0 ? a : a * (b + p) * q)
F(selu_backward, b > 0 ? a * q : a * (b + p))
F(softplus_backward, a * sigmoid(b))
F(softsign_backward, a * (1 - fabs(b)) * (1 - fabs(b)))
F(mish_backward, a * (tanh(softplus(b)) + b * sigmoid(b) / pow(cosh(softplus(b)), 2)))
F(gelu_backward, a * (normal(b) + b * exp(-b * b / 2) / sqrt(2 * acos(-1))))
F(gelu_tanh_backward, a * sigmoid(twice_u(b)) * (1 + b * sigmoid(-twice_u(b)) * 2 * sqrt(2 / acos(-1)) *
                                                                (1 + 3 * 0.044715 * b * b)))
F(erf_backward, a * 2 / sqrt(acos(-1)) * exp(-b * b))
F(hard_sigmoid_backward, b > 0 && b < 1 ? a * p : 0)
F(hard_swish_backward, b <= -3 ? 0 : b >= 3 ? a : a * (b / 3 + 0.5))
F(swish_backward, a * (sigmoid(p * b) + p * b * sigmoid(p * b) * (1 - sigmoid(p * b))))

static const struct {
    const char *name;
    function f;
    int operands;
    double p, q;
    int positive; /* of what the first operand must be */
} functions[] = {
#define UNARY(name, p, q) {#name, name##_f, 1, p, q, 0},
#define BINARY(name, p, q) {#name, name##_f, 2, p, q, 0},
#define TERNARY(name, p, q) {#name, name##_f, 3, p, q, 0},
#define POSITIVE(name, operands, p) {#name, name##_f, operands, p, 0, 1},
    BINARY(add, 0, 0) BINARY(sub, 0, 0) BINARY(mul, 0, 0) BINARY(div, 0, 0) UNARY(scale, 0.75, 0)
    UNARY(clamp, -0.5, 2.5) UNARY(leaky_relu, 0.125, 0) UNARY(sigmoid, 0, 0) UNARY(tanh, 0, 0) UNARY(elu, 1.5, 0.5)
    UNARY(selu, 1.75, 1.05) UNARY(softplus, 0, 0) UNARY(softsign, 0, 0) UNARY(thresholded_relu, 0.5, 0) UNARY(mish, 0, 0)
    UNARY(gelu, 0, 0) UNARY(gelu_tanh, 0, 0) UNARY(abs, 0, 0) UNARY(sign, 0, 0) UNARY(floor, 0, 0) UNARY(ceil, 0, 0)
    UNARY(round, 0, 0) UNARY(exp, 0, 0) UNARY(erf, 0, 0) BINARY(max, 0, 0) BINARY(min, 0, 0) BINARY(equal, 0, 0)
    BINARY(prelu, 0, 0) BINARY(prelu_slope, 0, 0) TERNARY(multiply_add, 0, 0) TERNARY(standardize, 0, 0)
    TERNARY(pass_greater, 0, 0) TERNARY(pass_greater_equal, 0, 0) TERNARY(prelu_backward, 0, 0)
    BINARY(selu_backward, 1.75, 1.05) BINARY(softplus_backward, 0, 0) BINARY(softsign_backward, 0, 0)
    BINARY(mish_backward, 0, 0) BINARY(gelu_backward, 0, 0) BINARY(erf_backward, 0, 0)
    BINARY(gelu_tanh_backward, 0, 0) POSITIVE(log, 1, 0) POSITIVE(sqrt, 1, 0) POSITIVE(inv_sqrt, 1, 0.25)
    POSITIVE(reciprocal, 1, 0) POSITIVE(pow, 2, 0)
    UNARY(hard_sigmoid, 0.25, 0.5) UNARY(hard_swish, 0, 0) UNARY(swish, 1.5, 0) BINARY(clamp_backward, -0.5, 2.5)
    BINARY(leaky_relu_backward, 0.125, 0) BINARY(sigmoid_backward, 0, 0) BINARY(tanh_backward, 0, 0)
    BINARY(elu_backward, 1.5, 0.5) BINARY(hard_sigmoid_backward, 0.25, 0.5) BINARY(hard_swish_backward, 0, 0)
    BINARY(swish_backward, 1.5, 0)
};

/* Images (2, 3, 5, C) channels-last; the further operands in full, or one number per channel, or per image. */
enum { N = 2, H = 3, W = 5 };

static void test_function(int64_t i, int64_t C, int broadcast) {
    const int64_t pixels = N * H * W;
    const int64_t full[6] = {0, 0, H * W * C, W * C, C, 1}, per_channel[6] = {0, 0, 0, 0, 0, 1};
    const int64_t per_image[6] = {0, 0, 1, 0, 0, 0}, *b_s = broadcast == 0 ? full : broadcast == 1 ? per_channel : per_image;
    float *a = floats(pixels * C), *b = floats(pixels * C), *c = floats(pixels * C), *y = floats(pixels * C);
    double *want = doubles(pixels * C);
    for (int64_t k = 0; k < pixels * C; k++) {
        a[k] *= 5;
        if (functions[i].positive) a[k] = fabsf(a[k]) + 0.1f;
        b[k] = b[k] * 5 + (b[k] < 0 ? -0.1f : 0.1f); /* nothing is divided by almost 0 */
    }
    for (int64_t k = 0; k < pixels * C; k++) {
        const int64_t at = b_s == full ? k : b_s == per_channel ? k % C : k / (H * W * C);
        want[k] = functions[i].f(a[k], b[at], c[at], functions[i].p, functions[i].q);
    }
    add_args binary = {.a = a, .b = b, .y = y, .dims = {1, 1, N, H, W, C}, .p = functions[i].p, .q = functions[i].q};
    memcpy(binary.a_s, full, sizeof full);
    memcpy(binary.b_s, b_s, sizeof full);
    memcpy(binary.y_s, full, sizeof full);
    scale_args unary = {.x = a, .y = y, .dims = {1, 1, N, H, W, C}, .p = functions[i].p, .q = functions[i].q};
    memcpy(unary.x_s, full, sizeof full);
    memcpy(unary.y_s, full, sizeof full);
    standardize_args ternary = {.a = a, .b = b, .c = c, .y = y, .dims = {1, 1, N, H, W, C}};
    memcpy(ternary.a_s, full, sizeof full);
    memcpy(ternary.b_s, b_s, sizeof full);
    memcpy(ternary.c_s, b_s, sizeof full);
    memcpy(ternary.y_s, full, sizeof full);
    void *args[] = {&unary, &binary, &ternary};
    run(functions[i].name, args[functions[i].operands - 1]);
    close_to(functions[i].name, y, want, pixels * C, 4e-6);
    end();
}

void test_elementwise(void) {
    const int64_t channels[] = {1, 3, 16, 37};
    for (int64_t i = 0; i < COUNT(functions); i++)
        for (int64_t k = 0; k < COUNT(channels); k++)
            for (int broadcast = 0; broadcast < (functions[i].operands > 1 ? 3 : 1); broadcast++)
                test_function(i, channels[k], broadcast);
}

/* Row-major to channels-last and back, and a row repeated. */
void test_copy(void) {
    const int64_t C = 19, size = N * H * W * C;
    float *x = floats(size), *y = floats(size), *back = floats(size), *filled = floats(size);
    copy_args a = {.x = x, .x_s = {0, 0, C * H * W, W, 1, H * W}, .y = y, .y_s = {0, 0, H * W * C, W * C, C, 1},
                   .dims = {1, 1, N, H, W, C}};
    run("copy", &a);
    for (int64_t i = 0; i < size; i++) {
        const int64_t pixel = i % (H * W), c = i / (H * W) % C, n = i / (H * W * C);
        expect(y[(n * H * W + pixel) * C + c] == x[i], "copy to channels-last");
    }
    copy_args b = {.x = y, .y = back, .dims = {1, 1, N, H, W, C}};
    memcpy(b.x_s, a.y_s, sizeof b.x_s);
    memcpy(b.y_s, a.x_s, sizeof b.y_s);
    run("copy", &b);
    expect(!memcmp(x, back, (size_t)size * sizeof *x), "copy and back");
    copy_args repeat = {.x = x, .x_s = {0, 0, 0, 0, 0, 1}, .y = y, .y_s = {0, 0, 0, 0, C, 1},
                        .dims = {1, 1, 1, 1, N * H * W, C}};
    run("copy", &repeat);
    for (int64_t i = 0; i < size; i++) expect(y[i] == x[i % C], "copy of one row to many");
    fill_args fill = {.y = filled, .y_s = {0, 0, 0, 0, C, 1}, .dims = {1, 1, 1, 1, N * H * W, C}, .value = 0.25};
    run("fill", &fill);
    for (int64_t i = 0; i < size; i++) expect(filled[i] == 0.25f, "fill");
    end();
}

/* Sums of (A, B, C) over A and C, over B, or over B and C with B, which is not contiguous, as the inner loop. */
enum { OVER_AC, OVER_B, OVER_BC };

static const struct {
    const char *name;
    double none;
} reductions[] = {{"sum", 0}, {"sum_abs", 0}, {"sum_products", 0}, {"product", 1}, {"sum_exp", 0},
                {"sum_squared_differences", 0}, {"maximum", -INFINITY}, {"minimum", INFINITY}};

static double joined(const char *name, double acc, double x, double z) {
    if (!strcmp(name, "product")) return acc * x;
    if (!strcmp(name, "maximum")) return fmax(acc, x);
    if (!strcmp(name, "minimum")) return fmin(acc, x);
    if (!strcmp(name, "sum_abs")) return acc + fabs(x);
    if (!strcmp(name, "sum_products")) return acc + x * z;
    if (!strcmp(name, "sum_squared_differences")) return acc + (x - z) * (x - z);
    return acc + (strcmp(name, "sum_exp") ? x : exp(x - z));
}

static void test_reduction(const char *name, double none, int64_t A, int64_t B, int64_t C, int over) {
    enum { SLABS = 3 };
    const int64_t ny = over == OVER_AC ? B : over == OVER_B ? A * C : A;
    float *x = floats(A * B * C), *z = floats(A * B * C), *y = floats(SLABS * ny), *total = floats(ny);
    double *want = doubles(ny);
    sum_args a = {.x = x, .z = z, .y = y, .slabs = SLABS, .scale = 1};
    if (!strcmp(name, "product"))
        for (int64_t i = 0; i < A * B * C; i++) x[i] = 1 + x[i] / 64;
    if (over == OVER_AC) {
        STRIDES(a.dims, {1, 1, B, 1, A, C});
        STRIDES(a.x_s, {0, 0, C, 0, B * C, 1});
        STRIDES(a.y_s, {ny, 0, 0, 1});
    } else if (over == OVER_B) {
        STRIDES(a.dims, {1, A, C, 1, 1, B});
        STRIDES(a.x_s, {0, B * C, 1, 0, 0, C});
        STRIDES(a.y_s, {ny, 0, C, 1});
    } else {
        STRIDES(a.dims, {1, 1, A, 1, C, B});
        STRIDES(a.x_s, {0, 0, B * C, 0, 1, C});
        STRIDES(a.y_s, {ny, 0, 0, 1});
    }
    memcpy(a.z_s, a.x_s, sizeof a.x_s);
    run(name, &a);
    for (int64_t i = 0; i < ny; i++) want[i] = none;
    for (int64_t i = 0; i < A * B * C; i++) {
        const int64_t outer = i / (B * C), b = i / C % B, c = i % C;
        const int64_t at = over == OVER_AC ? b : over == OVER_B ? outer * C + c : outer;
        want[at] = joined(name, want[at], x[i], z[i]);
    }
    for (int64_t i = 0; i < ny; i++) {
        total[i] = (float)none;
        for (int64_t s = 0; s < SLABS; s++) /* of partial results */
            total[i] = (float)joined(none == 0 ? "sum" : name, total[i], y[s * ny + i], 0);
    }
    close_to(name, total, want, ny, 5e-6);
    end();
}

/* Along C of (A, B, C), contiguous or with the rows interleaved. */
static void test_softmax(int64_t A, int64_t B, int64_t C, int strided) {
    const int64_t n = A * B * C, contiguous[6] = {0, 0, 0, B * C, C, 1}, interleaved[6] = {0, 0, 0, B * C, 1, B};
    const int64_t *s = strided ? interleaved : contiguous;
    float *x = floats(n), *dy = floats(n), *y = floats(n), *dx = floats(n);
    double *want = doubles(n), *grad = doubles(n);
    for (int64_t i = 0; i < n; i++) x[i] *= 9;
    for (int64_t row = 0; row < A * B; row++) {
        const int64_t at = row / B * s[3] + row % B * s[4];
        double sum = 0, dot = 0;
        for (int64_t c = 0; c < C; c++) sum += exp(x[at + c * s[5]]);
        for (int64_t c = 0; c < C; c++) want[at + c * s[5]] = exp(x[at + c * s[5]]) / sum;
        for (int64_t c = 0; c < C; c++) dot += want[at + c * s[5]] * dy[at + c * s[5]];
        for (int64_t c = 0; c < C; c++) grad[at + c * s[5]] = want[at + c * s[5]] * (dy[at + c * s[5]] - dot);
    }
    softmax_args a = {.x = x, .y = y, .dims = {1, 1, 1, A, B, C}};
    memcpy(a.x_s, s, sizeof a.x_s);
    memcpy(a.y_s, s, sizeof a.y_s);
    run("softmax", &a);
    close_to("softmax", y, want, n, 1e-6);
    softmax_backward_args b = {.dy = dy, .y = y, .dx = dx, .dims = {1, 1, 1, A, B, C}};
    memcpy(b.dy_s, s, sizeof b.dy_s);
    memcpy(b.y_s, s, sizeof b.y_s);
    memcpy(b.dx_s, s, sizeof b.dx_s);
    run("softmax_backward", &b);
    close_to("softmax_backward", dx, grad, n, 2e-6);
    for (int64_t i = 0; i < n; i++) want[i] = log(want[i]);
    run("log_softmax", &a);
    close_to("log_softmax", y, want, n, 1e-6);
    for (int64_t row = 0; row < A * B; row++) {
        double sum = 0;
        const int64_t first = s[3] * (row / B) + s[4] * (row % B);
        for (int64_t i = 0; i < C; i++) sum += dy[first + i * s[5]];
        for (int64_t i = 0; i < C; i++) {
            const int64_t at = first + i * s[5];
            grad[at] = dy[at] - exp(want[at]) * sum;
        }
    }
    run("log_softmax_backward", &b);
    close_to("log_softmax_backward", dx, grad, n, 3e-6);
    end();
}

/* Pictures of (N, H, W) pixels with C channels. */
static void test_lrn(int64_t C, int64_t before, int64_t after) {
    const int64_t size = N * H * W * C;
    float *x = floats(size), *m = floats(size), *y = floats(size), *dx = floats(size);
    double *want = doubles(size), *grad = doubles(size);
    for (int64_t i = 0; i < size; i++) {
        const int64_t first = i - i % C;
        double squares = 0, terms = 0;
        for (int64_t c = i % C - before; c <= i % C + after; c++)
            if (c >= 0 && c < C) {
                squares += (double)x[first + c] * x[first + c];
                terms += m[first + c];
            }
        want[i] = m[i] * pow(1.5 + 0.4 * squares, -0.75);
        grad[i] = m[i] - 0.3 * x[i] * terms;
    }
    lrn_args a = {.x = x, .m = m, .y = y, .N = N, .C = C, .H = H, .W = W, .before = before, .after = after, .scale = 0.4,
                  .bias = 1.5, .exponent = -0.75};
    lrn_backward_args b = {.g = m, .x = x, .t = m, .dx = dx, .N = N, .C = C, .H = H, .W = W, .before = before,
                           .after = after, .scale = 0.3};
    const int64_t s[] = {H * W * C, W * C, C};
    memcpy(a.x_s, s, sizeof s), memcpy(a.m_s, s, sizeof s), memcpy(a.y_s, s, sizeof s);
    memcpy(b.g_s, s, sizeof s), memcpy(b.x_s, s, sizeof s), memcpy(b.t_s, s, sizeof s), memcpy(b.dx_s, s, sizeof s);
    run("lrn", &a);
    close_to("lrn", y, want, size, 2e-6);
    run("lrn_backward", &b);
    close_to("lrn_backward", dx, grad, size, 2e-6);
    end();
}

void test_reductions(void) {
    test_lrn(37, 2, 2);
    test_lrn(3, 1, 2);
    for (int i = 0; i < 12; i++) {
        const int64_t A = between(1, 9), B = between(1, 40), C = between(1, 70);
        for (int64_t k = 0; k < COUNT(reductions); k++)
            test_reduction(reductions[k].name, reductions[k].none, A, B, C, i % 3);
        test_softmax(A, B, C, i % 2);
    }
}
