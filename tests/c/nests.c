/* Kernels over nests of loops: elementwise functions, copies, sums, softmax. */
#include "check.h"

typedef double (*function)(double a, double b, double p, double q);

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

#define F(name, result)                                              \
    static double name##_f(double a, double b, double p, double q) { \
        (void)b, (void)p, (void)q;                                   \
        return result;                                               \
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
F(elu, a < 0 ? p * expm1(a) : a)
F(hard_sigmoid, clamped(p * a + q, 0, 1))
F(hard_swish, a * clamped(a / 6 + 0.5, 0, 1))
F(swish, a * sigmoid(p * a))
F(clamp_backward, b > p && b < q ? a : 0)
F(leaky_relu_backward, b > 0 ? a : a * p)
F(sigmoid_backward, a * b * (1 - b))
F(tanh_backward, a * (1 - b * b))
F(elu_backward, b > 0 ? a : a * (b + p))
F(hard_sigmoid_backward, b > 0 && b < 1 ? a * p : 0)
F(hard_swish_backward, b <= -3 ? 0 : b >= 3 ? a : a * (b / 3 + 0.5))
F(swish_backward, a * (sigmoid(p * b) + p * b * sigmoid(p * b) * (1 - sigmoid(p * b))))

static const struct {
    const char *name;
    function f;
    int binary;
    double p, q;
} functions[] = {
#define UNARY(name, p, q) {#name, name##_f, 0, p, q},
#define BINARY(name, p, q) {#name, name##_f, 1, p, q},
    BINARY(add, 0, 0) BINARY(sub, 0, 0) BINARY(mul, 0, 0) BINARY(div, 0, 0) UNARY(scale, 0.75, 0)
    UNARY(clamp, -0.5, 2.5) UNARY(leaky_relu, 0.125, 0) UNARY(sigmoid, 0, 0) UNARY(tanh, 0, 0) UNARY(elu, 1.5, 0)
    UNARY(hard_sigmoid, 0.25, 0.5) UNARY(hard_swish, 0, 0) UNARY(swish, 1.5, 0) BINARY(clamp_backward, -0.5, 2.5)
    BINARY(leaky_relu_backward, 0.125, 0) BINARY(sigmoid_backward, 0, 0) BINARY(tanh_backward, 0, 0)
    BINARY(elu_backward, 1.5, 0) BINARY(hard_sigmoid_backward, 0.25, 0.5) BINARY(hard_swish_backward, 0, 0)
    BINARY(swish_backward, 1.5, 0)
};

/* Images (2, 3, 5, C) channels-last; the second operand in full, or one number per channel, or per image. */
enum { N = 2, H = 3, W = 5 };

static void test_function(int64_t i, int64_t C, int broadcast) {
    const int64_t pixels = N * H * W;
    const int64_t full[6] = {0, 0, H * W * C, W * C, C, 1}, per_channel[6] = {0, 0, 0, 0, 0, 1};
    const int64_t per_image[6] = {0, 0, 1, 0, 0, 0}, *b_s = broadcast == 0 ? full : broadcast == 1 ? per_channel : per_image;
    float *a = floats(pixels * C), *b = floats(pixels * C), *y = floats(pixels * C);
    double *want = doubles(pixels * C);
    for (int64_t k = 0; k < pixels * C; k++) {
        a[k] *= 5;
        b[k] = b[k] * 5 + (b[k] < 0 ? -0.1f : 0.1f); /* nothing is divided by almost 0 */
    }
    for (int64_t k = 0; k < pixels * C; k++) {
        const int64_t at = b_s == full ? k : b_s == per_channel ? k % C : k / (H * W * C);
        want[k] = functions[i].f(a[k], b[at], functions[i].p, functions[i].q);
    }
    add_args binary = {.a = a, .b = b, .y = y, .dims = {1, 1, N, H, W, C}, .p = functions[i].p, .q = functions[i].q};
    memcpy(binary.a_s, full, sizeof full);
    memcpy(binary.b_s, b_s, sizeof full);
    memcpy(binary.y_s, full, sizeof full);
    scale_args unary = {.x = a, .y = y, .dims = {1, 1, N, H, W, C}, .p = functions[i].p, .q = functions[i].q};
    memcpy(unary.x_s, full, sizeof full);
    memcpy(unary.y_s, full, sizeof full);
    run(functions[i].name, functions[i].binary ? (void *)&binary : (void *)&unary);
    close_to(functions[i].name, y, want, pixels * C, 2e-6);
    end();
}

void test_elementwise(void) {
    const int64_t channels[] = {1, 3, 16, 37};
    for (int64_t i = 0; i < COUNT(functions); i++)
        for (int64_t k = 0; k < COUNT(channels); k++)
            for (int broadcast = 0; broadcast < (functions[i].binary ? 3 : 1); broadcast++)
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

static void test_sum(int64_t A, int64_t B, int64_t C, int over) {
    enum { SLABS = 3 };
    const int64_t ny = over == OVER_AC ? B : over == OVER_B ? A * C : A;
    float *x = floats(A * B * C), *y = floats(SLABS * ny), *total = floats(ny);
    double *want = doubles(ny);
    sum_args a = {.x = x, .y = y, .slabs = SLABS, .scale = 0.5};
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
    run("sum", &a);
    for (int64_t i = 0; i < A * B * C; i++) {
        const int64_t outer = i / (B * C), b = i / C % B, c = i % C;
        want[over == OVER_AC ? b : over == OVER_B ? outer * C + c : outer] += 0.5 * x[i];
    }
    for (int64_t i = 0; i < ny; i++) {
        total[i] = 0;
        for (int64_t s = 0; s < SLABS; s++) total[i] += y[s * ny + i];
    }
    close_to("sum", total, want, ny, 5e-6);
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
    end();
}

void test_reductions(void) {
    for (int i = 0; i < 12; i++) {
        const int64_t A = between(1, 9), B = between(1, 40), C = between(1, 70);
        test_sum(A, B, C, i % 3);
        test_softmax(A, B, C, i % 2);
    }
}
