/* conv_direct, conv_backward_weights, Winograd's way to both, and weights in their packed layout. */
#include "check.h"

enum { SHAPES = 25 };

/* A geometry, how it is cut into work items, and how x lies. */
typedef struct {
    geometry s;
    int64_t Cg, OCg, panels, nx, nw, ny;
    int64_t x_s[4], y_s[3], w_s[5];
} problem;

static problem problem_of(geometry s, int row_major) {
    problem p = {.s = s, .Cg = s.C / s.groups, .OCg = s.OC / s.groups};
    const int64_t taps = s.KH * s.KW, pixels = s.H * s.W, wide = s.OC + 3; /* y lies inside something wider */
    p.panels = (p.OCg + isa->nr - 1) / isa->nr;
    p.nx = s.N * pixels * s.C;
    p.nw = s.OC * p.Cg * taps;
    p.ny = s.N * s.OH * s.OW * wide;
    if (row_major) STRIDES(p.x_s, {pixels * s.C, s.W, 1, pixels});
    else STRIDES(p.x_s, {pixels * s.C, s.W * s.C, s.C, 1});
    STRIDES(p.y_s, {s.OH * s.OW * wide, s.OW * wide, wide});
    STRIDES(p.w_s, {p.OCg * p.Cg * taps, p.Cg * taps, taps, s.KW, 1});
    return p;
}

/* For every product: xi, wi, yi are the places of its factors. */
#define FOR_PRODUCTS(p, ...)                                                                                        \
    for (int64_t n = 0; n < (p)->s.N; n++)                                                                          \
        for (int64_t oh = 0; oh < (p)->s.OH; oh++)                                                                  \
            for (int64_t ow = 0; ow < (p)->s.OW; ow++)                                                              \
                for (int64_t oc = 0; oc < (p)->s.OC; oc++)                                                          \
                    for (int64_t i = 0; i < (p)->Cg * (p)->s.KH * (p)->s.KW; i++) {                                 \
                        const int64_t kw = i % (p)->s.KW, kh = i / (p)->s.KW % (p)->s.KH;                           \
                        const int64_t c = i / (p)->s.KW / (p)->s.KH + oc / (p)->OCg * (p)->Cg;                      \
                        const int64_t ih = tap(&(p)->s, 0, oh, kh), iw = tap(&(p)->s, 1, ow, kw);                   \
                        if (ih < 0 || iw < 0) continue;                                                             \
                        const int64_t xi = n * (p)->x_s[0] + ih * (p)->x_s[1] + iw * (p)->x_s[2] + c * (p)->x_s[3]; \
                        const int64_t yi = n * (p)->y_s[0] + oh * (p)->y_s[1] + ow * (p)->y_s[2] + oc;              \
                        const int64_t wi = oc * (p)->Cg * (p)->s.KH * (p)->s.KW + i;                                \
                        __VA_ARGS__                                                                                 \
                    }

static int64_t window_size(const problem *p, int64_t rows, int64_t cols) {
    const geometry *s = &p->s;
    return ((rows - 1) * s->stride[0] + (s->KH - 1) * s->dilation[0] + 1) *
           ((cols - 1) * s->stride[1] + (s->KW - 1) * s->dilation[1] + 1) * p->Cg;
}

static float *packed(const problem *p, const float *w, const int64_t *w_s) {
    const geometry *s = &p->s;
    conv_pack_weights_args a = {.w = w, .packed = floats(s->groups * p->panels * isa->nr * p->Cg * s->KH * s->KW),
                                .OC = s->OC, .C = s->C, .KH = s->KH, .KW = s->KW, .groups = s->groups};
    memcpy(a.w_s, w_s, sizeof a.w_s);
    run("conv_pack_weights", &a);
    return a.packed;
}

