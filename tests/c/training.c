/* Kernels of training: batch normalisation, losses, dropout, optimizers. */
#include "check.h"

enum { SLABS = 3 };

/* Statistics of `pixels` pixels, in double. */
typedef struct { double *mean, *var; } moments;

static moments moments_of(const float *x, int64_t pixels, int64_t C) {
    moments m = {doubles(C), doubles(C)};
    for (int64_t i = 0; i < pixels * C; i++) m.mean[i % C] += x[i] / (double)pixels;
    for (int64_t i = 0; i < pixels * C; i++) m.var[i % C] += pow(x[i] - m.mean[i % C], 2) / (double)pixels;
    return m;
}

static const double epsilon = 1e-5, momentum = 0.9, lo = -0.5, hi = 1.25;

/* Forward and backward; the clamp's mask comes from x, or from y when a residual went into it. */
static void test_batch_norm_of(int64_t N, int64_t H, int64_t W, int64_t C, int clamp, int residual) {
    const int64_t pixels = N * H * W, n = pixels * C, s[3] = {H * W * C, W * C, C};
    float *x = floats(n), *dy = floats(n), *r = floats(n), *gamma = floats(C), *beta = floats(C);
    float *mean = floats(C), *var = floats(C), *partials = floats(SLABS * 2 * C * 2), *statistics = floats(5 * C);
    for (int64_t i = 0; i < n; i++) x[i] += 1000; /* large against the deviation */
    for (int64_t c = 0; c < C; c++) var[c] += 2;
    const moments m = moments_of(x, pixels, C);
    double *new_mean = doubles(C), *new_var = doubles(C), *want = doubles(n), *inv_std = doubles(C);
    for (int64_t c = 0; c < C; c++) {
        new_mean[c] = momentum * mean[c] + (1 - momentum) * m.mean[c];
        new_var[c] = momentum * var[c] + (1 - momentum) * m.var[c];
        inv_std[c] = 1 / sqrt(m.var[c] + epsilon);
    }

    batch_norm_partials_args a = {.x = x, .partials = partials, .C = C, .H = H, .W = W, .pixels = pixels, .slabs = SLABS};
    memcpy(a.x_s, s, sizeof s);
    run("batch_norm_partials", &a);
    batch_norm_statistics_args b = {.partials = partials, .gamma = gamma, .beta = beta, .mean = mean, .var = var,
                                    .new_mean = floats(C), .new_var = floats(C), .statistics = statistics, .C = C,
                                    .pixels = pixels, .slabs = SLABS, .epsilon = epsilon, .momentum = momentum};
    run("batch_norm_statistics", &b);
    close_to("running mean", b.new_mean, new_mean, C, 1e-6);
    close_to("running variance", b.new_var, new_var, C, 1e-6);
    batch_norm_args f = {.x = x, .r = residual ? r : 0, .statistics = statistics, .y = floats(n), .C = C, .H = H, .W = W,
                         .pixels = pixels, .lo = clamp ? lo : -INFINITY, .hi = clamp ? hi : INFINITY};
    memcpy(f.x_s, s, sizeof s);
    memcpy(f.r_s, s, sizeof s);
    memcpy(f.y_s, s, sizeof s);
    run("batch_norm", &f);
    for (int64_t i = 0; i < n; i++)
        want[i] = clamped((x[i] - m.mean[i % C]) * inv_std[i % C] * gamma[i % C] + beta[i % C] + (residual ? r[i] : 0), f.lo,
                          f.hi);
    close_to("batch_norm", f.y, want, n, 1e-5);

    double *dz = doubles(n), *dgamma = doubles(C), *dbeta = doubles(C), *dx = doubles(n);
    for (int64_t i = 0; i < n; i++) {
        dz[i] = !clamp || (f.y[i] > (float)lo && f.y[i] < (float)hi) ? dy[i] : 0;
        dbeta[i % C] += dz[i];
        dgamma[i % C] += dz[i] * (x[i] - m.mean[i % C]) * inv_std[i % C];
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = i % C;
        const double normal = (x[i] - m.mean[c]) * inv_std[c];
        dx[i] = gamma[c] * inv_std[c] * (dz[i] - (dbeta[c] + normal * dgamma[c]) / (double)pixels);
    }
    const int from_y = clamp && residual;
    batch_norm_backward_partials_args p = {.dy = dy, .x = x, .y = from_y ? f.y : 0, .statistics = statistics,
                                           .dz = from_y ? floats(n) : 0, .partials = partials, .C = C, .H = H, .W = W,
                                           .pixels = pixels, .slabs = SLABS, .clamped = clamp, .lo = f.lo, .hi = f.hi};
    memcpy(p.dy_s, s, sizeof s);
    memcpy(p.x_s, s, sizeof s);
    memcpy(p.y_s, s, sizeof s);
    memcpy(p.dz_s, s, sizeof s);
    run("batch_norm_backward_partials", &p);
    if (from_y) close_to("batch norm's dz", p.dz, dz, n, 0);
    batch_norm_backward_parameters_args q = {.partials = partials, .statistics = statistics, .dgamma = floats(C),
                                             .dbeta = floats(C), .coefficients = floats(2 * C), .C = C, .pixels = pixels,
                                             .slabs = SLABS};
    run("batch_norm_backward_parameters", &q);
    close_to("batch norm's dgamma", q.dgamma, dgamma, C, 3e-5);
    close_to("batch norm's dbeta", q.dbeta, dbeta, C, 1e-5);
    batch_norm_backward_data_args d = {.dy = dy, .x = x, .y = from_y ? f.y : 0, .statistics = statistics,
                                       .coefficients = q.coefficients, .dx = floats(n), .C = C, .H = H, .W = W,
                                       .pixels = pixels, .clamped = clamp, .lo = f.lo, .hi = f.hi};
    memcpy(d.dy_s, s, sizeof s);
    memcpy(d.x_s, s, sizeof s);
    memcpy(d.y_s, s, sizeof s);
    memcpy(d.dx_s, s, sizeof s);
    run("batch_norm_backward_data", &d);
    close_to("batch norm's dx", d.dx, dx, n, 1e-5);
    end();
}

