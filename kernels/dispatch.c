/* Which instruction sets were compiled (EC_ISAS, best first, set by the build) and which of them this CPU runs. */
#include "edgecnn.h"
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
__attribute__((unused)) static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
__attribute__((unused)) static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
/* Zen 4 (AMD family 19h) computes a vector of 16 floats in two halves. */
static int in_halves(const ec_isa *isa) {
    unsigned version = 0, b, c, d;
    __get_cpuid(1, &version, &b, &c, &d);
    return isa->lanes == 16 && __builtin_cpu_is("amd") && (version >> 8 & 0xf) + (version >> 20 & 0xff) == 0x19;
}
#else
static int in_halves(const ec_isa *isa) {
    (void)isa;
    return 0;
}
#endif
static int has_baseline(void) { return 1; }

#define ISA(name) extern const ec_isa name##_isa;
EC_ISAS
#undef ISA

static const struct {
    const ec_isa *isa;
    int (*supported)(void);
} isas[] = {
#define ISA(name) {&name##_isa, has_##name},
    EC_ISAS
#undef ISA
};

const ec_isa *ec_isa_at(int64_t i) {
    return i < (int64_t)(sizeof isas / sizeof isas[0]) ? isas[i].isa : 0;
}

int ec_isa_supported(int64_t i) { return isas[i].supported(); }

int64_t ec_byte_flops(const ec_isa *isa) { return in_halves(isa) ? isa->byte_flops / 2 : isa->byte_flops; }

const ec_signature ec_signatures[] = {
#define KERNEL(name, fields) {#name, fields},
#define IN(type, name, n) "<" #name ":" #type ":" #n " "
#define OUT(type, name, n) ">" #name ":" #type ":" #n " "
#define IO(type, name, n) "=" #name ":" #type ":" #n " "
#define I(name) "i" #name ":1 "
#define IV(name, n) "i" #name ":" #n " "
#define F(name) "f" #name " "
#include "kernels.def"
#undef KERNEL
};

const int64_t ec_kernel_count = sizeof ec_signatures / sizeof ec_signatures[0];
