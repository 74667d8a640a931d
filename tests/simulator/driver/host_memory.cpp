// Pinned memory of the host. What is freed too early is poisoned but kept, so
// that a copy which still reads it shows.
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "contexts.h"
#include "memory.h"
#include "trace.h"

using namespace simulated;

namespace {

constexpr unsigned char poison = 0xff;
constexpr unsigned char guard = 0xa5;
constexpr size_t guard_bytes = 256;

struct Pinned {
    size_t bytes;
    // Whether the driver allocated it; registered memory is the caller's.
    bool own;
};

std::map<uintptr_t, Pinned>& pinned() {
    static auto& instance = *new std::map<uintptr_t, Pinned>;
    return instance;
}
std::vector<void*>& freed() {
    static auto& instance = *new std::vector<void*>;
    return instance;
}

}  // namespace

bool simulated::is_pinned(const void* address, size_t bytes) {
    auto found = pinned().upper_bound(reinterpret_cast<uintptr_t>(address));
    if (found == pinned().begin()) return false;
    --found;
    const size_t offset = reinterpret_cast<uintptr_t>(address) - found->first;
    return offset <= found->second.bytes && bytes <= found->second.bytes - offset;
}

CUDA_API cuMemHostAlloc(void** result, size_t bytes, unsigned) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (nothing_waits()) {
        for (void* old : freed()) std::free(old);
        freed().clear();
    }
    if (posix_memalign(result, 4096, bytes + guard_bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
    std::memset(*result, poison, bytes);
    std::memset(static_cast<char*>(*result) + bytes, guard, guard_bytes);
    pinned()[reinterpret_cast<uintptr_t>(*result)] = {bytes, true};
    trace("now allocate host bytes=" + std::to_string(bytes));
    return CUDA_SUCCESS;
}

CUDA_API cuMemAllocHost_v2(void** result, size_t bytes) { return cuMemHostAlloc(result, bytes, 0); }

CUDA_API cuMemFreeHost(void* address) {
    Call call;
    const auto found = pinned().find(reinterpret_cast<uintptr_t>(address));
    if (found == pinned().end() || !found->second.own) return CUDA_ERROR_INVALID_VALUE;
    const size_t bytes = found->second.bytes;
    const auto* end = static_cast<const unsigned char*>(address) + bytes;
    for (size_t at = 0; at < guard_bytes; ++at)
        if (end[at] != guard)
            broken("pinned memory of " + std::to_string(bytes) + " bytes was written " + std::to_string(at) +
                   " bytes behind its end");
    std::memset(address, poison, bytes);
    freed().push_back(address);
    pinned().erase(found);
    trace("now free host bytes=" + std::to_string(bytes));
    return CUDA_SUCCESS;
}

CUDA_API cuMemHostRegister_v2(void* address, size_t bytes, unsigned) {
    Call call;
    pinned()[reinterpret_cast<uintptr_t>(address)] = {bytes, false};
    return CUDA_SUCCESS;
}

CUDA_API cuMemHostUnregister(void* address) {
    Call call;
    const auto found = pinned().find(reinterpret_cast<uintptr_t>(address));
    if (found == pinned().end() || found->second.own) return CUDA_ERROR_INVALID_VALUE;
    pinned().erase(found);
    return CUDA_SUCCESS;
}

CUDA_API cuMemHostGetDevicePointer_v2(CUdeviceptr* result, void* address, unsigned) {
    Call call;
    if (!is_pinned(address, 1)) return CUDA_ERROR_INVALID_VALUE;
    *result = reinterpret_cast<CUdeviceptr>(address);
    return CUDA_SUCCESS;
}
