/* Dropout. The mask is not stored: both passes draw it again from a hash of (seed, step, element), so that it depends
 * neither on threads nor on the layout. */
#include "simd.h"

/* Mixes 64 bits (the finaliser of SplitMix64, Steele, Lea, Flood 2014). */
INLINE uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* y = x / (1 - ratio) where a uniform number of the element is at least ratio, else 0.
 * x, y (n, c, rest) with strides; the element's number is its place in logical order. y may be x. */
DEFINE(dropout) {
    const uint64_t key = mix((uint64_t)a->seed ^ mix((uint64_t)*a->step + UINT64_C(0x9e3779b97f4a7c15)));
    const uint64_t below = (uint64_t)(a->ratio * 4294967296.0);
    const float keep = (float)(1.0 / (1.0 - a->ratio));
    const int64_t N = a->dims[0], C = a->dims[1], R = a->dims[2];
    const range mine = share(N * R, tid, nthreads);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const int64_t n = i / R, r = i % R;
        const float *x = a->x + n * a->x_s[0] + r * a->x_s[2];
        float *y = a->y + n * a->y_s[0] + r * a->y_s[2];
        for (int64_t c = 0; c < C; c += VL) {
            const uint64_t element = (uint64_t)((n * C + c) * R + r), step = UINT64_C(0x9e3779b97f4a7c15);
            const int64_t lanes = min64(VL, C - c);
            vi kept;
            for (int i = 0; i < VL; i++)
                kept[i] = -((mix(key + (element + (uint64_t)(i * R)) * step) >> 32) >= below);
            const vf v = get_strided(x + c * a->x_s[1], a->x_s[1], lanes);
            put_strided(y + c * a->y_s[1], a->y_s[1], (vf)((vi)(v * keep) & kept), lanes);
        }
    }
}
