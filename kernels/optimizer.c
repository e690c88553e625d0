/* Optimizers: one walk over the memory of a parameter each, the formulas of edgecnn/optim in float32.
 *
 * w parameter, g gradient, further arrays the optimizer's state: n floats each, none overlapping. The
 * gradient is first multiplied by *scale (NULL: 1), then weight_decay * w is added. hyper[0] is the learning
 * rate. A running mean beta e + (1 - beta) x is written e + (1 - beta)(x - e), with 1 - beta rounded once:
 * the weights then add up to 1, which those of a rounded beta near 1 do not. Threads share vectors. */
#include "simd.h"

/* Walks over this thread's share: `body` is done for `n` elements from `i` on. */
#define WALK(body)                                                                       \
    const range mine = share(ceil_div(a->n, VL), tid, nthreads);                         \
    const int64_t end = min64(mine.end * VL, a->n);                                      \
    int64_t i = mine.begin * VL;                                                         \
    for (; i + VL <= end; i += VL) {                                                     \
        enum { n = VL };                                                                 \
        body                                                                             \
    }                                                                                    \
    if (i < end) {                                                                       \
        const int64_t n = end - i;                                                       \
        body                                                                             \
    }

/* Defines kernel `name`: `constants` are declared before the walk, `body` changes the vector w with the
 * gradient g. */
#define UPDATE(name, constants, body)                                                    \
    DEFINE(name) {                                                                       \
        float *const param = a->w;                                                       \
        const float *const grad = a->g;                                                  \
        const float lr = a->hyper[0], scale = a->scale ? *a->scale : 1.0f;               \
        const float decay = (float)a->weight_decay;                                      \
        constants                                                                        \
        WALK({                                                                           \
            vf w = get(param + i, n);                                                    \
            const vf g = get(grad + i, n) * scale + w * decay;                           \
            body                                                                         \
            put(param + i, w, n);                                                        \
        })                                                                               \
    }

UPDATE(sgd_update, , { w -= g * lr; })

UPDATE(momentum_update, const float gamma = (float)a->gamma;, {
    const vf v = get(a->v + i, n) * gamma + g * lr;
    w -= v;
    put(a->v + i, v, n);
})

/* w stands at the look-ahead point theta - gamma v, from which a step of -lr g leads to theta - v'. */
UPDATE(nesterov_update, const float gamma = (float)a->gamma;, {
    const vf step = g * lr;
    w -= step;
    put(a->v + i, get(a->v + i, n) * gamma + step, n);
})

UPDATE(adagrad_update, const float eps = (float)a->eps;, {
    const vf G = get(a->G + i, n) + g * g;
    w -= g * lr / vsqrt(G + eps);
    put(a->G + i, G, n);
})

UPDATE(rmsprop_update, const float eps = (float)a->eps; const float rest = (float)(1 - a->gamma);, {
    const vf old = get(a->E + i, n);
    const vf E = old + (g * g - old) * rest;
    w -= g * lr / vsqrt(E + eps);
    put(a->E + i, E, n);
})

UPDATE(adadelta_update, const float eps = (float)a->eps; const float rest = (float)(1 - a->gamma);, {
    const vf old = get(a->E + i, n);
    const vf E = old + (g * g - old) * rest;
    const vf D = get(a->D + i, n);
    const vf step = vsqrt(D + eps) / vsqrt(E + eps) * g;
    w -= step * lr;
    put(a->E + i, E, n);
    put(a->D + i, D + (step * step - D) * rest, n);
})

/* hyper[1] = 1 / (1 - beta1^t), hyper[2] = 1 / (1 - beta2^t), hyper[3] = lr * decoupled weight decay. */
UPDATE(adam_update, const float eps = (float)a->eps; const float rest1 = (float)(1 - a->beta1);
       const float rest2 = (float)(1 - a->beta2); const float correct1 = a->hyper[1];
       const float correct2 = a->hyper[2]; const float decoupled = a->hyper[3];, {
    const vf m_old = get(a->m + i, n);
    const vf v_old = get(a->v + i, n);
    const vf m = m_old + (g - m_old) * rest1;
    const vf v = v_old + (g * g - v_old) * rest2;
    w -= m * correct1 * lr / (vsqrt(v * correct2) + eps) + w * decoupled;
    put(a->m + i, m, n);
    put(a->v + i, v, n);
})

/* w = w - gamma v: the point at which Nesterov's gradient is taken. */
DEFINE(nesterov_ahead) {
    const float gamma = (float)a->gamma;
    WALK({ put(a->w + i, get(a->w + i, n) - get(a->v + i, n) * gamma, n); })
}

/* out = min(1, max_norm / (sqrt(sum of squares) + 1e-12)); NaN if a square is. */
DEFINE(clip_scale) {
    (void)tid, (void)nthreads;
    double total = 0;
    for (int64_t i = 0; i < a->n; i++) total += a->squares[i];
    const double scale = a->max_norm / (sqrt(total) + 1e-12);
    *a->out = scale > 1 ? 1.0f : (float)scale;
}
