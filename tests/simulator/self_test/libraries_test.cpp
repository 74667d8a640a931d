// The stand-ins of cublas and NVML.
#include <cmath>

#include "../device/numbers.h"
#include "harness.h"

extern "C" {
int cublasCreate_v2(void**);
int cublasSetStream_v2(void*, CUstream);
int cublasGemmStridedBatchedEx(void*, int, int, int, int, int, const void*, const void*, int, int, long long,
                               const void*, int, int, long long, const void*, void*, int, int, long long, int, int, int);
int nvmlInit_v2();
int nvmlDeviceGetHandleByIndex_v2(unsigned, void**);
int nvmlDeviceGetPowerUsage(void*, unsigned*);
int nvmlDeviceGetTemperature(void*, int, unsigned*);
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, unsigned long long*);
int nvmlDeviceGetMemoryInfo(void*, void*);
int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned*, void*);
}

namespace {

// c = a * b of every transposition, 2 batches, in row-major terms of candle:
// column-major with the factors exchanged.
template <typename Number>
void products(int type, int compute) {
    start();
    const CUstream stream = new_stream();
    void* handle;
    CHECK(cublasCreate_v2(&handle) == 0);
    CHECK(cublasSetStream_v2(handle, stream) == 0);
    const int m = 5, n = 7, k = 9, batch = 2;
    for (int transposed_a = 0; transposed_a < 2; ++transposed_a)
        for (int transposed_b = 0; transposed_b < 2; ++transposed_b) {
            std::vector<Number> a, b;
            for (int at = 0; at < batch * m * k; ++at) a.push_back(Number(float(at * 7 % 11) - 5.0f));
            for (int at = 0; at < batch * k * n; ++at) b.push_back(Number(float(at * 5 % 13) - 6.0f));
            CUdeviceptr c;
            GOOD(cuMemAllocAsync(&c, batch * m * n * sizeof(Number), stream));
            const Number one(1.0f), zero(0.0f);
            const float one_float = 1.0f, zero_float = 0.0f;
            const void* alpha = compute == 64 ? static_cast<const void*>(&one) : &one_float;
            const void* beta = compute == 64 ? static_cast<const void*>(&zero) : &zero_float;
            CHECK(cublasGemmStridedBatchedEx(handle, transposed_a, transposed_b, m, n, k, alpha,
                                             reinterpret_cast<void*>(on_device(a)), type, transposed_a ? k : m, m * k,
                                             reinterpret_cast<void*>(on_device(b)), type, transposed_b ? n : k, k * n,
                                             beta, reinterpret_cast<void*>(c), type, m, m * n, batch, compute, 99) == 0);
            GOOD(cuStreamSynchronize(stream));
            const auto result = on_host<Number>(c, batch * m * n);
            for (int at = 0; at < batch * m * n; ++at) {
                const int which = at / (m * n), row = at % m, column = at / m % n;
                float sum = 0;
                for (int i = 0; i < k; ++i)
                    sum += float(a[size_t(which * m * k + (transposed_a ? i + row * k : row + i * m))]) *
                           float(b[size_t(which * k * n + (transposed_b ? column + i * n : i + column * k))]);
                CHECK(float(result[size_t(at)]) == float(Number(sum)));
            }
        }
}

void* device() {
    void* result;
    CHECK(nvmlInit_v2() == 0);
    CHECK(nvmlDeviceGetHandleByIndex_v2(0, &result) == 0);
    return result;
}

}  // namespace

void test_libraries() {
    test_case("cublas, float", {}, [] { products<float>(0, 68); });
    test_case("cublas, half", {}, [] { products<__half>(2, 68); });
    test_case("cublas, half with halves for scalars", {}, [] { products<__half>(2, 64); });
    test_case("cublas, bfloat16", {}, [] { products<__nv_bfloat16>(14, 68); });
    test_case("nvml fails where it is asked to",
              {{"SIMULATED_NVML_FAIL", "nvmlDeviceGetPowerUsage:3,nvmlDeviceGetClockInfo:999"}, {"SIMULATED_NVML_THROTTLE", "0x40"}}, [] {
                  unsigned value;
                  unsigned long long reasons;
                  CHECK(nvmlDeviceGetPowerUsage(device(), &value) == 3);
                  CHECK(nvmlDeviceGetTemperature(device(), 0, &value) == 0);
                  CHECK(nvmlDeviceGetCurrentClocksThrottleReasons(device(), &reasons) == 0 && reasons == 0x40);
              });
    test_case("nvml sees the processes and their memory",
              {{"SIMULATED_CUDA_STATE", "simulator-self-test.state"}, {"SIMULATED_NVML_OTHER_PROCESS", "4711:1048576"}}, [] {
                  start();
                  CUdeviceptr memory;
                  GOOD(cuMemAlloc_v2(&memory, size_t(16) << 20));
                  struct {
                      unsigned pid;
                      unsigned long long bytes;
                      unsigned instances[2];
                  } processes[8];
                  unsigned count = 0;
                  CHECK(nvmlDeviceGetComputeRunningProcesses_v3(device(), &count, nullptr) == 7 && count == 2);
                  count = 8;
                  CHECK(nvmlDeviceGetComputeRunningProcesses_v3(device(), &count, processes) == 0 && count == 2);
                  CHECK(processes[0].pid == unsigned(getpid()) && processes[0].bytes == size_t(80) << 20);
                  CHECK(processes[1].pid == 4711 && processes[1].bytes == 1048576);
                  unsigned long long info[3];
                  CHECK(nvmlDeviceGetMemoryInfo(device(), info) == 0 && info[2] == size_t(81) << 20);
                  unlink("simulator-self-test.state");
              });
}
