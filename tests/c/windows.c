/* Depthwise convolution, pooling, and im2col with its matrix product. */
#include "check.h"

enum { SHAPES = 20 };

#define GEOMETRY(a, s)                                                                                               \
    (a).C = (s).C, (a).H = (s).H, (a).W = (s).W, (a).OH = (s).OH, (a).OW = (s).OW, (a).KH = (s).KH, (a).KW = (s).KW, \
    memcpy((a).stride, (s).stride, sizeof (a).stride), memcpy((a).pad, (s).pad, sizeof (a).pad),                     \
    memcpy((a).dilation, (s).dilation, sizeof (a).dilation)

/* Every channel of every tap inside: xi and yi are places in x and y, wi one in (KH, KW, C). */
#define FOR_TAPS(s, ...)                                                                        \
    for (int64_t n = 0; n < (s).N; n++)                                                         \
        for (int64_t oh = 0; oh < (s).OH; oh++)                                                 \
            for (int64_t ow = 0; ow < (s).OW; ow++)                                             \
                for (int64_t kh = 0; kh < (s).KH; kh++)                                         \
                    for (int64_t kw = 0; kw < (s).KW; kw++)                                     \
                        for (int64_t c = 0; c < (s).C; c++) {                                   \
                            const int64_t ih = tap(&(s), 0, oh, kh), iw = tap(&(s), 1, ow, kw); \
                            if (ih < 0 || iw < 0) continue;                                     \
                            const int64_t xi = ((n * (s).H + ih) * (s).W + iw) * (s).C + c;     \
                            const int64_t yi = ((n * (s).OH + oh) * (s).OW + ow) * (s).C + c;   \
                            const int64_t wi = (kh * (s).KW + kw) * (s).C + c;                  \
                            (void)xi, (void)yi, (void)wi;                                       \
                            __VA_ARGS__                                                         \
                        }

static void image_strides(int64_t *s, int64_t H, int64_t W, int64_t C) {
    memcpy(s, (int64_t[]){H * W * C, W * C, C}, 3 * sizeof *s);
}

static void test_depthwise_forward(geometry s, int fused) {
    const int64_t nx = s.N * s.H * s.W * s.C, ny = s.N * s.OH * s.OW * s.C;
    float *x = floats(nx), *w = floats(s.KH * s.KW * s.C), *b = fused ? floats(s.C) : 0, *r = fused ? floats(ny) : 0;
    double *want = doubles(ny);
    depthwise_forward_args a = {.x = x, .w = w, .w_s = {s.KW * s.C, s.C}, .b = b, .r = r, .y = floats(ny), .N = s.N,
                                .lo = fused ? -0.5 : -INFINITY, .hi = fused ? 0.75 : INFINITY,
                                .cold = between(0, 1), .rows = between(1, s.OH), .channels = between(1, s.C)};
    GEOMETRY(a, s);
    image_strides(a.x_s, s.H, s.W, s.C);
    image_strides(a.y_s, s.OH, s.OW, s.C);
    image_strides(a.r_s, s.OH, s.OW, s.C);
    run("depthwise_forward", &a);
    FOR_TAPS(s, want[yi] += (double)x[xi] * w[wi];)
    for (int64_t i = 0; fused && i < ny; i++) want[i] = clamped(want[i] + b[i % s.C] + r[i], a.lo, a.hi);
    close_to("depthwise_forward", a.y, want, ny, 1e-5);
    end();
}

static void test_depthwise_weights(geometry s) {
    enum { SLABS = 3 };
    const int64_t nx = s.N * s.H * s.W * s.C, ny = s.N * s.OH * s.OW * s.C, taps = s.KH * s.KW, nw = taps * s.C;
    float *x = floats(nx), *dy = floats(ny), *dw = floats(nw);
    double *want = doubles(nw);
    depthwise_backward_weights_args a = {.x = x, .dy = dy, .dw = floats(SLABS * nw), .N = s.N, .slabs = SLABS,
                                         .cold = between(0, 1), .channels = between(1, s.C)};
    GEOMETRY(a, s);
    image_strides(a.x_s, s.H, s.W, s.C);
    image_strides(a.dy_s, s.OH, s.OW, s.C);
    run("depthwise_backward_weights", &a);
    depthwise_sum_slabs_args sum = {.slabs = a.dw, .dw = dw, .dw_s = {taps, s.KW, 1}, .C = s.C, .KH = s.KH, .KW = s.KW,
                                    .count = SLABS};
    run("depthwise_sum_slabs", &sum);
    FOR_TAPS(s, want[c * taps + kh * s.KW + kw] += (double)x[xi] * dy[yi];)
    close_to("depthwise_backward_weights", dw, want, nw, 1e-5);
    end();
}