void test_batch_norm(void) {
    for (int i = 0; i < 16; i++)
        test_batch_norm_of(between(2, 4), between(2, 12), between(2, 40), between(1, i == 0 ? 300 : 50), i % 2, i / 2 % 2);
}

static void test_cross_entropy(int64_t N, int64_t C, double smoothing) {
    float *x = floats(N * C), *dloss = floats(1);
    double *losses = doubles(N), *hits = doubles(N), *dx = doubles(N * C);
    int64_t *labels = (int64_t *)(void *)floats(2 * N);
    for (int64_t i = 0; i < N * C; i++) x[i] *= 8;
    for (int64_t n = 0; n < N; n++) {
        const float *row = x + n * C;
        double sum = 0;
        int64_t best = 0;
        labels[n] = between(0, C - 1);
        for (int64_t c = 0; c < C; c++) {
            sum += exp(row[c]);
            best = row[c] > row[best] ? c : best;
        }
        for (int64_t c = 0; c < C; c++) {
            const double t = (c == labels[n] ? 1 - smoothing : 0) + smoothing / (double)C;
            losses[n] -= t * (row[c] - log(sum));
            dx[n * C + c] = (exp(row[c]) / sum - t) * *dloss / (double)N;
        }
        hits[n] = best == labels[n];
    }
    cross_entropy_args a = {.x = x, .labels = labels, .labels_s = {1}, .losses = floats(N), .hits = floats(N), .N = N,
                            .C = C, .smoothing = smoothing};
    run("cross_entropy", &a);
    close_to("cross_entropy", a.losses, losses, N, 2e-6);
    close_to("hits", a.hits, hits, N, 0);
    cross_entropy_backward_args b = {.x = x, .labels = labels, .labels_s = {1}, .dloss = dloss, .dx = floats(N * C), .N = N,
                                     .C = C, .smoothing = smoothing};
    run("cross_entropy_backward", &b);
    close_to("cross_entropy_backward", b.dx, dx, N * C, 1e-6);
    end();
}

