// The small mapped file in which the processes that simulate one device say how
// many bytes each of them holds; the NVML stand-in reads it.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace simulated {

struct SharedState {
    struct Process {
        std::atomic<int32_t> id;
        std::atomic<uint64_t> bytes;
    };
    Process processes[64];
};

inline bool lives(int32_t process) { return process > 0 && (kill(process, 0) == 0 || errno == EPERM); }

// Null where no file is named. A new file is zeros, which are free slots.
inline SharedState* open_shared_state(const std::string& path) {
    if (path.empty()) return nullptr;
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || ftruncate(file, sizeof(SharedState)) != 0) {
        std::perror(("simulator: " + path).c_str());
        std::abort();
    }
    void* pages = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (pages == MAP_FAILED) {
        std::perror(("simulator: " + path).c_str());
        std::abort();
    }
    return static_cast<SharedState*>(pages);
}

}  // namespace simulated
