// Events: each record is an operation of its stream, which a wait of another
// stream or the host can refer to.
#include <map>

#include "streams.h"
#include "trace.h"

using namespace simulated;

namespace {

struct Event {
    unsigned number;
    bool timed;
    Done recorded;
};

std::map<CUevent, std::unique_ptr<Event>>& events() {
    static auto& instance = *new std::map<CUevent, std::unique_ptr<Event>>;
    return instance;
}
unsigned numbers = 0;

Event* event_of(CUevent handle) {
    const auto found = events().find(handle);
    return found == events().end() ? nullptr : found->second.get();
}

}  // namespace

CUDA_API cuEventCreate(CUevent* result, unsigned flags) {
    Call call;
    auto event = std::make_unique<Event>(Event{++numbers, (flags & 2u) == 0, nullptr});
    *result = reinterpret_cast<CUevent>(event.get());
    events()[*result] = std::move(event);
    return CUDA_SUCCESS;
}

CUDA_API cuEventDestroy_v2(CUevent handle) {
    Call call;
    return events().erase(handle) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUDA_API cuEventRecord(CUevent handle, CUstream stream_handle) {
    Call call;
    Event* event = event_of(handle);
    const auto stream = stream_of(stream_handle);
    if (event == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    event->recorded = queue(stream, "record event=" + std::to_string(event->number), 0, nullptr);
    return CUDA_SUCCESS;
}

CUDA_API cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned) { return cuEventRecord(handle, stream); }

CUDA_API cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned) {
    Call call;
    Event* event = event_of(handle);
    const auto stream = stream_of(stream_handle);
    if (event == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    // An event that was never recorded is complete.
    if (event->recorded == nullptr) return CUDA_SUCCESS;
    queue(stream, "wait event=" + std::to_string(event->number), 0, nullptr, {event->recorded});
    return CUDA_SUCCESS;
}

CUDA_API cuEventSynchronize(CUevent handle) {
    Call call;
    Event* event = event_of(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    trace("synchronize event=" + std::to_string(event->number));
    if (const Done recorded = event->recorded) {
        force(recorded);
        host_waited(recorded);
    }
    synchronised();
    return CUDA_SUCCESS;
}

CUDA_API cuEventQuery(CUevent handle) {
    Call call;
    Event* event = event_of(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const Done recorded = event->recorded;
    if (recorded == nullptr || recorded->done) return CUDA_SUCCESS;
    progress(recorded);
    return recorded->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUDA_API cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
    Call call;
    Event* first = event_of(start);
    Event* second = event_of(end);
    if (first == nullptr || second == nullptr || !first->timed || !second->timed) return CUDA_ERROR_INVALID_HANDLE;
    if (first->recorded == nullptr || second->recorded == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (!first->recorded->done || !second->recorded->done) return CUDA_ERROR_NOT_READY;
    *milliseconds = float((second->recorded->finished - first->recorded->finished) / 1000.0);
    return CUDA_SUCCESS;
}

CUDA_API cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}
