// The kernels under the names that the host calls them by: each for fp32, fp16 and bf16.

#include "attention.cuh"
#include "rows.cuh"

#define KERNEL extern "C" __global__ void

#define KERNELS_OF_ROWS(T, NAME) \
    KERNEL embed_##NAME( \
        const uint32_t* ids, const uint32_t* types, const uint32_t* positions, const T* word_table, \
        const T* type_table, const T* position_table, int first_position, T* output, int rows, int columns) { \
        embed<T>(ids, types, positions, word_table, type_table, position_table, first_position, output, rows, columns); \
    } \
    KERNEL layer_norm_##NAME( \
        const T* input, const T* bias, const T* residual, const float* weight, const float* shift, float epsilon, \
        T* output, int rows, int columns) { \
        layer_norm<T>(input, bias, residual, weight, shift, epsilon, output, rows, columns); \
    } \
    KERNEL bias_activation_##NAME(T* numbers, const T* bias, int activation, int rows, int columns) { \
        bias_activation<T>(numbers, bias, activation, rows, columns); \
    } \
    KERNEL gate_##NAME(const T* input, int activation, T* output, int rows, int columns) { \
        gate<T>(input, activation, output, rows, columns); \
    } \
    KERNEL sum_##NAME(const T* left, const T* right, T* output, int rows, int columns) { \
        sum<T>(left, right, output, rows, columns); \
    } \
    KERNEL widen_##NAME(const T* input, float* output, int rows, int columns) { \
        widen<T>(input, output, rows, columns); \
    } \
    KERNEL rotate_##NAME( \
        T* qkv, const uint32_t* positions, const float* turns, int rows, int heads, int size) { \
        rotate<T>(qkv, positions, turns, rows, heads, size); \
    } \
    KERNEL pool_##NAME( \
        const T* input, const uint32_t* starts, const uint32_t* lengths, int most, int last, float* output, \
        int columns) { \
        pool<T>(input, starts, lengths, most, last, output, columns); \
    } \
    KERNEL widen_weights_##NAME(const int8_t* numbers, const half* scales, T* output, size_t count) { \
        widen_weights<T>(numbers, scales, output, count); \
    }

#define KERNEL_OF_ATTENTION(FUNCTION, THREADS, T, NAME, DEPTH) \
    KERNEL __launch_bounds__(THREADS) FUNCTION##_##NAME##_##DEPTH( \
        const T* qkv, const T* bias, T* context, const uint32_t* starts, const uint32_t* lengths, int heads, int size, \
        float scale, int window, const float* distances, int positions) { \
        FUNCTION<T, DEPTH>(qkv, bias, context, \
            Attention{starts, lengths, heads, size, scale, window, distances, positions}); \
    }

#define KERNELS_OF_ATTENTION(FUNCTION, THREADS, T, NAME) \
    KERNEL_OF_ATTENTION(FUNCTION, THREADS, T, NAME, 32) \
    KERNEL_OF_ATTENTION(FUNCTION, THREADS, T, NAME, 64) \
    KERNEL_OF_ATTENTION(FUNCTION, THREADS, T, NAME, 128)

// Heads of 128 numbers would need more shared memory than most cards have; these networks have 64.
#define KERNEL_OF_DISENTANGLED(FUNCTION, THREADS, T, NAME, DEPTH) \
    KERNEL __launch_bounds__(THREADS) FUNCTION##_by_distance_##NAME##_##DEPTH( \
        const T* qkv, T* context, const uint32_t* starts, const uint32_t* lengths, int heads, int size, float scale, \
        const T* keys, const T* queries, const uint32_t* row_of, int positions) { \
        FUNCTION<T, DEPTH, true>(qkv, nullptr, context, Attention{starts, lengths, heads, size, scale, -1, nullptr, 0}, \
            Tables<T>{keys, queries, row_of, positions}); \
    }

#define KERNELS_OF_DISENTANGLED(FUNCTION, THREADS, T, NAME) \
    KERNEL_OF_DISENTANGLED(FUNCTION, THREADS, T, NAME, 32) \
    KERNEL_OF_DISENTANGLED(FUNCTION, THREADS, T, NAME, 64)

KERNELS_OF_ROWS(float, f32)
KERNELS_OF_ROWS(half, f16)
KERNELS_OF_ROWS(bfloat, bf16)

KERNELS_OF_ATTENTION(attend, TILE_THREADS, half, f16)
KERNELS_OF_ATTENTION(attend, TILE_THREADS, bfloat, bf16)
KERNELS_OF_ATTENTION(attend_plainly, PLAIN_THREADS, float, f32)
KERNELS_OF_ATTENTION(attend_plainly, PLAIN_THREADS, half, f16)
KERNELS_OF_ATTENTION(attend_plainly, PLAIN_THREADS, bfloat, bf16)

KERNELS_OF_DISENTANGLED(attend, TILE_THREADS, half, f16)
KERNELS_OF_DISENTANGLED(attend, TILE_THREADS, bfloat, bf16)
KERNELS_OF_DISENTANGLED(attend_plainly, PLAIN_THREADS, float, f32)
KERNELS_OF_DISENTANGLED(attend_plainly, PLAIN_THREADS, half, f16)
KERNELS_OF_DISENTANGLED(attend_plainly, PLAIN_THREADS, bfloat, bf16)

KERNEL unit_rows_f32(const float* input, float* output, int rows, int columns) {
    unit_rows(input, output, rows, columns);
}
