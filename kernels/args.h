/* Argument structs of all kernels, generated from kernels.def. */
#ifndef EDGECNN_ARGS_H
#define EDGECNN_ARGS_H
#include <stdint.h>
#define KERNEL(name, fields) typedef struct { fields } name##_args;
#define IN(type, name, n) const type *name; int64_t name##_s[n];
#define OUT(type, name, n) type *name; int64_t name##_s[n];
#define IO(type, name, n) type *name; int64_t name##_s[n];
#define I(name) int64_t name;
#define IV(name, n) int64_t name[n];
#define F(name) double name;
#include "kernels.def"
#undef KERNEL
#undef IN
#undef OUT
#undef IO
#undef I
#undef IV
#undef F
#endif
