// Stands in for libcublas: matrix products of float, half and bfloat16 numbers,
// summed in float, queued on the handle's stream.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../device/numbers.h"
#include "../driver/queueing.h"

#define BLAS_API extern "C" __attribute__((visibility("default"))) int

namespace {

enum Status { success = 0, not_initialized = 1, invalid_value = 7, not_supported = 15 };
enum Type { float32 = 0, float16 = 2, bfloat16 = 14 };
// The only kinds of computation whose alpha and beta are halves.
enum Compute { compute_half = 64, compute_half_pedantic = 65 };

struct Handle {
    CUstream stream = nullptr;
    int pointer_mode = 0;
    int math_mode = 0;
};

struct Matrix {
    const void* data;
    int type;
    long leading;
    long long stride;
    bool transposed;
};

struct Product {
    long m, n, k, batch;
    float alpha, beta;
    Matrix a, b, c;
};

size_t bytes_of(int type) { return type == float32 ? 4 : 2; }

float element(const Matrix& matrix, size_t at) {
    switch (matrix.type) {
        case float32: return static_cast<const float*>(matrix.data)[at];
        case float16: return simulated::half_to_float(static_cast<const uint16_t*>(matrix.data)[at]);
        default: return simulated::bfloat16_to_float(static_cast<const uint16_t*>(matrix.data)[at]);
    }
}

void store(const Matrix& matrix, size_t at, float value) {
    auto* data = const_cast<void*>(matrix.data);
    switch (matrix.type) {
        case float32: static_cast<float*>(data)[at] = value; break;
        case float16: static_cast<uint16_t*>(data)[at] = simulated::float_to_half(value); break;
        default: static_cast<uint16_t*>(data)[at] = simulated::float_to_bfloat16(value);
    }
}

// The matrix as floats, the rows of each column one after another, or, across,
// the columns of each row.
std::vector<float> unpacked(const Matrix& matrix, long batch, long rows, long columns, bool across) {
    std::vector<float> result(size_t(rows) * size_t(columns));
    const size_t start = size_t(batch * matrix.stride);
    for (long column = 0; column < columns; ++column)
        for (long row = 0; row < rows; ++row) {
            const long from = matrix.transposed ? column + row * matrix.leading : row + column * matrix.leading;
            const long to = across ? column + row * columns : row + column * rows;
            result[size_t(to)] = element(matrix, start + size_t(from));
        }
    return result;
}

// Sums of a strip of rows for a few columns, each in the order of `inner`, in registers as wide as the processor has them.
constexpr long STRIP = 32, COLUMNS = 6;
typedef float Lanes __attribute__((vector_size(64)));
__attribute__((target_clones("avx512f", "avx2", "default"))) void add_up(const float* a, long stride, const float* const* b,
                                                                         long inners, float (*sums)[STRIP]) {
    Lanes low[COLUMNS] = {}, high[COLUMNS] = {};
    for (long inner = 0; inner < inners; ++inner) {
        Lanes first, second;
        std::memcpy(&first, a + inner * stride, sizeof first);
        std::memcpy(&second, a + inner * stride + STRIP / 2, sizeof second);
#pragma GCC unroll 6
        for (long column = 0; column < COLUMNS; ++column) {
            low[column] += first * b[column][inner];
            high[column] += second * b[column][inner];
        }
    }
    for (long column = 0; column < COLUMNS; ++column) {
        std::memcpy(sums[column], &low[column], sizeof(Lanes));
        std::memcpy(sums[column] + STRIP / 2, &high[column], sizeof(Lanes));
    }
}

// The columns from `first` to `end` of one product of a batch.
void multiply_columns(const Product& product, long batch, const std::vector<float>& a, long stride,
                      const std::vector<float>& b, long first, long end) {
    for (long begin = first; begin < end; begin += COLUMNS) {
        const float* from[COLUMNS];
        // Of the last columns some may be worked out twice, and are kept once.
        for (long column = 0; column < COLUMNS; ++column)
            from[column] = &b[size_t(std::min(begin + column, end - 1) * product.k)];
        for (long strip = 0; strip < product.m; strip += STRIP) {
            float sums[COLUMNS][STRIP] = {};
            if (product.k > 0) add_up(&a[size_t(strip)], stride, from, product.k, sums);
            for (long column = begin; column < std::min(begin + COLUMNS, end); ++column)
                for (long row = strip; row < std::min(strip + STRIP, product.m); ++row) {
                    const size_t at = size_t(batch * product.c.stride + row + column * product.c.leading);
                    float value = product.alpha * sums[column - begin][row - strip];
                    // With a beta of zero the result is not read: it may be poison.
                    if (product.beta != 0.0f) value += product.beta * element(product.c, at);
                    store(product.c, at, value);
                }
        }
    }
}

void multiply(void* data) {
    const auto& product = *static_cast<const Product*>(data);
    // Rows are filled up to whole strips.
    const long stride = (product.m + STRIP - 1) / STRIP * STRIP;
    // A thread is worth it from some milliseconds of work on.
    const bool large = double(product.m) * double(product.n) * double(product.k) > 1e7;
    const long threads = large ? std::max(1u, std::thread::hardware_concurrency()) : 1;
    for (long batch = 0; batch < product.batch; ++batch) {
        const auto plain = unpacked(product.a, batch, product.m, product.k, false);
        std::vector<float> a(size_t(stride * std::max(product.k, 1l)));
        for (long inner = 0; inner < product.k; ++inner)
            std::copy_n(&plain[size_t(inner * product.m)], product.m, &a[size_t(inner * stride)]);
        const auto b = unpacked(product.b, batch, product.k, product.n, false);
        std::vector<std::thread> others;
        const auto share = [&](long number) { return product.n * number / threads; };
        for (long number = 1; number < threads; ++number)
            others.emplace_back(multiply_columns, std::cref(product), batch, std::cref(a), stride, std::cref(b), share(number),
                                share(number + 1));
        multiply_columns(product, batch, a, stride, b, 0, share(1));
        for (auto& other : others) other.join();
    }
}

void drop(void* data) { delete static_cast<Product*>(data); }

float scalar(const void* address, bool half) {
    return half ? simulated::half_to_float(*static_cast<const uint16_t*>(address)) : *static_cast<const float*>(address);
}

void check_inside(const char* which, const Matrix& matrix, long rows, long columns, long batch) {
    if (matrix.transposed) std::swap(rows, columns);
    const size_t last = size_t((batch - 1) * matrix.stride + (columns - 1) * matrix.leading + rows);
    if (simulated_is_device_memory(matrix.data, last * bytes_of(matrix.type))) return;
    std::fprintf(stderr, "simulator: matrix %s of a cublas product is not inside of an allocation\n", which);
    std::abort();
}

int gemm(Handle* handle, int transpose_a, int transpose_b, long m, long n, long k, const void* alpha, const void* a,
         int type_a, long lda, long long stride_a, const void* b, int type_b, long ldb, long long stride_b,
         const void* beta, void* c, int type_c, long ldc, long long stride_c, long batch, bool half_scalars) {
    if (handle == nullptr) return not_initialized;
    if (m < 0 || n < 0 || k < 0 || batch < 0) return invalid_value;
    for (const int type : {type_a, type_b, type_c})
        if (type != float32 && type != float16 && type != bfloat16) return not_supported;
    if (handle->pointer_mode != 0) return not_supported;
    if (lda < std::max(1l, transpose_a ? k : m) || ldb < std::max(1l, transpose_b ? n : k) || ldc < std::max(1l, m))
        return invalid_value;
    if (m == 0 || n == 0 || batch == 0) return success;
    auto product = std::make_unique<Product>();
    *product = {m, n, k, batch, scalar(alpha, half_scalars), scalar(beta, half_scalars),
                {a, type_a, lda, stride_a, transpose_a != 0},
                {b, type_b, ldb, stride_b, transpose_b != 0},
                {c, type_c, ldc, stride_c, false}};
    if (k > 0) {
        check_inside("A", product->a, m, k, batch);
        check_inside("B", product->b, k, n, batch);
    }
    check_inside("C", product->c, m, n, batch);
    const std::string text = "product m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(k) +
                             " batch=" + std::to_string(batch);
    return simulated_queue(handle->stream, text.c_str(), multiply, drop, product.release()) ? success : invalid_value;
}

bool halves(int compute) { return compute == compute_half || compute == compute_half_pedantic; }

}  // namespace

