// The queues of streams and the schedules by which they run.
#include "streams.h"

#include <algorithm>
#include <map>
#include <random>

#include "memory.h"
#include "settings.h"
#include "trace.h"

namespace simulated {

namespace {

std::recursive_mutex mutex;

struct Streams {
    std::shared_ptr<Stream> legacy = std::make_shared<Stream>();
    // Every stream that is not destroyed or still has operations.
    std::vector<std::shared_ptr<Stream>> all;
    std::map<CUstream, std::shared_ptr<Stream>> created;
    unsigned numbers = 0;
    unsigned long operations = 0;
    double host_clock = 0;
    std::mt19937_64 draws{settings().seed};

    Streams() {
        legacy->number = 0;
        legacy->blocking = true;
        legacy->legacy = true;
        all.push_back(legacy);
    }

    std::shared_ptr<Stream> add(bool blocking) {
        auto stream = std::make_shared<Stream>();
        stream->number = ++numbers;
        stream->blocking = blocking;
        all.push_back(stream);
        return stream;
    }
};

// Never destroyed: threads may still call while the process ends.
Streams& streams() {
    static Streams& instance = *new Streams;
    return instance;
}

// The stream that a thread has of its own, made at its first use.
struct PerThread {
    std::shared_ptr<Stream> stream;
    ~PerThread() {
        if (stream != nullptr) stream->destroyed = true;
    }
};
thread_local PerThread per_thread;

const Done* first_undone(const Operation& operation) {
    for (const Done& before : operation.after)
        if (!before->done) return &before;
    return nullptr;
}

void run_first(Stream& stream) {
    const Done operation = stream.waiting.front();
    stream.waiting.pop_front();
    double start = std::max(stream.clock, operation->queued);
    for (const Done& before : operation->after) start = std::max(start, before->finished);
    operation->finished = start + operation->duration;
    stream.clock = operation->finished;
    trace("run " + operation->text + " operation=" + std::to_string(operation->number) +
          " start=" + std::to_string(start) + " end=" + std::to_string(operation->finished));
    if (operation->run) operation->run();
    operation->done = true;
    // The operations before are no longer needed, and would be kept as a chain.
    operation->after.clear();
    operation->run = nullptr;
    operation->stream = nullptr;
}

bool ready(const Stream& stream) {
    return !stream.waiting.empty() && first_undone(*stream.waiting.front()) == nullptr;
}

// Lets a few operations run whose turn it is, as a device would meanwhile.
void run_some() {
    Streams& state = streams();
    for (auto count = state.draws() % 3; count > 0; --count) {
        std::vector<Stream*> candidates;
        for (const auto& stream : state.all)
            if (ready(*stream)) candidates.push_back(stream.get());
        if (candidates.empty()) return;
        run_first(*candidates[state.draws() % candidates.size()]);
    }
}

void forget_destroyed() {
    auto& all = streams().all;
    all.erase(std::remove_if(all.begin(), all.end(),
                             [](const auto& stream) { return stream->destroyed && stream->waiting.empty(); }),
              all.end());
}

}  // namespace

Call::Call() : lock(mutex) {
    if (settings().schedule == Schedule::seeded) run_some();
}

std::shared_ptr<Stream> legacy_stream() { return streams().legacy; }

std::shared_ptr<Stream> stream_of(CUstream handle) {
    const auto value = reinterpret_cast<uintptr_t>(handle);
    if (value <= 1) return streams().legacy;
    if (value == 2) {
        if (per_thread.stream == nullptr) per_thread.stream = streams().add(true);
        return per_thread.stream;
    }
    const auto found = streams().created.find(handle);
    return found == streams().created.end() ? nullptr : found->second;
}

Done queue(const std::shared_ptr<Stream>& stream, std::string text, double microseconds, std::function<void()> run,
           std::vector<Done> after) {
    Streams& state = streams();
    auto operation = std::make_shared<Operation>();
    operation->number = ++state.operations;
    operation->stream = stream;
    operation->text = "stream=" + std::to_string(stream->number) + " " + std::move(text);
    operation->run = std::move(run);
    operation->after = std::move(after);
    operation->duration = microseconds;
    operation->queued = state.host_clock;
    // The legacy stream and the blocking ones wait for each other.
    if (stream->legacy) {
        for (const auto& other : state.all)
            if (other->blocking && other != stream && other->last != nullptr && !other->last->done)
                operation->after.push_back(other->last);
    } else if (stream->blocking && state.legacy->last != nullptr && !state.legacy->last->done) {
        operation->after.push_back(state.legacy->last);
    }
    stream->waiting.push_back(operation);
    stream->last = operation;
    trace("queue " + operation->text + " operation=" + std::to_string(operation->number));
    if (settings().schedule == Schedule::eager) force(operation);
    return operation;
}

void force(const Done& operation) {
    // A stack of its own: the chain of waits may be longer than a thread's.
    std::vector<Done> goals{operation};
    while (!goals.empty()) {
        const Done goal = goals.back();
        if (goal->done) {
            goals.pop_back();
            continue;
        }
        Stream& stream = *goal->stream;
        if (const Done* before = first_undone(*stream.waiting.front()))
            goals.push_back(*before);
        else
            run_first(stream);
    }
}

void force_stream(const std::shared_ptr<Stream>& stream) {
    const Done last = stream->last;
    if (last != nullptr) {
        force(last);
        host_waited(last);
    }
    if (!stream->legacy) return;
    // To wait for the legacy stream is to wait for the blocking ones too.
    for (const auto& other : std::vector<std::shared_ptr<Stream>>(streams().all))
        if (other->blocking && !other->legacy) force_stream(other);
}

void force_all() {
    // From the youngest stream to the oldest: an order that nobody asked for.
    const std::vector<std::shared_ptr<Stream>> all(streams().all.rbegin(), streams().all.rend());
    for (const auto& stream : all)
        if (stream->last != nullptr) {
            force(stream->last);
            host_waited(stream->last);
        }
    forget_destroyed();
}

void progress(const Done& operation) {
    Done goal = operation;
    while (!goal->done) {
        Stream& stream = *goal->stream;
        const Done* before = first_undone(*stream.waiting.front());
        if (before == nullptr) {
            run_first(stream);
            return;
        }
        goal = *before;
    }
}

bool nothing_waits() {
    for (const auto& stream : streams().all)
        if (!stream->waiting.empty()) return false;
    return true;
}

void host_waited(const Done& operation) {
    streams().host_clock = std::max(streams().host_clock, operation->finished);
}

void synchronised() {
    check_memory();
    release_above_thresholds();
}

}  // namespace simulated