/* y = clamp(conv(x, packed w) + b + r); b and r may be NULL. */
static float *direct(const problem *p, const float *x, const float *w, const float *b, const float *r, int pack, double lo,
                     double hi) {
    const geometry *s = &p->s;
    const int64_t rows = between(1, s->OH), cols = between(1, s->OW), pixel = p->Cg + between(0, 2);
    const int64_t ws = window_size(p, rows, cols) / p->Cg * pixel;
    conv_direct_args a = {.x = x, .w = w, .b = b, .r = r, .y = floats(p->ny), .ws = floats(3 * ws), .N = s->N, .C = s->C,
                          .H = s->H, .W = s->W, .OC = s->OC, .OH = s->OH, .OW = s->OW, .KH = s->KH, .KW = s->KW,
                          .groups = s->groups, .lo = lo, .hi = hi, .cold = between(0, 1), .pack = pack, .rows = rows,
                          .cols = cols, .panels = between(1, p->panels), .ws_pixel = pixel, .ws_thread = ws};
    memcpy(a.x_s, p->x_s, sizeof a.x_s);
    memcpy(a.y_s, p->y_s, sizeof a.y_s);
    memcpy(a.r_s, p->y_s, sizeof a.r_s);
    memcpy(a.stride, s->stride, sizeof a.stride);
    memcpy(a.pad, s->pad, sizeof a.pad);
    memcpy(a.dilation, s->dilation, sizeof a.dilation);
    run("conv_direct", &a);
    return a.y;
}

/* What rounding may do to a sum of so many products of numbers in [-1, 1]. */
static double tolerance(int64_t terms) { return 1e-6 * sqrt((double)terms + 4); }

/* Compares the channels that y holds of its wider surroundings. */
static void compare_y(const char *what, const problem *p, const float *y, const double *want, double tolerance) {
    for (int64_t i = 0; i < p->ny; i += p->y_s[2]) close_to(what, y + i, want + i, p->s.OC, tolerance);
    for (int64_t i = p->s.OC; i < p->ny; i += p->y_s[2]) expect(isnan(y[i]), "channels beside y are left alone");
}

static void test_forward(const problem *p, int pack, int fused) {
    const int64_t per_group = p->panels * isa->nr;
    const double lo = fused ? -0.5 : -INFINITY, hi = fused ? 0.75 : INFINITY;
    float *x = floats(p->nx), *w = floats(p->nw), *r = fused ? floats(p->ny) : 0;
    float *b = fused ? floats(p->s.groups * per_group) : 0, *y = direct(p, x, packed(p, w, p->w_s), b, r, pack, lo, hi);
    double *want = doubles(p->ny);
    FOR_PRODUCTS(p, want[yi] += (double)x[xi] * w[wi];)
    for (int64_t i = 0; fused && i < p->ny; i++) {
        const int64_t oc = i % p->y_s[2];
        if (oc < p->s.OC) want[i] = clamped(want[i] + b[oc / p->OCg * per_group + oc % p->OCg] + r[i], lo, hi);
    }
    compare_y("conv_direct", p, y, want, tolerance(p->Cg * p->s.KH * p->s.KW));
    end();
}

/* dx, as the convolution of dy with taps flipped and channels exchanged; for strides of 1. */
static void test_backward_data(const problem *p) {
    geometry s = p->s;
    const int64_t taps = s.KH * s.KW;
    geometry g = {.N = s.N, .C = s.OC, .H = s.OH, .W = s.OW, .OC = s.C, .KH = s.KH, .KW = s.KW, .stride = {1, 1},
                  .pad = {(s.KH - 1) * s.dilation[0] - s.pad[0], (s.KW - 1) * s.dilation[1] - s.pad[1]},
                  .dilation = {s.dilation[0], s.dilation[1]}, .groups = s.groups, .OH = s.H, .OW = s.W};
    const problem back = problem_of(g, 0), forth = problem_of(s, 0);
    float *w = floats(p->nw), *dy = floats(back.nx);
    const int64_t flipped[5] = {p->w_s[0], taps, p->w_s[1], -s.KW, -1};
    float *dx = direct(&back, dy, packed(&back, w + taps - 1, flipped), 0, 0, 1, -INFINITY, INFINITY);
    double *want = doubles(back.ny);
    FOR_PRODUCTS(&forth, want[xi / s.C * back.y_s[2] + xi % s.C] += (double)w[wi] * dy[yi / forth.y_s[2] * s.OC + oc];)
    compare_y("conv_direct as backward_data", &back, dx, want, tolerance(back.Cg * s.KH * s.KW));
    end();
}

