// The order of streams: what runs when, and what a mistake in it shows.
#include <cmath>

#include "harness.h"

namespace {

constexpr size_t count = 256;
constexpr size_t bytes = count * sizeof(float);

float* pinned() {
    void* address;
    GOOD(cuMemHostAlloc(&address, bytes, 0));
    return static_cast<float*>(address);
}

void fill(float* numbers, float value) { std::fill(numbers, numbers + count, value); }

// One stream writes and another reads; the value that the reader gets.
float passed_on(bool with_event) {
    start();
    const CUstream writer = new_stream(), reader = new_stream();
    CUdeviceptr memory, result;
    CUevent event;
    GOOD(cuMemAlloc_v2(&memory, bytes));
    GOOD(cuMemAlloc_v2(&result, bytes));
    GOOD(cuEventCreate(&event, 2));
    float* from = pinned();
    float* to = pinned();
    fill(from, 3.0f);
    GOOD(cuMemcpyHtoDAsync_v2(memory, from, bytes, writer));
    GOOD(cuEventRecord(event, writer));
    if (with_event) GOOD(cuStreamWaitEvent(reader, event, 0));
    GOOD(launch(function("scale"), 1, count, 0, reader, memory, result, 2.0f, int(count)));
    GOOD(cuMemcpyDtoHAsync_v2(to, result, bytes, reader));
    GOOD(cuStreamSynchronize(reader));
    return to[17];
}

// A blocking copy from ordinary memory, which returns once the source was read,
// and a kernel on a stream that waits for nothing by itself.
float copied_from_ordinary_memory(bool with_wait) {
    start();
    const CUstream reader = new_stream();
    CUdeviceptr memory, result;
    GOOD(cuMemAlloc_v2(&memory, bytes));
    GOOD(cuMemAlloc_v2(&result, bytes));
    const std::vector<float> numbers(count, 3.0f);
    GOOD(cuMemcpyHtoD_v2(memory, numbers.data(), bytes));
    if (with_wait) GOOD(cuStreamSynchronize(nullptr));
    GOOD(launch(function("scale"), 1, count, 0, reader, memory, result, 2.0f, int(count)));
    GOOD(cuStreamSynchronize(reader));
    return on_host<float>(result, count)[17];
}

// A copy from a pinned buffer that is overwritten; with the wait, in time.
float overwritten(bool with_wait) {
    start();
    const CUstream stream = new_stream();
    CUdeviceptr memory;
    CUevent event;
    GOOD(cuMemAlloc_v2(&memory, bytes));
    GOOD(cuEventCreate(&event, 2));
    float* from = pinned();
    fill(from, 1.0f);
    GOOD(cuMemcpyHtoDAsync_v2(memory, from, bytes, stream));
    GOOD(cuEventRecord(event, stream));
    if (with_wait) GOOD(cuEventSynchronize(event));
    fill(from, 2.0f);
    GOOD(cuStreamSynchronize(stream));
    return on_host<float>(memory, count)[0];
}

// Memory that one stream frees while another, which it did not wait for, still
// has to use it.
float used_after_free(bool with_event) {
    start();
    const CUstream owner = new_stream(), user = new_stream();
    CUdeviceptr memory, result;
    CUevent made, used;
    GOOD(cuEventCreate(&made, 2));
    GOOD(cuEventCreate(&used, 2));
    GOOD(cuMemAllocAsync(&memory, bytes, owner));
    GOOD(cuMemAlloc_v2(&result, bytes));
    const std::vector<float> numbers(count, 5.0f);
    GOOD(cuMemcpyHtoDAsync_v2(memory, numbers.data(), bytes, owner));
    GOOD(cuEventRecord(made, owner));
    GOOD(cuStreamWaitEvent(user, made, 0));
    GOOD(launch(function("scale"), 1, count, 0, user, memory, result, 1.0f, int(count)));
    GOOD(cuEventRecord(used, user));
    if (with_event) GOOD(cuStreamWaitEvent(owner, used, 0));
    GOOD(cuMemFreeAsync(memory, owner));
    GOOD(cuStreamSynchronize(owner));
    GOOD(cuStreamSynchronize(user));
    return on_host<float>(result, count)[0];
}

}  // namespace

