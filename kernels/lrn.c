/* Local response normalisation over channels-last images (Krizhevsky, Sutskever and Hinton 2012, section 3.3). */
#include "functions.h"

/* Channels c ... c + VL of a pixel, 0 where there are none. */
INLINE vf channels(const float *x, int64_t c, int64_t C) {
    if (c >= 0 && c + VL <= C) return load(x + c);
    vf v = {0};
    for (int64_t i = max64(0, -c); i < min64(VL, C - c); i++) v[i] = x[c + i];
    return v;
}

/* y = m (bias + scale * sum of x^2 over channels c - before ... c + after)^exponent; y may be m. Threads share pixels. */
DEFINE(lrn) {
    const int64_t C = a->C;
    const range mine = share(a->N * a->H * a->W, tid, nthreads);
    for (int64_t p = mine.begin; p < mine.end; p++) {
        const float *x = a->x + pixel_offset(a->x_s, p, a->H, a->W), *m = a->m + pixel_offset(a->m_s, p, a->H, a->W);
        float *y = a->y + pixel_offset(a->y_s, p, a->H, a->W);
        for (int64_t c = 0; c < C; c += VL) {
            const int64_t n = min64(VL, C - c);
            vf sum = splat(0);
            for (int64_t k = c - a->before; k <= c + a->after; k++) {
                const vf v = channels(x, k, C);
                sum += v * v;
            }
            const vf s = sum * (float)a->scale + (float)a->bias;
            put(y + c, get(m + c, n) * vexp(vlog(s) * (float)a->exponent), n);
        }
    }
}

/* dx = g - scale * x * sum of t over channels c - before ... c + after; dx may be g. Threads share pixels. */
DEFINE(lrn_backward) {
    const int64_t C = a->C;
    const range mine = share(a->N * a->H * a->W, tid, nthreads);
    for (int64_t p = mine.begin; p < mine.end; p++) {
        const float *x = a->x + pixel_offset(a->x_s, p, a->H, a->W), *g = a->g + pixel_offset(a->g_s, p, a->H, a->W);
        const float *t = a->t + pixel_offset(a->t_s, p, a->H, a->W);
        float *dx = a->dx + pixel_offset(a->dx_s, p, a->H, a->W);
        for (int64_t c = 0; c < C; c += VL) {
            const int64_t n = min64(VL, C - c);
            vf sum = splat(0);
            for (int64_t k = c - a->before; k <= c + a->after; k++) sum += channels(t, k, C);
            put(dx + c, get(g + c, n) - get(x + c, n) * sum * (float)a->scale, n);
        }
    }
}