static void test_backward_weights(const problem *p, int pack) {
    const geometry *s = &p->s;
    const int64_t images = between(1, s->N), rows = between(1, s->OH), cols = between(1, s->OW);
    const int64_t channels = s->KH * s->KW == 1 && !pack ? between(1, p->Cg) : 0, panels = between(1, p->panels);
    const int64_t strips = (channels + isa->mr) * (cols * (isa->mr + isa->lanes) + 32) + panels * (cols * isa->nr + 32);
    const int64_t ws = channels ? strips : images * window_size(p, rows, cols), parts = channels ? 1 : between(1, s->N);
    const int64_t size = s->groups * p->panels * isa->nr * p->Cg * s->KH * s->KW;
    if (channels) pack = s->N * s->OH > 1 || between(0, 1); /* in place only pixels of one row */
    float *x = floats(p->nx), *dy = floats(p->ny), *dw = floats(p->nw);
    conv_backward_weights_args a = {.x = x, .dy = dy, .dw = floats(parts * size), .ws = floats(3 * ws), .N = s->N, .C = s->C,
                                    .H = s->H, .W = s->W, .OC = s->OC, .OH = s->OH, .OW = s->OW, .KH = s->KH,
                                    .KW = s->KW, .groups = s->groups, .pack = pack, .images = images, .rows = rows,
                                    .cols = cols, .channels = channels, .panels = panels, .parts = parts, .ws_thread = ws};
    memcpy(a.x_s, p->x_s, sizeof a.x_s);
    memcpy(a.dy_s, p->y_s, sizeof a.dy_s);
    memcpy(a.stride, s->stride, sizeof a.stride);
    memcpy(a.pad, s->pad, sizeof a.pad);
    memcpy(a.dilation, s->dilation, sizeof a.dilation);
    run("conv_backward_weights", &a);
    for (int64_t i = size; i < parts * size; i++) a.dw[i % size] += a.dw[i];
    conv_unpack_weights_args unpack = {.packed = a.dw, .w = dw, .OC = s->OC, .C = s->C, .KH = s->KH, .KW = s->KW,
                                       .groups = s->groups};
    memcpy(unpack.w_s, p->w_s, sizeof unpack.w_s);
    run("conv_unpack_weights", &unpack);
    double *want = doubles(p->nw);
    FOR_PRODUCTS(p, want[wi] += (double)x[xi] * dy[yi];)
    close_to("conv_backward_weights", dw, want, p->nw, tolerance(s->N * s->OH * s->OW));
    end();
}

