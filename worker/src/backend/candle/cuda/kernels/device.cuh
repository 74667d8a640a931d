// What the kernels ask of the device, and nothing of networks: numbers of three kinds, sums over a warp, tensor cores,
// and copies that run by themselves. Compiled by nvcc for a card, and by g++ for tests on a processor.
#pragma once

#ifdef AUTOTUNE_SIMULATED
#include "kernels.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cstdint>
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type* name = reinterpret_cast<type*>(name##_bytes)
#endif

typedef __nv_bfloat16 bfloat;

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

__device__ __forceinline__ float to_float(float number) { return number; }
__device__ __forceinline__ float to_float(half number) { return __half2float(number); }
__device__ __forceinline__ float to_float(bfloat number) { return __bfloat162float(number); }

template <class T> __device__ __forceinline__ T from_float(float number);
template <> __device__ __forceinline__ float from_float<float>(float number) { return number; }
template <> __device__ __forceinline__ half from_float<half>(float number) { return __float2half_rn(number); }
template <> __device__ __forceinline__ bfloat from_float<bfloat>(float number) { return __float2bfloat16_rn(number); }

// As many numbers as one access of 16 bytes takes.
template <class T> struct alignas(16) Vector {
    static constexpr int SIZE = 16 / sizeof(T);
    T numbers[SIZE];
};

// Two numbers of 16 bits in a register, the first in its lower half. The last argument says which kind.
template <class T> __device__ __forceinline__ uint32_t pair(float first, float second, T) {
    const T numbers[2] = {from_float<T>(first), from_float<T>(second)};
    uint32_t both;
    memcpy(&both, numbers, sizeof(both));
    return both;
}

// Over all lanes of a warp; every lane has the result.
__device__ __forceinline__ float warp_sum(float number) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) number += __shfl_xor_sync(ALL_LANES, number, distance);
    return number;
}

// Over the four lanes that share a row of a tensor core's result.
__device__ __forceinline__ float quad_sum(float number) {
    number += __shfl_xor_sync(ALL_LANES, number, 1);
    return number + __shfl_xor_sync(ALL_LANES, number, 2);
}
__device__ __forceinline__ float quad_max(float number) {
    number = fmaxf(number, __shfl_xor_sync(ALL_LANES, number, 1));
    return fmaxf(number, __shfl_xor_sync(ALL_LANES, number, 2));
}

#ifdef AUTOTUNE_SIMULATED
__device__ __forceinline__ float power_of_two(float number) { return exp2f(number); }
#else

__device__ __forceinline__ float power_of_two(float number) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(number));
    return power;
}

#if __CUDA_ARCH__ >= 800
// d += a · b, of 16 rows, 8 columns and a depth of 16, summed in fp32. Whose numbers a lane holds: PTX ISA, "Matrix
// Fragments for mma.m16n8k16 with floating point type".
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], half) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bfloat) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices of 8 by 8; lane i names row i % 8 of matrix i / 8, and gets two neighbours of row i / 4 of each.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
// The same of each matrix's transpose.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// Sixteen bytes on their way to shared memory, or as many zeros.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(address), "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the last N groups are there, for this thread.
template <int N> __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}
#endif
#endif

// Whether this compilation has the tensor cores that attention uses.
#if defined(AUTOTUNE_SIMULATED) || __CUDA_ARCH__ >= 800
#define HAS_TENSOR_CORES 1
#else
#define HAS_TENSOR_CORES 0
#endif
