// Caps and accounts of the device's memory.
#include "harness.h"

namespace {

constexpr size_t mebibyte = size_t(1) << 20;

CUmemoryPool pool_of_at_most(size_t most) {
    CUmemPoolProps properties = {};
    properties.allocType = 1;
    properties.location = {1, 0};
    properties.maxSize = most;
    CUmemoryPool pool;
    GOOD(cuMemPoolCreate(&pool, &properties));
    return pool;
}

size_t attribute(CUmemoryPool pool, int which) {
    unsigned long long value;
    GOOD(cuMemPoolGetAttribute(pool, which, &value));
    return value;
}

void set(CUmemoryPool pool, int which, unsigned long long value) { GOOD(cuMemPoolSetAttribute(pool, which, &value)); }

size_t free_bytes() {
    size_t free, total;
    GOOD(cuMemGetInfo_v2(&free, &total));
    return free;
}

}  // namespace

void test_memory() {
    test_case("a pool with a most refuses, and gives again", {}, [] {
        start();
        const CUstream stream = new_stream();
        const CUmemoryPool pool = pool_of_at_most(8 * mebibyte);
        GOOD(cuDeviceSetMemPool(0, pool));
        CUdeviceptr first, second, third;
        GOOD(cuMemAllocAsync(&first, 5 * mebibyte, stream));
        CHECK(cuMemAllocAsync(&second, 4 * mebibyte, stream) == CUDA_ERROR_OUT_OF_MEMORY);
        GOOD(cuMemAllocAsync(&second, 3 * mebibyte, stream));
        CHECK(cuMemAllocAsync(&third, 1, stream) == CUDA_ERROR_OUT_OF_MEMORY);
        CHECK(attribute(pool, 7) == 8 * mebibyte && attribute(pool, 5) == 8 * mebibyte);
        GOOD(cuMemFreeAsync(first, stream));
        // Another stream may have it, and waits for the free.
        GOOD(cuMemAllocAsync(&third, 5 * mebibyte, new_stream()));
        GOOD(cuCtxSynchronize());
    });
    test_case("high marks, threshold and trim of a pool", {}, [] {
        start();
        const CUstream stream = new_stream();
        const CUmemoryPool pool = pool_of_at_most(0);
        CUdeviceptr memory;
        GOOD(cuMemAllocFromPoolAsync(&memory, 6 * mebibyte, pool, stream));
        GOOD(cuMemFreeAsync(memory, stream));
        CHECK(attribute(pool, 7) == 0 && attribute(pool, 8) == 6 * mebibyte);
        GOOD(cuMemPoolTrimTo(pool, 0));
        // The free has not come to pass.
        CHECK(attribute(pool, 5) == 6 * mebibyte);
        set(pool, 4, ~0ull);
        GOOD(cuStreamSynchronize(stream));
        CHECK(attribute(pool, 5) == 6 * mebibyte);
        GOOD(cuMemPoolTrimTo(pool, 2 * mebibyte));
        CHECK(attribute(pool, 5) == 2 * mebibyte && attribute(pool, 6) == 6 * mebibyte);
        set(pool, 6, 0);
        set(pool, 8, 0);
        CHECK(attribute(pool, 6) == 2 * mebibyte && attribute(pool, 8) == 0);
        set(pool, 4, 0);
        GOOD(cuStreamSynchronize(stream));
        CHECK(attribute(pool, 5) == 0);
    });
    test_case("the device's size, less its context", {{"SIMULATED_CUDA_MEMORY", "134217728"}}, [] {
        start();
        CHECK(free_bytes() == 64 * mebibyte);
        CUdeviceptr memory, more;
        GOOD(cuMemAlloc_v2(&memory, 60 * mebibyte));
        CHECK(free_bytes() == 4 * mebibyte);
        CHECK(cuMemAlloc_v2(&more, 5 * mebibyte) == CUDA_ERROR_OUT_OF_MEMORY);
        CHECK(cuMemAllocAsync(&more, 5 * mebibyte, nullptr) == CUDA_ERROR_OUT_OF_MEMORY);
        GOOD(cuMemFree_v2(memory));
        GOOD(cuMemAllocAsync(&more, 5 * mebibyte, nullptr));
        CHECK(free_bytes() == 58 * mebibyte);
    });
    test_case("memory of another process is taken",
              {{"SIMULATED_CUDA_MEMORY", "134217728"}, {"SIMULATED_NVML_OTHER_PROCESS", "4711:33554432"}}, [] {
                  start();
                  CHECK(free_bytes() == 32 * mebibyte);
              });
    test_case("the second allocation fails", {{"SIMULATED_CUDA_FAIL_ALLOC", "2"}}, [] {
        start();
        CUdeviceptr memory;
        GOOD(cuMemAlloc_v2(&memory, 16));
        CHECK(cuMemAllocAsync(&memory, 16, nullptr) == CUDA_ERROR_OUT_OF_MEMORY);
        GOOD(cuMemAlloc_v2(&memory, 16));
    });
    test_case("no device", {{"SIMULATED_CUDA_DEVICES", "0"}}, [] { CHECK(cuInit(0) == CUDA_ERROR_NO_DEVICE); });
    test_case("copies beyond an allocation are refused", {}, [] {
        start();
        CUdeviceptr memory;
        const char bytes[17] = {};
        GOOD(cuMemAlloc_v2(&memory, 16));
        CHECK(cuMemcpyHtoD_v2(memory, bytes, 17) == CUDA_ERROR_INVALID_VALUE);
        CHECK(cuMemcpyHtoD_v2(memory + 8, bytes, 9) == CUDA_ERROR_INVALID_VALUE);
        GOOD(cuMemFree_v2(memory));
        CHECK(cuMemcpyHtoD_v2(memory, bytes, 16) == CUDA_ERROR_INVALID_VALUE);
        CHECK(cuMemFree_v2(memory) == CUDA_ERROR_INVALID_VALUE);
    });
    test_case("pinned memory written behind its end", {}, [] {
        start();
        void* memory;
        GOOD(cuMemHostAlloc(&memory, 64, 0));
        static_cast<char*>(memory)[64] = 1;
        GOOD(cuMemFreeHost(memory));
    }, "pinned memory of 64 bytes was written 0 bytes behind its end");
    test_case("the context's end gives everything back", {{"SIMULATED_CUDA_MEMORY", "134217728"}}, [] {
        start();
        CUdeviceptr memory;
        GOOD(cuMemAlloc_v2(&memory, 60 * mebibyte));
        GOOD(cuDevicePrimaryCtxRelease_v2(0));
        start();
        CHECK(free_bytes() == 64 * mebibyte);
    });
}
