// The driver's functions that copy and fill memory. Each is an operation of its
// stream; pinned memory is read or written when that runs, pageable memory at
// the call.
#include <cstring>

#include "contexts.h"
#include "memory.h"
#include "trace.h"

using namespace simulated;

namespace {

// Microseconds of virtual time: a start, and 10 GB/s.
double copy_time(size_t bytes) { return 5.0 + double(bytes) / 10e3; }
double fill_time(size_t bytes) { return 5.0 + double(bytes) / 1e6; }

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

// Device memory, or pinned memory that the device sees at the same address.
bool is_visible(CUdeviceptr address, size_t bytes) {
    return memory_of(address, bytes) != nullptr || is_pinned(pointer(address), bytes);
}

std::string text(const char* what, size_t bytes, const char* host = nullptr) {
    std::string result = std::string(what) + " bytes=" + std::to_string(bytes);
    return host == nullptr ? result : result + " host=" + host;
}

CUresult copy_in(CUdeviceptr to, const void* from, size_t bytes, const std::shared_ptr<Stream>& stream, bool wait) {
    if (const CUresult missing = needs_context()) return missing;
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (from == nullptr || !is_visible(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
    Done copy;
    if (is_pinned(from, bytes)) {
        copy = queue(stream, text("copy-in", bytes, "pinned"), copy_time(bytes),
                     [=] { std::memcpy(pointer(to), from, bytes); });
    } else {
        const auto staged = std::make_shared<std::string>(static_cast<const char*>(from), bytes);
        copy = queue(stream, text("copy-in", bytes, "pageable"), copy_time(bytes),
                     [=] { std::memcpy(pointer(to), staged->data(), bytes); });
    }
    if (wait) {
        force(copy);
        host_waited(copy);
        synchronised();
    }
    return CUDA_SUCCESS;
}

CUresult copy_out(void* to, CUdeviceptr from, size_t bytes, const std::shared_ptr<Stream>& stream, bool wait) {
    if (const CUresult missing = needs_context()) return missing;
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (to == nullptr || !is_visible(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
    const bool pinned = is_pinned(to, bytes);
    const Done copy = queue(stream, text("copy-out", bytes, pinned ? "pinned" : "pageable"), copy_time(bytes),
                            [=] { std::memcpy(to, pointer(from), bytes); });
    if (wait || !pinned) {
        force(copy);
        host_waited(copy);
        synchronised();
    }
    return CUDA_SUCCESS;
}

CUresult copy(CUdeviceptr to, CUdeviceptr from, size_t bytes, const std::shared_ptr<Stream>& stream) {
    if (const CUresult missing = needs_context()) return missing;
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (!is_visible(to, bytes) || !is_visible(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
    queue(stream, text("copy", bytes), copy_time(bytes), [=] { std::memmove(pointer(to), pointer(from), bytes); });
    return CUDA_SUCCESS;
}

CUresult fill(CUdeviceptr to, unsigned char value, size_t bytes, const std::shared_ptr<Stream>& stream) {
    if (const CUresult missing = needs_context()) return missing;
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (!is_visible(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
    queue(stream, text("fill", bytes), fill_time(bytes), [=] { std::memset(pointer(to), value, bytes); });
    return CUDA_SUCCESS;
}

}  // namespace

CUDA_API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    Call call;
    return copy_in(to, from, bytes, stream_of(stream), false);
}

CUDA_API cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    Call call;
    // From ordinary memory it returns once the source was read; what it was read into may still be on its way.
    return copy_in(to, from, bytes, legacy_stream(), is_pinned(from, bytes));
}

CUDA_API cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    Call call;
    return copy_out(to, from, bytes, stream_of(stream), false);
}

CUDA_API cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    Call call;
    return copy_out(to, from, bytes, legacy_stream(), true);
}

CUDA_API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    Call call;
    return copy(to, from, bytes, stream_of(stream));
}

CUDA_API cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    Call call;
    return copy(to, from, bytes, legacy_stream());
}

CUDA_API cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t bytes, CUstream stream) {
    Call call;
    return copy(to, from, bytes, stream_of(stream));
}

CUDA_API cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    Call call;
    return fill(to, value, bytes, stream_of(stream));
}

CUDA_API cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
    Call call;
    return fill(to, value, bytes, legacy_stream());
}
