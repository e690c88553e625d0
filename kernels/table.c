/* The kernel table of one instruction set: compiled once per ISA, like the kernels themselves. */
#include "simd.h"

#define KERNEL(name, fields) void EC_FN(name)(const void *args, int tid, int nthreads);
#include "kernels.def"
#undef KERNEL

static const ec_kernel table[] = {
#define KERNEL(name, fields) EC_FN(name),
#include "kernels.def"
#undef KERNEL
};

const ec_isa EC_FN(isa) = {EC_STR(EC_ISA), VL, MR, NR, X_BLOCK_BYTES, BYTE_FLOPS, table};
