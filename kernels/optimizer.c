/* Optimizers: one pass over the memory of a parameter each, the formulas of edgecnn/optim/optimizers.py in float32.
 *
 * w parameter, g gradient, further arrays the optimizer's state, all of n floats without gaps. The gradient is first
 * multiplied by *scale (NULL: 1) and weight_decay * w is added. hyper[0] is the learning rate of this step. */
#include "simd.h"

#define GET(p) (whole ? load((p) + i) : load_n((p) + i, left))
#define PUT(p, v) (whole ? store((p) + i, v) : store_n((p) + i, v, left))

/* Defines kernel `name`: `setup` declares constants, `body` works on vectors w and g and stores its state. */
#define UPDATE(name, setup, body)                                                        \
    DEFINE(name) {                                                                       \
        const range mine = share(ceil_div(a->n, VL), tid, nthreads);                     \
        const float scale = a->scale ? *a->scale : 1.0f, lr = a->hyper[0];               \
        const float decay = (float)a->weight_decay;                                      \
        setup                                                                            \
        for (int64_t i = mine.begin * VL; i < mine.end * VL; i += VL) {                  \
            const int64_t left = a->n - i;                                               \
            const int whole = left >= VL;                                                \
            vf w = GET(a->w);                                                            \
            const vf g = GET(a->g) * scale + w * decay;                                  \
            body                                                                         \
            PUT(a->w, w);                                                                \
        }                                                                                \
    }

UPDATE(sgd_update, , { w -= g * lr; })

UPDATE(momentum_update, const float gamma = (float)a->gamma;, {
    const vf v = GET(a->v) * gamma + g * lr;
    w -= v;
    PUT(a->v, v);
})

/* w stands at the look-ahead point theta - gamma v and goes to theta - v'. */
UPDATE(nesterov_update, const float gamma = (float)a->gamma;, {
    const vf old = GET(a->v) * gamma;
    const vf v = old + g * lr;
    w += old - v;
    PUT(a->v, v);
})

UPDATE(adagrad_update, const float eps = (float)a->eps;, {
    const vf G = GET(a->G) + g * g;
    w -= g * lr / vsqrt(G + eps);
    PUT(a->G, G);
})

UPDATE(rmsprop_update, const float gamma = (float)a->gamma; const float eps = (float)a->eps;, {
    const vf E = GET(a->E) * gamma + g * g * (1 - gamma);
    w -= g * lr / vsqrt(E + eps);
    PUT(a->E, E);
})

UPDATE(adadelta_update, const float gamma = (float)a->gamma; const float eps = (float)a->eps;, {
    const vf E = GET(a->E) * gamma + g * g * (1 - gamma);
    const vf D = GET(a->D);
    const vf step = -(vsqrt(D + eps) / vsqrt(E + eps)) * g;
    w += step * lr;
    PUT(a->E, E);
    PUT(a->D, D * gamma + step * step * (1 - gamma));
})

/* hyper[1] = 1 / (1 - beta1^t), hyper[2] = 1 / (1 - beta2^t), hyper[3] = 1 - lr * decoupled decay. */
UPDATE(adam_update, const float b1 = (float)a->beta1; const float b2 = (float)a->beta2;
       const float eps = (float)a->eps;, {
    const vf m = GET(a->m) * b1 + g * (1 - b1);
    const vf v = GET(a->v) * b2 + g * g * (1 - b2);
    w = w * a->hyper[3] - m * a->hyper[1] * lr / (vsqrt(v * a->hyper[2]) + eps);
    PUT(a->m, m);
    PUT(a->v, v);
})

/* w = w - gamma v: the point at which Nesterov's gradient is taken. */
DEFINE(nesterov_ahead) {
    const range mine = share(ceil_div(a->n, VL), tid, nthreads);
    for (int64_t i = mine.begin * VL; i < mine.end * VL; i += VL) {
        const int64_t left = a->n - i;
        const int whole = left >= VL;
        PUT(a->w, GET(a->w) - GET(a->v) * (float)a->gamma);
    }
}

/* out = sum of g^2, in blocks of a fixed size whose float sums are added in double. */
DEFINE(squared_sum) {
    (void)tid, (void)nthreads;
    enum { BLOCK = 64 * VL };
    double total = 0;
    for (int64_t begin = 0; begin < a->n; begin += BLOCK) {
        const int64_t end = min64(a->n, begin + BLOCK);
        vf sum = {0};
        for (int64_t i = begin; i < end; i += VL) {
            const int64_t left = end - i;
            const int whole = left >= VL;
            const vf g = GET(a->g);
            sum += g * g;
        }
        for (int j = 0; j < VL; j++) total += sum[j];
    }
    *a->out = (float)total;
}

/* out = min(1, max_norm / sqrt(sum of squares)). */
DEFINE(clip_scale) {
    (void)tid, (void)nthreads;
    double total = 0;
    for (int64_t i = 0; i < a->n; i++) total += a->squares[i];
    const double norm = sqrt(total);
    *a->out = norm > a->max_norm ? (float)(a->max_norm / norm) : 1.0f;
}
