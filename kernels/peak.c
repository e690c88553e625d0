/* How fast this core multiplies and adds when no memory is in the way: what profiles call the peak. */
#include "simd.h"

/* y[item][j * VL + l] = sum over i < MR of the number 1 + i * NV + j sent `steps` times through v += v * rate. The numbers of
 * an item are the accumulators of the convolution's register tile: enough independent ones to hide the latency of an FMA. */
DEFINE(fma_peak) {
    const range mine = share(a->items, tid, nthreads);
    const vf rate = splat((float)a->rate);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        vf acc[MR][NV];
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++) acc[i][j] = splat((float)(1 + i * NV + j));
        for (int64_t k = 0; k < a->steps; k++) {
#pragma GCC unroll 16
            for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
                for (int j = 0; j < NV; j++) acc[i][j] += acc[i][j] * rate;
        }
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++) {
            vf sum = splat(0);
#pragma GCC unroll 16
            for (int i = 0; i < MR; i++) sum += acc[i][j];
            store(a->y + item * NR + j * VL, sum);
        }
    }
}
