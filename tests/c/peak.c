/* The loop that measures the peak must really compute. */
#include "check.h"

void test_peak(void) {
    enum { ITEMS = 5, STEPS = 9 };
    const double rate = -0.25;
    const int64_t n = ITEMS * isa->nr, nv = isa->nr / isa->lanes;
    float *y = floats(n);
    double *want = doubles(n);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < isa->mr; i++)
            want[k] += (double)(1 + i * nv + k % isa->nr / isa->lanes) * pow(1 + rate, STEPS);
    fma_peak_args a = {.y = y, .items = ITEMS, .steps = STEPS, .rate = rate};
    run("fma_peak", &a);
    close_to("fma_peak", y, want, n, 1e-6);
    end();
}