using namespace simulated;

CUDA_API cuStreamCreateWithPriority(CUstream* result, unsigned flags, int) {
    Call call;
    if (result == nullptr || flags > 1) return CUDA_ERROR_INVALID_VALUE;
    const auto stream = streams().add((flags & 1u) == 0);
    *result = reinterpret_cast<CUstream>(stream.get());
    streams().created[*result] = stream;
    return CUDA_SUCCESS;
}

CUDA_API cuStreamCreate(CUstream* result, unsigned flags) { return cuStreamCreateWithPriority(result, flags, 0); }

CUDA_API cuStreamDestroy_v2(CUstream handle) {
    Call call;
    const auto found = streams().created.find(handle);
    if (found == streams().created.end()) return CUDA_ERROR_INVALID_HANDLE;
    // What is queued still runs; the address must not be given out again before.
    found->second->destroyed = true;
    streams().created.erase(found);
    forget_destroyed();
    return CUDA_SUCCESS;
}

CUDA_API cuStreamSynchronize(CUstream handle) {
    Call call;
    const auto stream = stream_of(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    trace("synchronize stream=" + std::to_string(stream->number));
    force_stream(stream);
    synchronised();
    return CUDA_SUCCESS;
}

CUDA_API cuStreamQuery(CUstream handle) {
    Call call;
    const auto stream = stream_of(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->last == nullptr || stream->last->done) return CUDA_SUCCESS;
    progress(stream->last);
    return stream->last->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUDA_API cuStreamIsCapturing(CUstream handle, int* status) {
    Call call;
    if (stream_of(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *status = 0;
    return CUDA_SUCCESS;
}

CUDA_API cuStreamGetPriority(CUstream handle, int* priority) {
    Call call;
    if (stream_of(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *priority = 0;
    return CUDA_SUCCESS;
}

CUDA_API cuStreamGetFlags(CUstream handle, unsigned* flags) {
    Call call;
    const auto stream = stream_of(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *flags = stream->blocking ? 0 : 1;
    return CUDA_SUCCESS;
}

CUDA_API cuLaunchHostFunc(CUstream handle, void (*function)(void*), void* data) {
    Call call;
    const auto stream = stream_of(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    queue(stream, "host-function", 0, [function, data] { function(data); });
    return CUDA_SUCCESS;
}