void test_depthwise(void) {
    for (int i = 0; i < SHAPES; i++) {
        geometry s = random_geometry(1);
        test_depthwise_forward(s, i % 2);
        test_depthwise_weights(s);
    }
}

/* Whether tap k of output o lies in the padded picture, which is what an average counts with its padding. */
static int in_padded(const geometry *s, int axis, int64_t o, int64_t k) {
    const int64_t i = o * s->stride[axis] - s->pad[axis] + k * s->dilation[axis];
    return i < (axis ? s->W : s->H) + s->pad[axis + 2];
}

static int64_t divisor(const geometry *s, int64_t oh, int64_t ow, int include_pad) {
    int64_t taps = 0;
    for (int64_t kh = 0; kh < s->KH; kh++)
        for (int64_t kw = 0; kw < s->KW; kw++)
            taps += include_pad ? in_padded(s, 0, oh, kh) && in_padded(s, 1, ow, kw)
                                : tap(s, 0, oh, kh) >= 0 && tap(s, 1, ow, kw) >= 0;
    return taps ? taps : 1;
}

/* x holds few different numbers, so that maxima tie: the first tap gets the gradient. narrow: only what came from values
 * between lo and hi. */
static void test_pool(geometry s, int average, int include_pad, int narrow) {
    const int64_t nx = s.N * s.H * s.W * s.C, ny = s.N * s.OH * s.OW * s.C;
    float *x = floats(nx), *dy = floats(ny);
    double *y = doubles(ny), *dx = doubles(nx), *from = doubles(ny);
    for (int64_t i = 0; i < nx; i++) x[i] = roundf(3 * x[i]);
    for (int64_t i = 0; i < ny; i++) y[i] = average ? 0 : -INFINITY, from[i] = -1;
    pool_args a = {.x = x, .y = floats(ny), .N = s.N, .average = average, .include_pad = include_pad};
    GEOMETRY(a, s);
    image_strides(a.x_s, s.H, s.W, s.C);
    image_strides(a.y_s, s.OH, s.OW, s.C);
    run("pool", &a);
    FOR_TAPS(s, {
        const double share = 1.0 / (double)divisor(&s, oh, ow, include_pad);
        if (average) y[yi] += x[xi] * share, dx[xi] += dy[yi] * share;
        else if (x[xi] > y[yi]) y[yi] = x[xi], from[yi] = (double)xi;
    })
    for (int64_t i = 0; i < ny; i++) {
        if (from[i] >= 0 && (!narrow || (y[i] > -1 && y[i] < 2))) dx[(int64_t)from[i]] += dy[i];
        if (isinf(y[i])) expect(a.y[i] == y[i], "the maximum over nothing is -inf"), a.y[i] = 0, y[i] = 0;
    }
    close_to(average ? "average pool" : "maximum pool", a.y, y, ny, 1e-5);
    pool_backward_args b = {.dy = dy, .x = x, .dx = floats(nx), .N = s.N, .average = average, .include_pad = include_pad,
                            .narrow = narrow, .lo = -1, .hi = 2};
    GEOMETRY(b, s);
    image_strides(b.dy_s, s.OH, s.OW, s.C);
    image_strides(b.x_s, s.H, s.W, s.C);
    image_strides(b.dx_s, s.H, s.W, s.C);
    run("pool_backward", &b);
    close_to(average ? "average pool_backward" : "maximum pool_backward", b.dx, dx, nx, 1e-5);
    end();
}