void test_streams() {
    test_case("two streams with an event", {}, [] { CHECK(passed_on(true) == 6.0f); });
    test_case("two streams without an event show poison", {}, [] { CHECK(std::isnan(passed_on(false))); });
    test_case("a blocking copy from ordinary memory that is waited for", {},
              [] { CHECK(copied_from_ordinary_memory(true) == 6.0f); });
    test_case("a blocking copy from ordinary memory may arrive late", {},
              [] { CHECK(std::isnan(copied_from_ordinary_memory(false))); });
    test_case("eagerly, the missing event does not show", {{"SIMULATED_CUDA_SCHEDULE", "eager"}},
              [] { CHECK(passed_on(false) == 6.0f); });
    for (const char* seed : {"seed:1", "seed:2", "seed:3", "seed:4"})
        test_case("two streams with an event, drawn order", {{"SIMULATED_CUDA_SCHEDULE", seed}},
                  [] { CHECK(passed_on(true) == 6.0f); });
    test_case("a pinned buffer overwritten too early", {}, [] { CHECK(overwritten(false) == 2.0f); });
    test_case("a pinned buffer overwritten in time", {}, [] { CHECK(overwritten(true) == 1.0f); });
    test_case("a pageable buffer may be overwritten at once", {}, [] {
        start();
        const CUstream stream = new_stream();
        CUdeviceptr memory;
        GOOD(cuMemAlloc_v2(&memory, bytes));
        std::vector<float> numbers(count, 1.0f);
        GOOD(cuMemcpyHtoDAsync_v2(memory, numbers.data(), bytes, stream));
        fill(numbers.data(), 2.0f);
        GOOD(cuStreamSynchronize(stream));
        CHECK(on_host<float>(memory, count)[0] == 1.0f);
    });
    test_case("memory used after its free", {}, [] { CHECK(std::isnan(used_after_free(false))); });
    test_case("memory freed after its use", {}, [] { CHECK(used_after_free(true) == 5.0f); });
    test_case("a new allocation of a stream is poison", {}, [] {
        start();
        const CUstream stream = new_stream();
        CUdeviceptr memory;
        std::vector<unsigned> numbers(count);
        GOOD(cuMemAllocAsync(&memory, bytes, stream));
        GOOD(cuMemcpyDtoHAsync_v2(numbers.data(), memory, bytes, stream));
        CHECK(numbers[0] == 0xffffffffu && numbers[count - 1] == 0xffffffffu);
        GOOD(cuMemsetD8Async(memory, 0, bytes, stream));
        GOOD(cuMemFreeAsync(memory, stream));
        CUdeviceptr again;
        GOOD(cuMemAllocAsync(&again, bytes, stream));
        CHECK(again == memory);
        GOOD(cuMemcpyDtoHAsync_v2(numbers.data(), again, bytes, stream));
        CHECK(numbers[0] == 0xffffffffu);
    });
    test_case("the legacy stream waits for blocking streams only", {}, [] {
        start();
        CUstream blocking;
        GOOD(cuStreamCreate(&blocking, 0));
        const CUstream other = new_stream();
        CUdeviceptr first, second;
        GOOD(cuMemAlloc_v2(&first, bytes));
        GOOD(cuMemAlloc_v2(&second, bytes));
        GOOD(cuMemsetD8Async(first, 1, bytes, blocking));
        GOOD(cuMemsetD8Async(second, 1, bytes, other));
        CHECK(on_host<unsigned char>(first, 1)[0] == 1);
        CHECK(on_host<unsigned char>(second, 1)[0] == 0xff);
    });
    test_case("a loop of queries ends, and not at once", {}, [] {
        start();
        const CUstream stream = new_stream();
        CUdeviceptr memory;
        CUevent event;
        GOOD(cuMemAlloc_v2(&memory, bytes));
        GOOD(cuEventCreate(&event, 0));
        CHECK(cuEventQuery(event) == CUDA_SUCCESS);
        for (int i = 0; i < 3; ++i) GOOD(cuMemsetD8Async(memory, 0, bytes, stream));
        GOOD(cuEventRecord(event, stream));
        int queries = 0;
        while (cuEventQuery(event) == CUDA_ERROR_NOT_READY) ++queries;
        CHECK(queries == 3 && cuStreamQuery(stream) == CUDA_SUCCESS);
    });
    test_case("virtual time", {}, [] {
        start();
        const CUstream stream = new_stream();
        CUevent begin, end;
        CUdeviceptr memory;
        float milliseconds;
        GOOD(cuEventCreate(&begin, 0));
        GOOD(cuEventCreate(&end, 0));
        GOOD(cuMemAlloc_v2(&memory, 10000000));
        const std::vector<char> numbers(10000000);
        GOOD(cuEventRecord(begin, stream));
        GOOD(cuMemcpyHtoDAsync_v2(memory, numbers.data(), numbers.size(), stream));
        GOOD(launch(function("scale"), 1, 1, 0, stream, memory, memory, 1.0f, 1));
        GOOD(cuEventRecord(end, stream));
        CHECK(cuEventElapsedTime_v2(&milliseconds, begin, end) == CUDA_ERROR_NOT_READY);
        GOOD(cuEventSynchronize(end));
        GOOD(cuEventElapsedTime_v2(&milliseconds, begin, end));
        CHECK(std::fabs(milliseconds - 1.025f) < 1e-4f);
    });
    test_case("the trace tells the order", {{"SIMULATED_CUDA_TRACE", "simulator-self-test.trace"}}, [] {
        const char* path = "simulator-self-test.trace";
        unlink(path);
        CHECK(passed_on(true) == 6.0f);
        std::ifstream file(path);
        std::vector<std::string> lines;
        for (std::string line; std::getline(file, line);) lines.push_back(line);
        unlink(path);
        const auto at = [&](const char* text) {
            for (size_t line = 0; line < lines.size(); ++line)
                if (lines[line].rfind(text, 0) == 0) return line;
            CHECK(!"a line of the trace is missing");
            return size_t(0);
        };
        CHECK(at("queue stream=1 copy-in bytes=1024 host=pinned") < at("queue stream=2 kernel name=scale"));
        CHECK(at("queue stream=2 kernel name=scale") < at("synchronize stream=2"));
        CHECK(at("synchronize stream=2") < at("run stream=1 copy-in bytes=1024"));
        CHECK(at("run stream=1 copy-in") < at("run stream=1 record event=1"));
        CHECK(at("run stream=1 record event=1") < at("run stream=2 wait event=1"));
        CHECK(at("run stream=2 wait event=1") < at("run stream=2 kernel name=scale"));
        CHECK(at("run stream=2 kernel name=scale") < at("run stream=2 copy-out"));
    });
}
