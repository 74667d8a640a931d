// The driver's functions of memory pools.
#include "pools.h"

#include <map>

#include "settings.h"

namespace simulated {

namespace {

std::map<CUmemoryPool, std::shared_ptr<Pool>>& pools() {
    static auto& instance = *new std::map<CUmemoryPool, std::shared_ptr<Pool>>;
    return instance;
}
std::shared_ptr<Pool>& current() {
    static auto& instance = *new std::shared_ptr<Pool>;
    return instance;
}

CUmemoryPool handle_of(const std::shared_ptr<Pool>& pool) {
    const auto handle = reinterpret_cast<CUmemoryPool>(pool.get());
    pools()[handle] = pool;
    return handle;
}

}  // namespace

std::shared_ptr<Pool> pool_of(CUmemoryPool handle) {
    const auto found = pools().find(handle);
    return found == pools().end() ? nullptr : found->second;
}

std::shared_ptr<Pool> current_pool() { return current() == nullptr ? default_pool() : current(); }

}  // namespace simulated

using namespace simulated;

CUDA_API cuMemPoolCreate(CUmemoryPool* result, const CUmemPoolProps* properties) {
    Call call;
    // Pinned memory of the device, and nothing to share with other processes.
    if (properties->allocType != 1 || properties->handleTypes != 0 || properties->location.type != 1 ||
        properties->location.id != 0)
        return CUDA_ERROR_INVALID_VALUE;
    *result = handle_of(make_pool(properties->maxSize));
    return CUDA_SUCCESS;
}

CUDA_API cuMemPoolDestroy(CUmemoryPool handle) {
    Call call;
    const auto pool = pool_of(handle);
    if (pool == nullptr || pool == default_pool()) return CUDA_ERROR_INVALID_VALUE;
    // The device falls back to its own pool; the memory that is in use keeps
    // the destroyed one alive.
    if (current() == pool) current() = nullptr;
    pools().erase(handle);
    trim(*pool, 0);
    return CUDA_SUCCESS;
}

CUDA_API cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
    Call call;
    const auto pool = pool_of(handle);
    if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
    trim(*pool, keep);
    return CUDA_SUCCESS;
}

CUDA_API cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void* value) {
    Call call;
    const auto pool = pool_of(handle);
    if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto number = [value] { return *static_cast<uint64_t*>(value); };
    switch (attribute) {
        // How memory is reused between streams: the simulator does as by default.
        case 1: case 2: case 3: return CUDA_SUCCESS;
        case 4: pool->threshold = number(); return CUDA_SUCCESS;
        case 6:
            if (number() != 0) return CUDA_ERROR_INVALID_VALUE;
            pool->reserved_high = pool->reserved;
            return CUDA_SUCCESS;
        case 8:
            if (number() != 0) return CUDA_ERROR_INVALID_VALUE;
            pool->used_high = pool->used;
            return CUDA_SUCCESS;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
}

CUDA_API cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void* value) {
    Call call;
    const auto pool = pool_of(handle);
    if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto give = [value](uint64_t number) {
        *static_cast<uint64_t*>(value) = number;
        return CUDA_SUCCESS;
    };
    switch (attribute) {
        case 1: case 2: case 3: *static_cast<int*>(value) = 1; return CUDA_SUCCESS;
        case 4: return give(pool->threshold);
        case 5: return give(pool->reserved);
        case 6: return give(pool->reserved_high);
        case 7: return give(pool->used);
        case 8: return give(pool->used_high);
        default: return CUDA_ERROR_INVALID_VALUE;
    }
}

CUDA_API cuDeviceSetMemPool(CUdevice device, CUmemoryPool handle) {
    Call call;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    const auto pool = pool_of(handle);
    if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
    current() = pool;
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetMemPool(CUmemoryPool* result, CUdevice device) {
    Call call;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *result = handle_of(current_pool());
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetDefaultMemPool(CUmemoryPool* result, CUdevice device) {
    Call call;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *result = handle_of(default_pool());
    return CUDA_SUCCESS;
}
