// The driver's functions that allocate and free device memory.
#include <algorithm>

#include "contexts.h"
#include "memory.h"
#include "pools.h"
#include "settings.h"
#include "trace.h"

using namespace simulated;

static CUresult allocate_in(CUstream handle, const std::shared_ptr<Pool>& pool, size_t bytes, CUdeviceptr* result) {
    const auto stream = stream_of(handle);
    if (stream == nullptr || pool == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    CUresult reason;
    const Memory memory = allocate(stream, pool, bytes, reason);
    if (memory != nullptr) *result = reinterpret_cast<CUdeviceptr>(memory->address);
    return reason;
}

CUDA_API cuMemAlloc_v2(CUdeviceptr* result, size_t bytes) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    CUresult reason;
    const Memory memory = allocate(nullptr, nullptr, bytes, reason);
    if (memory != nullptr) *result = reinterpret_cast<CUdeviceptr>(memory->address);
    return reason;
}

CUDA_API cuMemAllocAsync(CUdeviceptr* result, size_t bytes, CUstream stream) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    return allocate_in(stream, current_pool(), bytes, result);
}

CUDA_API cuMemAllocFromPoolAsync(CUdeviceptr* result, size_t bytes, CUmemoryPool pool, CUstream stream) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    return allocate_in(stream, pool_of(pool), bytes, result);
}

CUDA_API cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    const auto stream = stream_of(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const Memory memory = memory_of(address, 0);
    if (memory == nullptr || reinterpret_cast<CUdeviceptr>(memory->address) != address) return CUDA_ERROR_INVALID_VALUE;
    free_in_order(stream, memory);
    return CUDA_SUCCESS;
}

CUDA_API cuMemFree_v2(CUdeviceptr address) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    if (address == 0) return CUDA_SUCCESS;
    const Memory memory = memory_of(address, 0);
    if (memory == nullptr || reinterpret_cast<CUdeviceptr>(memory->address) != address) return CUDA_ERROR_INVALID_VALUE;
    // Memory that is not of a pool is freed after everything that was queued;
    // of a pool, the caller must have waited for what uses it.
    if (memory->pool == nullptr) {
        force_all();
        synchronised();
    }
    free_at_once(memory);
    return CUDA_SUCCESS;
}

CUDA_API cuMemGetInfo_v2(size_t* free, size_t* total) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    const size_t taken = std::min(device_bytes_taken(), settings().memory);
    if (free != nullptr) *free = settings().memory - taken;
    if (total != nullptr) *total = settings().memory;
    return CUDA_SUCCESS;
}

CUDA_API cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    Call call;
    const Memory memory = memory_of(address, 0);
    if (memory == nullptr) return CUDA_ERROR_NOT_FOUND;
    if (base != nullptr) *base = reinterpret_cast<CUdeviceptr>(memory->address);
    if (bytes != nullptr) *bytes = memory->bytes;
    return CUDA_SUCCESS;
}

CUDA_API cuPointerGetAttribute(void* data, int attribute, CUdeviceptr address) {
    Call call;
    const Memory memory = memory_of(address, 0);
    const bool pinned = memory == nullptr && is_pinned(reinterpret_cast<void*>(address), 1);
    if (memory == nullptr && !pinned) return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
        case 1: *static_cast<CUcontext*>(data) = primary_context(); return CUDA_SUCCESS;
        case 2: *static_cast<unsigned*>(data) = pinned ? 1 : 2; return CUDA_SUCCESS;
        case 3: *static_cast<CUdeviceptr*>(data) = address; return CUDA_SUCCESS;
        case 4:
            if (!pinned) return CUDA_ERROR_INVALID_VALUE;
            *static_cast<void**>(data) = reinterpret_cast<void*>(address);
            return CUDA_SUCCESS;
        case 8: *static_cast<bool*>(data) = false; return CUDA_SUCCESS;
        case 9: *static_cast<int*>(data) = 0; return CUDA_SUCCESS;
        case 11:
            if (pinned) return CUDA_ERROR_NOT_SUPPORTED;
            *static_cast<CUdeviceptr*>(data) = reinterpret_cast<CUdeviceptr>(memory->address);
            return CUDA_SUCCESS;
        case 12:
            if (pinned) return CUDA_ERROR_NOT_SUPPORTED;
            *static_cast<size_t*>(data) = memory->bytes;
            return CUDA_SUCCESS;
        default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}