BLAS_API cublasCreate_v2(Handle** handle) {
    *handle = new Handle;
    return success;
}

BLAS_API cublasDestroy_v2(Handle* handle) {
    delete handle;
    return success;
}

BLAS_API cublasGetVersion_v2(Handle*, int* version) {
    *version = 130000;
    return success;
}

BLAS_API cublasSetStream_v2(Handle* handle, CUstream stream) {
    handle->stream = stream;
    return success;
}

BLAS_API cublasGetStream_v2(Handle* handle, CUstream* stream) {
    *stream = handle->stream;
    return success;
}

BLAS_API cublasSetWorkspace_v2(Handle*, void*, size_t) { return success; }

BLAS_API cublasSetMathMode(Handle* handle, int mode) {
    handle->math_mode = mode;
    return success;
}

BLAS_API cublasGetMathMode(Handle* handle, int* mode) {
    *mode = handle->math_mode;
    return success;
}

BLAS_API cublasSetPointerMode_v2(Handle* handle, int mode) {
    handle->pointer_mode = mode;
    return success;
}

BLAS_API cublasGetPointerMode_v2(Handle* handle, int* mode) {
    *mode = handle->pointer_mode;
    return success;
}

BLAS_API cublasGemmEx(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha,
                      const void* a, int type_a, int lda, const void* b, int type_b, int ldb, const void* beta, void* c,
                      int type_c, int ldc, int compute, int) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c,
                ldc, 0, 1, halves(compute));
}

