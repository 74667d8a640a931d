// What kernels compute, and that those which are wrong are caught.
#include <cmath>
#include <random>

#include "../device/numbers.h"
#include "harness.h"

namespace {

std::vector<float> random_numbers(size_t count) {
    std::mt19937 draws(7);
    std::uniform_real_distribution<float> between(-2.0f, 2.0f);
    std::vector<float> result(count);
    for (float& number : result) number = between(draws);
    return result;
}

template <typename Number>
void products(const char* name, bool columns) {
    start();
    const auto numbers = random_numbers(256 + 128);
    std::vector<Number> a, b;
    for (size_t at = 0; at < 256; ++at) a.push_back(Number(numbers[at]));
    for (size_t at = 0; at < 128; ++at) b.push_back(Number(numbers[256 + at]));
    const CUdeviceptr c = on_device(std::vector<float>(128));
    GOOD(launch(function(name), 1, 32, 0, nullptr, on_device(a), on_device(b), c));
    const auto result = on_host<float>(c, 128);
    for (size_t row = 0; row < 16; ++row)
        for (size_t column = 0; column < 8; ++column) {
            double expected = 0;
            for (size_t k = 0; k < 16; ++k)
                expected += double(float(a[row * 16 + k])) * double(float(columns ? b[column * 16 + k] : b[k * 8 + column]));
            CHECK(std::fabs(result[row * 8 + column] - expected) < 1e-5);
        }
}

std::vector<float> counted(size_t count) {
    std::vector<float> result(count);
    for (size_t at = 0; at < count; ++at) result[at] = float(at);
    return result;
}

bool reverses(const char* name) {
    const CUdeviceptr to = on_device(std::vector<float>(1024));
    GOOD(launch(function(name), 4, 256, 0, nullptr, on_device(counted(1024)), to));
    const auto result = on_host<float>(to, 1024);
    for (size_t at = 0; at < 1024; ++at)
        if (result[at] != float(at / 256 * 256 + 255 - at % 256)) return false;
    return true;
}

// Of 64 numbers in groups of 4, the last group is not valid.
std::vector<float> copied(const char* name) {
    const CUdeviceptr to = on_device(std::vector<float>(64));
    GOOD(launch(function(name), 1, 16, 256, nullptr, on_device(counted(60)), to, 15));
    return on_host<float>(to, 64);
}

void alone(const char* name, unsigned threads, unsigned shared = 0) {
    start();
    const CUdeviceptr to = on_device(std::vector<float>(1024));
    GOOD(launch(function(name), 1, threads, shared, nullptr, to));
    GOOD(cuCtxSynchronize());
}

void conversions() {
    using namespace simulated;
    CHECK(float_to_half(1.0f) == 0x3c00 && float_to_half(-2.0f) == 0xc000);
    CHECK(float_to_half(65504.0f) == 0x7bff && float_to_half(65519.996f) == 0x7bff && float_to_half(65520.0f) == 0x7c00);
    CHECK(float_to_half(1.0f + 1.0f / 2048) == 0x3c00 && float_to_half(1.0f + 3.0f / 2048) == 0x3c02);
    CHECK(float_to_half(0x1p-24f) == 1 && float_to_half(0x1p-25f) == 0 && float_to_half(0x1.8p-24f) == 2);
    CHECK(float_to_half(0x1.ff8p-15f) == 0x03ff && float_to_half(0x1.ffcp-15f) == 0x0400);
    CHECK(float_to_bfloat16(1.0f) == 0x3f80 && float_to_bfloat16(float_of(0x3f808000)) == 0x3f80);
    CHECK(float_to_bfloat16(float_of(0x3f818000)) == 0x3f82 && float_to_bfloat16(INFINITY) == 0x7f80);
    CHECK(std::isnan(half_to_float(float_to_half(NAN))) && std::isnan(bfloat16_to_float(float_to_bfloat16(NAN))));
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        const float value = half_to_float(uint16_t(bits));
        CHECK(std::isnan(value) || float_to_half(value) == bits);
        const float other = bfloat16_to_float(uint16_t(bits));
        CHECK(std::isnan(other) || float_to_bfloat16(other) == bits);
        // Halfway to the next half goes to the even one.
        if ((bits & 0x7fff) < 0x7bff) {
            const float halfway = (value + half_to_float(uint16_t(bits + 1))) / 2;
            CHECK(float_to_half(halfway) == (bits % 2 == 0 ? bits : bits + 1));
        }
    }
}

}  // namespace

