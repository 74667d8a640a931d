// The device's functions on one thread's numbers that the C library lacks, and
// the atomic ones: fibers switch only at barriers, so an ordinary read and
// write is atomic.
#pragma once

#include <cmath>

#ifndef INFINITY
#define INFINITY (__builtin_inff())
#endif

// The C library declares functions of these names for its own use.
#define __expf expf
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __sinf sinf
#define __cosf cosf
#define __powf powf
#define __exp10f exp10f

static inline float rsqrtf(float value) { return float(1.0 / std::sqrt(double(value))); }
static inline float __frsqrt_rn(float value) { return rsqrtf(value); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float value) { return 1.0f / value; }
static inline float __fsqrt_rn(float value) { return sqrtf(value); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __saturatef(float value) { return fminf(fmaxf(value, 0.0f), 1.0f); }
static inline int __float2int_rn(float value) { return int(nearbyintf(value)); }
static inline int __float2int_rz(float value) { return int(value); }
static inline float __int2float_rn(int value) { return float(value); }
static inline float __uint2float_rn(unsigned value) { return float(value); }

static inline int __popc(unsigned value) { return __builtin_popcount(value); }
static inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(unsigned(value)); }
static inline int __ffs(int value) { return __builtin_ffs(value); }

#define SIMULATED_EXTREMES(type)                                          \
    static inline type min(type a, type b) { return b < a ? b : a; }      \
    static inline type max(type a, type b) { return a < b ? b : a; }
SIMULATED_EXTREMES(int)
SIMULATED_EXTREMES(unsigned int)
SIMULATED_EXTREMES(long)
SIMULATED_EXTREMES(unsigned long)
SIMULATED_EXTREMES(long long)
SIMULATED_EXTREMES(unsigned long long)
#undef SIMULATED_EXTREMES
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

template <typename T>
static inline T __ldg(const T* address) { return *address; }
template <typename T>
static inline T __ldcs(const T* address) { return *address; }
template <typename T>
static inline T __ldcg(const T* address) { return *address; }
template <typename T>
static inline void __stcs(T* address, T value) { *address = value; }
template <typename T>
static inline void __stcg(T* address, T value) { *address = value; }

// Atomic accesses to the same memory are no race.
#define SIMULATED_ATOMIC __attribute__((no_sanitize("thread"))) static inline

template <typename T>
SIMULATED_ATOMIC T atomicAdd(T* address, T value) {
    const T before = *address;
    *address = before + value;
    return before;
}
template <typename T>
SIMULATED_ATOMIC T atomicMax(T* address, T value) {
    const T before = *address;
    if (before < value) *address = value;
    return before;
}
template <typename T>
SIMULATED_ATOMIC T atomicMin(T* address, T value) {
    const T before = *address;
    if (value < before) *address = value;
    return before;
}
template <typename T>
SIMULATED_ATOMIC T atomicExch(T* address, T value) {
    const T before = *address;
    *address = value;
    return before;
}
template <typename T>
SIMULATED_ATOMIC T atomicCAS(T* address, T expected, T value) {
    const T before = *address;
    if (before == expected) *address = value;
    return before;
}
