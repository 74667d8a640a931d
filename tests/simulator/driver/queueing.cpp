// The door through which other libraries queue work on the driver's streams.
#include "queueing.h"

#include "memory.h"
#include "streams.h"

using namespace simulated;

bool simulated_queue(CUstream handle, const char* text, void (*run)(void*), void (*drop)(void*), void* data) {
    Call call;
    const auto stream = stream_of(handle);
    if (stream == nullptr) return false;
    const std::shared_ptr<void> own(data, drop);
    // A library's kernel takes as long as one of ours.
    queue(stream, text, 20.0, [run, own] { run(own.get()); });
    return true;
}

bool simulated_is_device_memory(const void* address, size_t bytes) {
    Call call;
    return memory_of(reinterpret_cast<CUdeviceptr>(address), bytes) != nullptr;
}
