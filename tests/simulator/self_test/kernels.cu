// Kernels that show whether the simulator's own threads, warps, tensor core and
// copies do what CUDA's do, right and wrong use of them alike.
#include "kernels.h"

extern "C" __global__ void scale(const float* __restrict__ from, float* __restrict__ to, float factor, int count) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) to[at] = from[at] * factor;
}

// Reverses each block's numbers through shared memory.
template <bool barrier>
__device__ void reversed(const float* from, float* to) {
    __shared__ float numbers[256];
    const int first = blockIdx.x * blockDim.x;
    numbers[threadIdx.x] = from[first + threadIdx.x];
    if (barrier) __syncthreads();
    to[first + threadIdx.x] = numbers[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(256) reverse(const float* from, float* to) { reversed<true>(from, to); }
extern "C" __global__ void __launch_bounds__(256) reverse_without_barrier(const float* from, float* to) {
    reversed<false>(from, to);
}

// Threads that ended do not hold up a barrier.
extern "C" __global__ void ended_early(float* to) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    __syncwarp();
    to[threadIdx.x] = 1.0f;
}

extern "C" __global__ void lane_missing(float* to) {
    if (threadIdx.x != 3) to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    __syncthreads();
}

extern "C" __global__ void warp_functions(float* to) {
    const int lane = threadIdx.x & 31;
    float sum = float(lane);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    const float first = __shfl_sync(0xffffffffu, float(lane) + 100.0f, 7);
    const float below = __shfl_down_sync(0xffffffffu, float(lane), 4);
    const unsigned odd = __ballot_sync(0xffffffffu, lane & 1);
    const int any = __any_sync(0xffffffffu, lane == 9);
    float* mine = to + threadIdx.x * 5;
    mine[0] = sum;
    mine[1] = first;
    mine[2] = below;
    mine[3] = odd == 0xaaaaaaaau ? 1.0f : 0.0f;
    mine[4] = float(any);
}

// One warp: c = a * b by ldmatrix and mma, a 16 by 16 in rows; b 16 by 8 in
// rows (loaded transposed) or, as "columns", 8 by 16.
template <typename Number, bool columns>
__device__ void multiply_tile(const Number* a, const Number* b, float* c) {
    __shared__ __align__(16) Number left[16 * 16];
    __shared__ __align__(16) Number right[16 * 8];
    const int lane = threadIdx.x;
    for (int at = lane; at < 256; at += 32) left[at] = a[at];
    for (int at = lane; at < 128; at += 32) right[at] = b[at];
    __syncthreads();
    uint32_t left_fragment[4], right_fragment[2];
    ldmatrix_x4(left_fragment, &left[(lane % 16) * 16 + lane / 16 * 8]);
    if (columns)
        ldmatrix_x2(right_fragment, &right[(lane % 8) * 16 + lane / 8 % 2 * 8]);
    else
        ldmatrix_x2_transposed(right_fragment, &right[(lane % 16) * 8]);
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    mma_m16n8k16(sum, left_fragment, right_fragment, Number());
    for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}
#define MULTIPLY(name, Number, columns)                                                          \
    extern "C" __global__ void name(const Number* a, const Number* b, float* c) {                \
        multiply_tile<Number, columns>(a, b, c);                                                 \
    }
MULTIPLY(multiply_half, half, false)
MULTIPLY(multiply_bfloat16, __nv_bfloat16, false)
MULTIPLY(multiply_half_columns, half, true)
MULTIPLY(multiply_bfloat16_columns, __nv_bfloat16, true)

// The fragments themselves, without ldmatrix: every register of every lane.
extern "C" __global__ void multiply_registers(const half* a, const half* b, float* c) {
    const int group = threadIdx.x / 4, member = threadIdx.x % 4;
    uint32_t left[4], right[2];
    for (int i = 0; i < 4; ++i)
        left[i] = *reinterpret_cast<const uint32_t*>(&a[(group + i % 2 * 8) * 16 + member * 2 + i / 2 * 8]);
    for (int i = 0; i < 2; ++i) {
        const half2 pair = __halves2half2(b[(member * 2 + i * 8) * 8 + group], b[(member * 2 + 1 + i * 8) * 8 + group]);
        right[i] = *reinterpret_cast<const uint32_t*>(&pair);
    }
    float sum[4] = {};
    mma_m16n8k16(sum, left, right, half());
    for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = sum[i];
}

extern "C" __global__ void misaligned_rows(float* to) {
    DYNAMIC_SHARED(half, rows);
    uint32_t fragment[4];
    ldmatrix_x4(fragment, rows + threadIdx.x * 12);
    to[threadIdx.x] = float(fragment[0]);
}

// Copies through shared memory by cp.async; "waits" says how the last wait is.
template <int waits>
__device__ void copied(const float4* from, float4* to, int count) {
    DYNAMIC_SHARED(float4, staged);
    const int at = threadIdx.x;
    copy_async_16(&staged[at], &from[at], at < count);
    copy_async_commit();
    if (waits >= 0) copy_async_wait<(waits >= 0 ? waits : 0)>();
    __syncthreads();
    to[at] = staged[blockDim.x - 1 - at];
}
extern "C" __global__ void copy_waited(const float4* from, float4* to, int count) { copied<0>(from, to, count); }
extern "C" __global__ void copy_waited_too_little(const float4* from, float4* to, int count) { copied<1>(from, to, count); }
extern "C" __global__ void copy_not_waited(const float4* from, float4* to, int count) { copied<-1>(from, to, count); }

extern "C" __global__ void behind_shared(float* to) {
    DYNAMIC_SHARED(float, numbers);
    numbers[threadIdx.x + 1] = 1.0f;
    to[threadIdx.x] = numbers[threadIdx.x];
}

extern "C" __global__ void misaligned_load(const float* from, float* to) {
    const float4 four = *reinterpret_cast<const float4*>(from + 1);
    to[0] = four.x;
}

extern "C" __global__ void behind_array(float* to, int index) {
    __shared__ float numbers[8];
    numbers[index] = 1.0f;
    to[0] = numbers[0];
}

extern "C" __global__ void behind_allocation(float* to, int count) { to[count] = 1.0f; }

extern "C" __global__ void warp_barrier_only(float* to) {
    __shared__ float numbers[64];
    numbers[threadIdx.x] = 1.0f;
    __syncwarp();
    to[threadIdx.x] = numbers[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void added_atomically(float* to) {
    __shared__ float sum;
    if (threadIdx.x == 0) sum = 0.0f;
    __syncthreads();
    atomicAdd(&sum, 1.0f);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(to, sum);
}