/* Winograd's transforms add some ten roundings to each sum. */
static void test_winograd(int64_t m) {
    const int64_t H = between(1, 17), W = between(1, 17), pad = between(1, 2), k = (m + 2) * (m + 2);
    const geometry s = {between(1, 2), between(1, 40), H, W, between(1, 75), 3, 3, {1, 1}, {pad, pad, pad, pad}, {1, 1}, 1,
                        H + 2 * pad - 2, W + 2 * pad - 2};
    const problem p = problem_of(s, 0);
    const int64_t nr = isa->nr, row = s.C + isa->lanes + 16, wide = p.panels * nr + isa->lanes + 16;
    const int64_t tiles = between(1, 40), channels = between(1, s.C), panels = between(1, p.panels);
    const int64_t ws = k * (tiles * (row + wide) + 64 + s.C * p.panels * nr) + row + wide;
    float *x = floats(p.nx), *w = floats(p.nw), *b = floats(p.panels * nr), *r = floats(p.ny), *dy = floats(p.ny);
    winograd_weights_args u = {.packed = packed(&p, w, p.w_s), .u = floats(p.panels * nr * (s.C + 1) * k), .m = m,
                               .OC = s.OC, .C = s.C};
    run("winograd_weights", &u);
    winograd_forward_args a = {.x = x, .u = u.u, .b = b, .r = r, .y = floats(p.ny), .ws = floats(3 * ws), .m = m, .N = s.N,
                               .C = s.C, .H = H, .W = W, .OC = s.OC, .OH = s.OH, .OW = s.OW, .pad = {pad, pad}, .lo = -2,
                               .hi = 3, .tiles = tiles, .panels = panels, .ws_thread = ws};
    memcpy(a.x_s, p.x_s, sizeof a.x_s);
    memcpy(a.y_s, p.y_s, sizeof a.y_s);
    memcpy(a.r_s, p.y_s, sizeof a.r_s);
    run("winograd_forward", &a);
    double *y = doubles(p.ny), *dw = doubles(p.nw);
    FOR_PRODUCTS(&p, y[yi] += (double)x[xi] * w[wi]; dw[wi] += (double)x[xi] * dy[yi];)
    for (int64_t i = 0; i < p.ny; i++) {
        const int64_t oc = i % p.y_s[2];
        if (oc < s.OC) y[i] = clamped(y[i] + b[oc] + r[i], a.lo, a.hi);
    }
    compare_y("winograd_forward", &p, a.y, y, 5 * tolerance(s.C * 9));
    winograd_backward_weights_args g = {.x = x, .dy = dy, .dw = floats(p.panels * nr * s.C * 9), .ws = a.ws, .m = m,
                                        .N = s.N, .C = s.C, .H = H, .W = W, .OC = s.OC, .OH = s.OH, .OW = s.OW,
                                        .pad = {pad, pad}, .tiles = tiles, .channels = channels, .panels = panels,
                                        .ws_thread = ws};
    memcpy(g.x_s, p.x_s, sizeof g.x_s);
    memcpy(g.dy_s, p.y_s, sizeof g.dy_s);
    run("winograd_backward_weights", &g);
    conv_unpack_weights_args unpack = {.packed = g.dw, .w = w, .OC = s.OC, .C = s.C, .KH = 3, .KW = 3, .groups = 1};
    memcpy(unpack.w_s, p.w_s, sizeof unpack.w_s);
    run("conv_unpack_weights", &unpack);
    close_to("winograd_backward_weights", w, dw, p.nw, 5 * tolerance(s.N * s.OH * s.OW));
    end();
}

void test_convolution(void) {
    for (int i = 0; i < SHAPES; i++) test_winograd(i % 2 ? 4 : 2);
    for (int i = 0; i < SHAPES; i++) {
        geometry s = random_geometry(0);
        const int padded = s.pad[0] || s.pad[1] || s.pad[2] || s.pad[3], pack = padded || i % 2;
        problem p = problem_of(s, pack && i % 3 == 0);
        test_forward(&p, pack, i % 2);
        test_backward_weights(&p, pack);
        if (s.stride[0] == 1 && s.stride[1] == 1) test_backward_data(&p);
    }
    /* a fully connected layer of many panels; a picture of one row; whole tiles of pixels; planes of three colours */
    const geometry some[] = {
        {1, 30, 1, 1, 300, 1, 1, {1, 1}, {0}, {1, 1}, 1, 1, 1},
        {2, 16, 14, 14, 64, 1, 1, {1, 1}, {0}, {1, 1}, 1, 14, 14},
        {1, 45, 1, 150, 83, 1, 1, {1, 1}, {0}, {1, 1}, 1, 1, 150},
        {1, 8, 16, 16, 40, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, 16, 16},
        {2, 3, 21, 39, 17, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, 21, 39},
    };
    for (int64_t i = 0; i < COUNT(some); i++) {
        problem p = problem_of(some[i], some[i].C == 3);
        test_forward(&p, some[i].pad[0] > 0, 1);
        test_backward_weights(&p, some[i].pad[0] > 0);
        test_backward_data(&p);
    }
}
