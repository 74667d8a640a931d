// Streams as queues of operations that run as late as the schedule allows, and
// the virtual time at which they do.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "types.h"

namespace simulated {

struct Stream;

struct Operation {
    unsigned long number;
    std::shared_ptr<Stream> stream;
    std::string text;
    std::function<void()> run;
    // What must be done before, beside the earlier operations of the stream.
    std::vector<std::shared_ptr<Operation>> after;
    // Microseconds of virtual time.
    double duration = 0;
    double queued = 0;
    double finished = 0;
    bool done = false;
};
using Done = std::shared_ptr<Operation>;

struct Stream {
    unsigned number;
    // Whether it is ordered with the legacy stream.
    bool blocking;
    bool legacy = false;
    bool destroyed = false;
    std::deque<Done> waiting;
    Done last;
    double clock = 0;
};

// Held by every function of the driver. With the seeded schedule its beginning
// lets some operations run.
class Call {
public:
    Call();

private:
    std::lock_guard<std::recursive_mutex> lock;
};

// The stream of a handle, the legacy and per-thread ones included; null if the
// handle is none.
std::shared_ptr<Stream> stream_of(CUstream handle);
std::shared_ptr<Stream> legacy_stream();

Done queue(const std::shared_ptr<Stream>& stream, std::string text, double microseconds, std::function<void()> run,
           std::vector<Done> after = {});

// Runs the operation and what it needs, nothing else.
void force(const Done& operation);
void force_stream(const std::shared_ptr<Stream>& stream);
void force_all();

// Runs at most one operation towards the one that a query asked about, so that
// a loop of queries ends.
void progress(const Done& operation);

bool nothing_waits();

// The host waited for the operation: its time goes on to the operation's end.
void host_waited(const Done& operation);

// After each synchronisation: the guards of the memory are checked, and pools
// give back what is above their threshold.
void synchronised();

}  // namespace simulated