/* Where the first maxima lie, in the numbering of (N, C, H, W); of a window without taps, the image's first pixel. */
static void test_max_indices(geometry s, int column_major) {
    const int64_t nx = s.N * s.H * s.W * s.C, ny = s.N * s.OH * s.OW * s.C;
    float *x = floats(nx);
    double *best = doubles(ny), *want = doubles(ny);
    for (int64_t i = 0; i < nx; i++) x[i] = roundf(3 * x[i]);
    for (int64_t i = 0; i < ny; i++) best[i] = -INFINITY;
    for (int64_t i = 0; i < ny; i++) want[i] = (double)((i / (s.OH * s.OW * s.C) * s.C + i % s.C) * s.H * s.W);
    max_indices_args a = {.x = x, .x_s = {s.H * s.W * s.C, 1, 0, s.W * s.C, s.C}, .y = (int64_t *)(void *)floats(2 * ny),
                          .y_s = {s.OH * s.OW * s.C, 1, 0, s.OW * s.C, s.C}, .N = s.N, .C = s.C, .size = {1, s.H, s.W},
                          .out = {1, s.OH, s.OW}, .window = {1, s.KH, s.KW}, .stride = {1, s.stride[0], s.stride[1]},
                          .pad = {0, s.pad[0], s.pad[1]}, .dilation = {1, s.dilation[0], s.dilation[1]},
                          .column_major = column_major};
    run("max_indices", &a);
    FOR_TAPS(s, {
        if (x[xi] <= best[yi]) continue;
        best[yi] = x[xi];
        want[yi] = (double)((n * s.C + c) * s.H * s.W + (column_major ? iw * s.H + ih : ih * s.W + iw));
    })
    for (int64_t i = 0; i < ny; i++) expect((double)a.y[i] == want[i], "max_indices finds the first maximum");
    end();
}

/* Two to four random taps per element of the mapped axis, which is the middle one of three; none for some. */
static void test_axis_map(int64_t rows, int64_t in, int64_t out, int64_t columns, int apart) {
    const int64_t width = columns * (apart ? 2 : 1), step = apart ? 2 : 1;
    float *x = floats(rows * in * width), *weight = floats(4 * out), *y = floats(rows * out * width);
    int64_t starts[40] = {0}, index[160];
    for (int64_t o = 0; o < out; o++) starts[o + 1] = starts[o] + between(0, 4);
    for (int64_t t = 0; t < starts[out]; t++) index[t] = between(0, in - 1);
    axis_map_args a = {.x = x, .x_s = {0, 0, 0, in * width, step, width}, .y = y,
                       .y_s = {0, 0, 0, out * width, step, width}, .starts = starts, .index = index, .weight = weight,
                       .dims = {1, 1, 1, rows, columns}, .out = out};
    run("axis_map", &a);
    double *want = doubles(rows * out * columns);
    float *got = floats(rows * out * columns);
    for (int64_t i = 0; i < rows * out * columns; i++) {
        const int64_t r = i / columns / out, o = i / columns % out, c = i % columns;
        got[i] = y[(r * out + o) * width + c * step];
        for (int64_t t = starts[o]; t < starts[o + 1]; t++)
            want[i] += (double)weight[t] * x[(r * in + index[t]) * width + c * step];
    }
    close_to("axis_map", got, want, rows * out * columns, 1e-6);
    end();
}

static void test_global_average(int64_t N, int64_t C, int64_t H, int64_t W) {
    float *x = floats(N * H * W * C);
    double *want = doubles(N * C);
    global_average_args a = {.x = x, .y = floats(N * C), .y_s = {C}, .N = N, .C = C, .H = H, .W = W};
    image_strides(a.x_s, H, W, C);
    run("global_average", &a);
    for (int64_t i = 0; i < N * H * W * C; i++) want[i / (H * W * C) * C + i % C] += x[i] / (double)(H * W);
    close_to("global_average", a.y, want, N * C, 1e-6);
    end();
}

void test_pooling(void) {
    for (int i = 0; i < SHAPES; i++) {
        geometry s = random_geometry(1);
        test_pool(s, 0, 0, i % 2);
        test_pool(s, 1, i % 2, 0);
        test_max_indices(s, i % 2);
        test_axis_map(between(1, 4), between(1, 9), between(1, 39), between(1, 40), i % 2);
        test_global_average(s.N, between(1, 150), s.H, s.W);
    }
}

