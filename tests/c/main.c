/* The kernels as a C library, without Python: every one, on every instruction set that this CPU runs, against plain loops
 * in double. Returns non-zero at the first difference. */
#include "check.h"
#include <stdio.h>

enum { MOST = 256, GUARD_FLOATS = 64 };

const ec_isa *isa;
int64_t checks;
static char tested[MOST];

#if defined(__SANITIZE_ADDRESS__)
enum { GUARD = 0 }; /* AddressSanitizer sees every access outside */
#else
enum { GUARD = GUARD_FLOATS };
#endif

/* Memory of the running test. */
static struct {
    float *p, *before, *first; /* the contents before a run, and after the one with one thread */
    int64_t n;
    char role; /* as in ec_signature; 0: not an output of this kernel; 's': scratch */
} buffers[MOST];
static int64_t count;
static double *others[MOST];
static int64_t other_count;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s: %s\n", isa->name, what, why);
    exit(1);
}

void expect(int holds, const char *what) {
    checks++;
    if (!holds) fail(what, "does not hold");
}

static float *nans(float *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) p[i] = NAN;
    return p;
}

float *floats(int64_t n) {
    float *p = nans(malloc((size_t)(n + 2 * GUARD) * sizeof *p), n + 2 * GUARD) + GUARD;
    for (int64_t i = 0; i < n; i++) p[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
    buffers[count].p = p;
    buffers[count++].n = n;
    return p;
}

double *doubles(int64_t n) { return others[other_count++] = calloc((size_t)n + 1, sizeof(double)); }

void end(void) {
    while (count) free(buffers[--count].p - GUARD);
    while (other_count) free(others[--other_count]);
}

int64_t between(int64_t from, int64_t to) { return from + rand() % (to - from + 1); }

static int64_t find(const char *name) {
    for (int64_t i = 0; i < ec_kernel_count; i++)
        if (!strcmp(ec_signatures[i].name, name)) return i;
    fail(name, "no such kernel");
    return -1;
}

/* Sets the role of every buffer that the arguments name as an output. */
static void find_outputs(const char *fields, const void *args) {
    void *const *slot = args;
    for (int64_t i = 0; i < count; i++) buffers[i].role = 0;
    for (const char *f = fields; *f; f = strchr(f, ' ') + 1) {
        char name[32];
        int strides = 0, length = 1;
        if (*f == 'i') sscanf(f, "i%31[^:]:%d", name, &length);
        if (strchr("<>=", *f)) sscanf(f + 1, "%31[^:]:%*[^:]:%d", name, &strides);
        for (int64_t i = 0; strchr(">=", *f) && i < count; i++)
            if (*slot == buffers[i].p) buffers[i].role = strcmp(name, "ws") ? *f : 's';
        slot += length + strides;
    }
}

static int differs(const float *a, const float *b, int64_t n) { return n && memcmp(a, b, (size_t)n * sizeof *a); }

static float *copied(const float *p, int64_t n) {
    float *c = malloc((size_t)n * sizeof *c + 1);
    if (n) memcpy(c, p, (size_t)n * sizeof *c);
    return c;
}

static void run_step(const char *name, const void *args, int64_t serial) {
    const int64_t k = find(name);
    const ec_step step = {isa->kernels[k], args, 0, serial ? 0 : -1};
    tested[k] = 1;
    find_outputs(ec_signatures[k].fields, args);
    for (int64_t i = 0; i < count; i++) buffers[i].before = copied(buffers[i].p, buffers[i].n);
    for (int threads = 1; threads <= 3; threads += 2) {
        for (int64_t i = 0; i < count; i++) {
            float *p = buffers[i].p;
            if (buffers[i].role == '>') nans(p, buffers[i].n);
            if (buffers[i].role == '=') memcpy(p, buffers[i].before, (size_t)buffers[i].n * sizeof *p);
        }
        ec_run(&step, 1, threads, 0);
        for (int64_t i = 0; i < count; i++) {
            const float *p = buffers[i].p;
            const int64_t n = buffers[i].n;
            for (int64_t g = 1; g <= GUARD; g++)
                if (p[-g] == p[-g] || p[n + g - 1] == p[n + g - 1]) fail(name, "writes outside its memory");
            if (!buffers[i].role && differs(p, buffers[i].before, n)) fail(name, "changes what it should only read");
            if (threads == 1) buffers[i].first = copied(p, n);
            else if (buffers[i].role != 's' && differs(p, buffers[i].first, n)) fail(name, "depends on the threads");
            checks += 1;
        }
    }
    for (int64_t i = 0; i < count; i++) free(buffers[i].before), free(buffers[i].first);
}

void run(const char *name, const void *args) { run_step(name, args, 0); }
void run_serial(const char *name, const void *args) { run_step(name, args, 1); }

void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance) {
    checks++;
    for (int64_t i = 0; i < n; i++) {
        if (fabs(got[i] - want[i]) <= tolerance * fmax(1, fabs(want[i]))) continue; /* NaN is not */
        fprintf(stderr, "%s: %s: element %lld of %lld is %.9g, not %.9g\n", isa->name, what, (long long)i, (long long)n,
                (double)got[i], want[i]);
        exit(1);
    }
}

double clamped(double x, double lo, double hi) { return fmin(hi, fmax(lo, x)); }

int64_t tap(const geometry *s, int axis, int64_t o, int64_t k) {
    const int64_t i = o * s->stride[axis] - s->pad[axis] + k * s->dilation[axis];
    return i < 0 || i >= (axis ? s->W : s->H) ? -1 : i;
}

geometry random_geometry(int depthwise) {
    static const int64_t kernels[] = {1, 2, 3, 3, 5, 7};
    geometry s = {.N = between(1, 2), .groups = depthwise ? 1 : between(1, 2)};
    s.C = s.groups * between(1, depthwise ? 40 : 9);
    s.OC = depthwise ? s.C : s.groups * between(1, 75);
    for (int axis = 0; axis < 2; axis++) {
        const int64_t K = kernels[between(0, COUNT(kernels) - 1)], dilation = between(1, 2), size = between(1, 17);
        const int64_t stride = between(1, 3), before = between(0, K - 1), reach = (K - 1) * dilation + 1;
        const int64_t after = size + before < reach ? reach - size - before : between(0, K - 1);
        s.stride[axis] = stride, s.dilation[axis] = dilation, s.pad[axis] = before, s.pad[axis + 2] = after;
        *(axis ? &s.KW : &s.KH) = K;
        *(axis ? &s.W : &s.H) = size;
        *(axis ? &s.OW : &s.OH) = (size + before + after - reach) / stride + 1;
    }
    return s;
}

static void check_all_tested(void) {
    for (int64_t i = 0; i < ec_kernel_count; i++)
        if (!tested[i]) fail(ec_signatures[i].name, "has no test in tests/c");
}

int main(void) {
    printf("%lld kernels,", (long long)ec_kernel_count);
    for (int64_t i = 0; (isa = ec_isa_at(i)); i++) {
        if (!ec_isa_supported(i)) continue;
        srand(1);
        printf(" %s", isa->name);
        fflush(stdout);
        test_convolution();
        test_depthwise();
        test_im2col();
        test_pooling();
        test_elementwise();
        test_copy();
        test_reductions();
        test_batch_norm();
        test_losses();
        test_dropout();
        test_optimizers();
        test_peak();
        check_all_tested();
    }
    printf(": %lld checks passed\n", (long long)checks);
    return 0;
}