BLAS_API cublasGemmStridedBatchedEx(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                                    const void* alpha, const void* a, int type_a, int lda, long long stride_a,
                                    const void* b, int type_b, int ldb, long long stride_b, const void* beta, void* c,
                                    int type_c, int ldc, long long stride_c, int batch, int compute, int) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, a, type_a, lda, stride_a, b, type_b, ldb, stride_b,
                beta, c, type_c, ldc, stride_c, batch, halves(compute));
}

BLAS_API cublasSgemm_v2(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k, const float* alpha,
                        const float* a, int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, a, float32, lda, 0, b, float32, ldb, 0, beta, c,
                float32, ldc, 0, 1, false);
}

BLAS_API cublasSgemmStridedBatched(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                                   const float* alpha, const float* a, int lda, long long stride_a, const float* b,
                                   int ldb, long long stride_b, const float* beta, float* c, int ldc,
                                   long long stride_c, int batch) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, a, float32, lda, stride_a, b, float32, ldb, stride_b,
                beta, c, float32, ldc, stride_c, batch, false);
}

BLAS_API cublasHgemm(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha,
                     const void* a, int lda, const void* b, int ldb, const void* beta, void* c, int ldc) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, a, float16, lda, 0, b, float16, ldb, 0, beta, c,
                float16, ldc, 0, 1, true);
}

BLAS_API cublasHgemmStridedBatched(Handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                                   const void* alpha, const void* a, int lda, long long stride_a, const void* b,
                                   int ldb, long long stride_b, const void* beta, void* c, int ldc, long long stride_c,
                                   int batch) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, a, float16, lda, stride_a, b, float16, ldb, stride_b,
                beta, c, float16, ldc, stride_c, batch, true);
}