/* One image, row-major: x (C, H, W), col (OH, OW, C, KH, KW); col2im adds back what im2col copied. */
static void test_columns(geometry s) {
    s.N = 1;
    const int64_t nx = s.C * s.H * s.W, taps = s.KH * s.KW, nc = s.OH * s.OW * s.C * taps, HW = s.H * s.W;
    float *x = floats(nx), *given = floats(nc), *dx = floats(nx);
    double *col = doubles(nc), *back = doubles(nx);
    for (int64_t i = 0; i < nx; i++) back[i] = dx[i];
    im2col_args a = {.x = x, .x_s = {HW, s.W, 1}, .col = floats(nc)};
    GEOMETRY(a, s);
    run("im2col", &a);
    FOR_TAPS(s, {
        const int64_t ci = (yi * s.KH + kh) * s.KW + kw, at = c * HW + ih * s.W + iw;
        col[ci] = x[at];
        back[at] += given[ci];
    })
    close_to("im2col", a.col, col, nc, 0);
    col2im_args b = {.col = given, .dx = dx, .dx_s = {HW, s.W, 1}, .accumulate = 1};
    GEOMETRY(b, s);
    run("col2im", &b);
    close_to("col2im", dx, back, nx, 1e-5);
    end();
}

/* What each output pixel gives to its taps, summed where they fall: of stride 1. */
static void test_sum_columns(geometry s) {
    STRIDES(s.stride, {1, 1}), STRIDES(s.dilation, {1, 1});
    s.OH = s.H + s.pad[0] + s.pad[2] - s.KH + 1, s.OW = s.W + s.pad[1] + s.pad[3] - s.KW + 1;
    const int64_t nx = s.N * s.H * s.W * s.C, taps = s.KH * s.KW;
    float *columns = floats(s.N * s.OH * s.OW * taps * s.C);
    double *dx = doubles(nx);
    sum_columns_args a = {.columns = columns, .dx = floats(nx), .N = s.N, .C = s.C, .H = s.H, .W = s.W, .OH = s.OH,
                          .OW = s.OW, .KH = s.KH, .KW = s.KW, .pad = {s.pad[0], s.pad[1]}};
    image_strides(a.dx_s, s.H, s.W, s.C);
    run("sum_columns", &a);
    FOR_TAPS(s, dx[xi] += columns[yi / s.C * taps * s.C + wi];)
    close_to("sum_columns", a.dx, dx, nx, 1e-5);
    end();
}

static void test_gemm(int64_t batch, int64_t M, int64_t N, int64_t K, int transposed) {
    float *x = floats(batch * M * K), *y = floats(batch * K * N), *bias = floats(N), *r = floats(batch * M * N);
    double *want = doubles(batch * M * N);
    gemm_args a = {.a = x, .a_s = {M * K, K, 1}, .b = y, .b_s = {K * N, N, 1}, .bias = bias, .bias_s = {0, 1}, .r = r,
                   .r_s = {M * N, N, 1}, .c = floats(batch * M * N), .c_s = {M * N, N, 1}, .batch = batch, .M = M, .N = N,
                   .K = K, .lo = -1, .hi = 1.5};
    if (transposed) STRIDES(a.b_s, {K * N, 1, K});
    run("gemm", &a);
    for (int64_t i = 0; i < batch * M * N; i++) {
        const int64_t n = i % N, m = i / N % M, g = i / N / M;
        double sum = bias[n] + (double)r[i];
        for (int64_t k = 0; k < K; k++) sum += (double)x[(g * M + m) * K + k] * y[g * K * N + k * a.b_s[1] + n * a.b_s[2]];
        want[i] = clamped(sum, -1, 1.5);
    }
    close_to("gemm", a.c, want, batch * M * N, 1e-5);
    end();
}

void test_im2col(void) {
    for (int i = 0; i < SHAPES; i++) {
        test_columns(random_geometry(1));
        test_sum_columns(random_geometry(1));
        test_gemm(between(1, 3), between(1, 20), between(1, 40), between(1, 50), i % 2);
    }
}