static void test_squared_distance(int64_t n, int against_zero) {
    float *x = floats(n), *y = floats(n), *total = floats(1);
    double *want = doubles(1);
    squared_distance_args a = {.x = x, .y = against_zero ? 0 : y, .out = floats(SLABS), .n = n, .slabs = SLABS};
    run("squared_distance", &a);
    for (int64_t i = 0; i < n; i++) *want += pow(x[i] - (against_zero ? 0 : (double)y[i]), 2);
    *total = a.out[0] + a.out[1] + a.out[2];
    close_to("squared_distance", total, want, 1, 1e-6);
    end();
}

void test_losses(void) {
    for (int i = 0; i < 8; i++) {
        test_cross_entropy(between(1, 9), between(2, 70), i % 2 ? 0.1 : 0);
        test_squared_distance(between(1, 2000), i % 2);
    }
}

/* What remains is scaled, as much is dropped as asked for, another step drops others, and the layout does not matter. */
void test_dropout(void) {
    enum { N = 4, C = 37, R = 101, ALL = N * C * R };
    const double ratio = 0.3, deviation = sqrt(ratio * (1 - ratio) / ALL);
    float *x = floats(ALL), *y = floats(ALL), *again = floats(ALL), *last = floats(ALL);
    int64_t *step = (int64_t *)(void *)floats(2), dropped = 0, same = 0;
    *step = 7;
    dropout_args a = {.x = x, .x_s = {C * R, R, 1}, .y = y, .y_s = {C * R, R, 1}, .step = step, .dims = {N, C, R}, .seed = 3,
                      .ratio = ratio};
    run("dropout", &a);
    a.y = last;
    STRIDES(a.y_s, {C * R, 1, C});
    run("dropout", &a);
    *step = 8;
    a.y = again;
    STRIDES(a.y_s, {C * R, R, 1});
    run("dropout", &a);
    for (int64_t i = 0; i < ALL; i++) {
        const int64_t r = i % R, c = i / R % C, n = i / R / C;
        expect(y[i] == 0 || fabs(y[i] - x[i] / (1 - ratio)) <= 1e-6, "dropout drops or scales");
        expect(last[(n * R + r) * C + c] == y[i], "dropout is the same in every layout");
        dropped += y[i] == 0;
        same += (y[i] == 0) == (again[i] == 0);
    }
    expect(fabs((double)dropped / ALL - ratio) < 5 * deviation, "dropout drops the given share");
    expect(fabs((double)same / ALL - (ratio * ratio + (1 - ratio) * (1 - ratio))) < 0.02, "steps drop independently");
    end();
}

/* One update of a parameter, its gradient and its states in double. */
typedef struct { double w, s, t; } state;
typedef state (*update)(state, double g, const float *hyper);
static const double gamma_ = 0.9, beta1 = 0.9, beta2 = 0.999, eps = 1e-6;

static state sgd(state x, double g, const float *h) { return (state){x.w - h[0] * g, x.s, x.t}; }
static state momentum_(state x, double g, const float *h) {
    const double v = gamma_ * x.s + h[0] * g;
    return (state){x.w - v, v, x.t};
}
static state nesterov(state x, double g, const float *h) { return (state){x.w - h[0] * g, gamma_ * x.s + h[0] * g, x.t}; }
static state adagrad(state x, double g, const float *h) {
    const double G = x.s + g * g;
    return (state){x.w - h[0] * g / sqrt(G + eps), G, x.t};
}
static state rmsprop(state x, double g, const float *h) {
    const double E = gamma_ * x.s + (1 - gamma_) * g * g;
    return (state){x.w - h[0] * g / sqrt(E + eps), E, x.t};
}
static state adadelta(state x, double g, const float *h) {
    const double E = gamma_ * x.s + (1 - gamma_) * g * g, step = sqrt(x.t + eps) / sqrt(E + eps) * g;
    return (state){x.w - h[0] * step, E, gamma_ * x.t + (1 - gamma_) * step * step};
}
static state adam(state x, double g, const float *h) {
    const double m = beta1 * x.s + (1 - beta1) * g, v = beta2 * x.t + (1 - beta2) * g * g;
    return (state){x.w - h[0] * m * h[1] / (sqrt(v * h[2]) + eps) - h[3] * x.w, m, v};
}

