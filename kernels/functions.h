/* Functions of vectors beyond vexp, each within a few ulp (tests/ops checks them). NaN gives NaN. */
#ifndef EDGECNN_FUNCTIONS_H
#define EDGECNN_FUNCTIONS_H
#include "simd.h"

INLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }
INLINE vf with_sign_of(vf sign, vf x) { return (vf)((vi)x | ((vi)sign & ~0x7fffffff)); } /* x >= 0 */

/* The larger of m and x; NaN once either was. */
INLINE vf larger(vf m, vf x) {
#if defined(__AVX512F__)
    return _mm512_mask_max_ps(m, _mm512_cmp_ps_mask(m, m, _CMP_EQ_OQ), m, x);
#elif defined(__aarch64__)
    return vmaxq_f32(m, x);
#else
    return blend(m == m, vmax(m, x), m);
#endif
}

/* Lane by lane, for what has no vector form worth its lines. */
INLINE vf each(float (*f)(float), vf x) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = f(x[i]);
    return y;
}

INLINE vf vpow(vf x, vf e) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = powf(x[i], e[i]);
    return y;
}

/* In 3 ulp: the odd polynomial of Cephes' tanhf near 0, where exp would cancel; +-1 at +-inf. */
INLINE vf vtanh(vf x) {
    const vf z = x * x, far = 1.0f - 2.0f * vreciprocal(vexp(vmin(splat(44), vabs(x)) * 2.0f) + 1.0f);
    vf s = splat(-5.70498872745e-3f);
    s = s * z + 2.06390887954e-2f;
    s = s * z - 5.37397155531e-2f;
    s = s * z + 1.33314422036e-1f;
    s = s * z - 3.33332819422e-1f;
    return blend(vabs(x) < 0.625f, s * z * x + x, blend(x < 0.0f, -far, far));
}

/* Beyond the limits it is 0 and 1 to the bit. */
INLINE vf vsigmoid(vf x) { return vreciprocal(1.0f + vexp_near(-vmin(splat(104), vmax(splat(-88), x)))); }

/* exp(x) - 1 by tanh(x/2), for x <= 0: nothing cancels. */
INLINE vf vexpm1(vf x) {
    const vf t = vtanh(x * 0.5f);
    return 2.0f * t / (1.0f - t);
}

/* log(x) = e log 2 + log m with x = 2^e m, m in [sqrt(1/2), sqrt(2)) and Cephes logf's polynomial of m - 1. -inf at 0 and
 * for denormals, NaN below. */
INLINE vf vlog(vf x) {
    const vi shifted = (vi)x - 0x3f3504f3; /* the bits of sqrt(1/2): now the exponent changes where m starts again */
    const vf e = __builtin_convertvector(shifted >> 23, vf);
    const vf r = (vf)((shifted & 0x7fffff) + 0x3f3504f3) - 1.0f, z = r * r;
    vf p = splat(7.0376836292e-2f);
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    vf y = r + (p * r * z - e * 2.12194440e-4f - 0.5f * z) + e * 0.693359375f;
    y = blend(x < 1.17549435e-38f, splat(-INFINITY), y);
    y = blend(x < 0.0f, splat(NAN), y);
    return blend((x == INFINITY) | (x != x), x, y);
}

/* log(1 + u) for 0 <= u <= 1: what rounding 1 + u loses is put back. */
INLINE vf vlog1p(vf u) {
    const vf w = 1.0f + u;
    return vlog(w) - ((w - 1.0f) - u) / w;
}

INLINE vf vsoftplus(vf x) { return vmax(splat(0), x) + vlog1p(vexp(-vabs(x))); }

/* x + x P(x^2) near 0, 1 - exp(-Q(|x|)) further out, both polynomials fitted by least squares of the relative error. */
INLINE vf verf(vf x) {
    const vf z = x * x, t = vmin(splat(4), vabs(x));
    vf p = splat(7.847259258e-5f);
    p = p * z - 8.008189034e-4f;
    p = p * z + 5.188099109e-3f;
    p = p * z - 2.685369179e-2f;
    p = p * z + 1.128358245e-1f;
    p = p * z - 3.761262596e-1f;
    p = p * z + 1.283791661e-1f;
    vf q = splat(2.161941484e-5f);
    q = q * t - 4.406003573e-4f;
    q = q * t + 4.201208707e-3f;
    q = q * t - 2.519999258e-2f;
    q = q * t + 1.084066778e-1f;
    q = q * t + 6.332299113e-1f;
    q = q * t + 1.129573822f;
    q = q * t - 1.871796849e-4f;
    return blend(vabs(x) < 1.0f, x * p + x, with_sign_of(x, 1.0f - vexp(-q)));
}
#endif