void test_kernels() {
    // Built with CHECKED=1, the accesses themselves are caught.
    const bool checked = std::getenv("CHECKED") != nullptr;
    test_case("half and bfloat16 round to nearest even", {}, conversions);
    test_case("a grid with a last block that is not full", {}, [] {
        start();
        const CUdeviceptr to = on_device(std::vector<float>(1000));
        GOOD(launch(function("scale"), 4, 256, 0, nullptr, on_device(counted(1000)), to, 2.0f, 1000));
        const auto result = on_host<float>(to, 1000);
        for (size_t at = 0; at < 1000; ++at) CHECK(result[at] == 2.0f * float(at));
    });
    test_case("shuffles and votes", {}, [] {
        start();
        const CUdeviceptr to = on_device(std::vector<float>(64 * 5));
        GOOD(launch(function("warp_functions"), 1, 64, 0, nullptr, to));
        const auto result = on_host<float>(to, 64 * 5);
        for (size_t at = 0; at < 64; ++at) {
            const size_t lane = at % 32;
            CHECK(result[at * 5] == 496.0f && result[at * 5 + 1] == 107.0f);
            CHECK(result[at * 5 + 2] == float(lane + 4 < 32 ? lane + 4 : lane));
            CHECK(result[at * 5 + 3] == 1.0f && result[at * 5 + 4] == 1.0f);
        }
    });
    test_case("mma of registers", {}, [] { products<__half>("multiply_registers", false); });
    test_case("ldmatrix and mma, half", {}, [] { products<__half>("multiply_half", false); });
    test_case("ldmatrix and mma, bfloat16", {}, [] { products<__nv_bfloat16>("multiply_bfloat16", false); });
    test_case("ldmatrix of columns, half", {}, [] { products<__half>("multiply_half_columns", true); });
    test_case("ldmatrix of columns, bfloat16", {}, [] { products<__nv_bfloat16>("multiply_bfloat16_columns", true); });
    for (const char* seed : {"1", "2", "3", "4", "5"}) {
        test_case("a barrier orders shared memory", {{"SIMULATED_CUDA_SEED", seed}}, [] {
            start();
            CHECK(reverses("reverse"));
        });
        test_case("a missing barrier shows", {{"SIMULATED_CUDA_SEED", seed}}, [] {
            start();
            CHECK(!reverses("reverse_without_barrier"));
        }, checked ? "race: thread" : nullptr);
    }
    test_case("threads that ended do not hold up a barrier", {}, [] { alone("ended_early", 128); });
    test_case("a warp barrier that lanes never reach", {}, [] {
        start();
        const CUdeviceptr to = on_device(std::vector<float>(64));
        GOOD(launch(function("lane_missing"), 1, 32, 0, nullptr, to));
        GOOD(cuCtxSynchronize());
    }, "kernel lane_missing, block (0,0,0): thread 0 waits in __shfl_xor_sync");
    test_case("cp.async with its wait", {}, [] {
        start();
        const auto result = copied("copy_waited");
        for (size_t at = 0; at < 64; ++at) {
            const size_t source = (15 - at / 4) * 4 + at % 4;
            CHECK(result[at] == (source < 60 ? float(source) : 0.0f));
        }
    });
    for (const char* name : {"copy_waited_too_little", "copy_not_waited"})
        test_case(name, {}, [name] {
            start();
            for (const float number : copied(name)) CHECK(std::isnan(number));
        });
    test_case("ldmatrix of misaligned rows", {}, [] { alone("misaligned_rows", 32, 1024); }, "not aligned to 16 bytes");
    test_case("a write behind dynamic shared memory", {}, [] { alone("behind_shared", 32, 128); },
              checked ? "race: thread" : "kernel behind_shared, block (0,0,0): writes behind its 128 bytes");
    test_case("a race between warps that sync alone", {}, [] { alone("warp_barrier_only", 64); },
              checked ? "race: thread" : nullptr);
    test_case("a warp barrier orders a warp", {}, [] { alone("warp_barrier_only", 32); });
    test_case("atomic additions", {}, [] {
        start();
        const CUdeviceptr to = on_device(std::vector<float>(1));
        GOOD(launch(function("added_atomically"), 3, 64, 0, nullptr, to));
        CHECK(on_host<float>(to, 1)[0] == 192.0f);
    });
    test_case("a misaligned load", {}, [] {
        start();
        const CUdeviceptr numbers = on_device(std::vector<float>(16));
        GOOD(launch(function("misaligned_load"), 1, 1, 0, nullptr, numbers, numbers));
        GOOD(cuCtxSynchronize());
    }, "misaligned access");
    test_case("an index behind a shared array", {}, [] {
        start();
        GOOD(launch(function("behind_array"), 1, 1, 0, nullptr, on_device(std::vector<float>(16)), 8));
        GOOD(cuCtxSynchronize());
    }, "index 8 is outside of the array");
    test_case("a write behind an allocation", {}, [] {
        start();
        GOOD(launch(function("behind_allocation"), 1, 1, 0, nullptr, on_device(std::vector<float>(16)), 16));
        GOOD(cuCtxSynchronize());
    }, checked ? "writes 4 bytes at" : "of 64 bytes was written 0 bytes behind its end");
    test_case("a free that is queued leaves a kernel before it its memory", {}, [] {
        start();
        const CUstream stream = new_stream();
        CUdeviceptr from;
        const std::vector<float> numbers = counted(64);
        GOOD(cuMemAllocAsync(&from, 256, stream));
        GOOD(cuMemcpyHtoDAsync_v2(from, numbers.data(), 256, stream));
        const CUdeviceptr to = on_device(std::vector<float>(64));
        GOOD(launch(function("copy_waited"), 1, 16, 256, stream, from, to, 16));
        GOOD(cuMemFreeAsync(from, stream));
        GOOD(cuStreamSynchronize(stream));
        CHECK(on_host<float>(to, 64)[0] == 60.0f);
    });
    test_case("launches that CUDA refuses", {}, [] {
        start();
        const CUdeviceptr to = on_device(std::vector<float>(16));
        const CUfunction copy = function("behind_shared");
        CHECK(launch(copy, 1, 2048, 0, nullptr, to) == CUDA_ERROR_INVALID_VALUE);
        CHECK(launch(copy, 0, 32, 0, nullptr, to) == CUDA_ERROR_INVALID_VALUE);
        CHECK(launch(copy, 1, 1, 49 * 1024, nullptr, to) == CUDA_ERROR_INVALID_VALUE);
        CHECK(cuFuncSetAttribute(copy, 8, 228 * 1024) == CUDA_ERROR_INVALID_VALUE);
        GOOD(cuFuncSetAttribute(copy, 8, 227 * 1024));
        GOOD(launch(copy, 1, 1, 227 * 1024, nullptr, to));
    });
}