enum { PARAMETERS = 1003 };

/* args begins with the common fields; s and t are the states that it has besides. */
static void test_update(const char *name, update f, void *args, float *s, float *t) {
    sgd_update_args *a = args; /* every update's arguments begin like this */
    float *g = floats(PARAMETERS), *w = floats(PARAMETERS), *hyper = floats(4), *scale = floats(1);
    double *want[3] = {doubles(PARAMETERS), doubles(PARAMETERS), doubles(PARAMETERS)};
    a->w = w, a->g = g, a->hyper = hyper, a->scale = scale, a->n = PARAMETERS, a->weight_decay = 0.01;
    hyper[0] = 0.05f, hyper[1] = 1.5f, hyper[2] = 2.5f, hyper[3] = 0.02f;
    for (int64_t i = 0; i < PARAMETERS; i++) {
        if (s) s[i] = fabsf(s[i]);
        if (t) t[i] = fabsf(t[i]);
        const state x = f((state){w[i], s ? s[i] : 0, t ? t[i] : 0}, (double)g[i] * *scale + 0.01 * w[i], hyper);
        want[0][i] = x.w, want[1][i] = x.s, want[2][i] = x.t;
    }
    run(name, args);
    close_to(name, w, want[0], PARAMETERS, 1e-6);
    if (s) close_to(name, s, want[1], PARAMETERS, 1e-6);
    if (t) close_to(name, t, want[2], PARAMETERS, 1e-6);
    end();
}

static float *states(void) { return floats(PARAMETERS); }

void test_optimizers(void) {
    test_update("sgd_update", sgd, &(sgd_update_args){0}, 0, 0);
    float *s = states(), *t;
    test_update("momentum_update", momentum_, &(momentum_update_args){.v = s, .gamma = gamma_}, s, 0);
    s = states();
    test_update("nesterov_update", nesterov, &(nesterov_update_args){.v = s, .gamma = gamma_}, s, 0);
    s = states();
    test_update("adagrad_update", adagrad, &(adagrad_update_args){.G = s, .eps = eps}, s, 0);
    s = states();
    test_update("rmsprop_update", rmsprop, &(rmsprop_update_args){.E = s, .gamma = gamma_, .eps = eps}, s, 0);
    s = states(), t = states();
    test_update("adadelta_update", adadelta, &(adadelta_update_args){.E = s, .D = t, .gamma = gamma_, .eps = eps}, s, t);
    s = states(), t = states();
    test_update("adam_update", adam, &(adam_update_args){.m = s, .v = t, .beta1 = beta1, .beta2 = beta2, .eps = eps}, s, t);

    float *w = states(), *v = states(), *squares = floats(SLABS), *out = floats(1);
    double *want = doubles(PARAMETERS), total = 0;
    for (int64_t i = 0; i < PARAMETERS; i++) want[i] = w[i] - gamma_ * v[i];
    run("nesterov_ahead", &(nesterov_ahead_args){.w = w, .v = v, .n = PARAMETERS, .gamma = gamma_});
    close_to("nesterov_ahead", w, want, PARAMETERS, 1e-6);
    for (int64_t i = 0; i < SLABS; i++) total += squares[i] = fabsf(squares[i]) + 1;
    for (double norm = 0.5; norm < 100; norm *= 100) {
        *want = fmin(1, norm / sqrt(total));
        run_serial("clip_scale", &(clip_scale_args){.squares = squares, .out = out, .n = SLABS, .max_norm = norm});
        close_to("clip_scale", out, want, 1, 1e-6);
    }
    end();
}
