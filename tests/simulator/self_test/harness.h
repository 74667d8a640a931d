// How the simulator tests itself: each case in a process of its own, since the
// environment is read once and what is wrong ends the process.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "../driver/types.h"

using Environment = std::vector<std::pair<const char*, const char*>>;

inline int failures = 0;

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            std::_Exit(1);                                                          \
        }                                                                           \
    } while (false)
#define GOOD(call) CHECK((call) == CUDA_SUCCESS)

// Runs the body in a child. "Broken" is what a child that aborts must say;
// without it the child must end well.
inline void test_case(const char* name, const Environment& environment, const std::function<void()>& body,
                      const char* broken = nullptr) {
    std::fflush(nullptr);
    const std::string said = "/tmp/simulator-self-test-" + std::to_string(getpid());
    const pid_t child = fork();
    if (child == 0) {
        for (const auto& [variable, value] : environment) setenv(variable, value, 1);
        if (std::freopen(said.c_str(), "w", stderr) == nullptr) std::_Exit(2);
        std::setvbuf(stderr, nullptr, _IONBF, 0);
        body();
        std::fflush(nullptr);
        std::_Exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    std::ifstream file(said);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    unlink(said.c_str());
    const bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    const bool good = broken == nullptr ? ended : aborted && text.find(broken) != std::string::npos;
    std::printf("%-4s %s\n", good ? "ok" : "FAIL", name);
    if (!good) {
        ++failures;
        std::printf("%s(status %d)\n", text.c_str(), status);
    }
}

extern "C" {
CUresult cuInit(unsigned);
CUresult cuDevicePrimaryCtxRetain(CUcontext*, CUdevice);
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxSynchronize();
CUresult cuStreamCreate(CUstream*, unsigned);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamQuery(CUstream);
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned);
CUresult cuEventCreate(CUevent*, unsigned);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventQuery(CUevent);
CUresult cuEventSynchronize(CUevent);
CUresult cuEventElapsedTime_v2(float*, CUevent, CUevent);
CUresult cuMemAlloc_v2(CUdeviceptr*, size_t);
CUresult cuMemAllocAsync(CUdeviceptr*, size_t, CUstream);
CUresult cuMemAllocFromPoolAsync(CUdeviceptr*, size_t, CUmemoryPool, CUstream);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemFreeAsync(CUdeviceptr, CUstream);
CUresult cuMemGetInfo_v2(size_t*, size_t*);
CUresult cuMemHostAlloc(void**, size_t, unsigned);
CUresult cuMemFreeHost(void*);
CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void*, size_t);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void*, size_t, CUstream);
CUresult cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
CUresult cuMemcpyDtoHAsync_v2(void*, CUdeviceptr, size_t, CUstream);
CUresult cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, CUstream);
CUresult cuMemPoolCreate(CUmemoryPool*, const CUmemPoolProps*);
CUresult cuMemPoolGetAttribute(CUmemoryPool, int, void*);
CUresult cuMemPoolSetAttribute(CUmemoryPool, int, void*);
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t);
CUresult cuDeviceSetMemPool(CUdevice, CUmemoryPool);
CUresult cuModuleLoadData(CUmodule*, const void*);
CUresult cuModuleGetFunction(CUfunction*, CUmodule, const char*);
CUresult cuFuncSetAttribute(CUfunction, int, int);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                        void**, void**);
}

inline void start() {
    CUcontext context;
    GOOD(cuInit(0));
    GOOD(cuDevicePrimaryCtxRetain(&context, 0));
    GOOD(cuCtxSetCurrent(context));
}

inline CUfunction function(const char* name) {
    CUmodule module;
    CUfunction result;
    GOOD(cuModuleLoadData(&module, "\x7f"));
    GOOD(cuModuleGetFunction(&result, module, name));
    return result;
}

template <typename... Arguments>
CUresult launch(CUfunction function, unsigned blocks, unsigned threads, unsigned shared, CUstream stream,
                Arguments... arguments) {
    void* parameters[] = {static_cast<void*>(&arguments)..., nullptr};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, parameters, nullptr);
}

template <typename T>
CUdeviceptr on_device(const std::vector<T>& values) {
    CUdeviceptr address;
    GOOD(cuMemAlloc_v2(&address, values.size() * sizeof(T)));
    GOOD(cuMemcpyHtoD_v2(address, values.data(), values.size() * sizeof(T)));
    // From ordinary memory it may arrive later than it returns.
    GOOD(cuStreamSynchronize(nullptr));
    return address;
}

template <typename T>
std::vector<T> on_host(CUdeviceptr address, size_t count) {
    std::vector<T> values(count);
    GOOD(cuMemcpyDtoH_v2(values.data(), address, count * sizeof(T)));
    return values;
}

inline CUstream new_stream() {
    CUstream stream;
    GOOD(cuStreamCreate(&stream, 1));
    return stream;
}

void test_kernels();
void test_streams();
void test_memory();
void test_libraries();
