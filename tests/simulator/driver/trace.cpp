// Writes the trace.
#include "trace.h"

#include <cstdio>
#include <cstdlib>

#include "settings.h"

namespace simulated {

void trace(const std::string& line) {
    static std::FILE* const file = settings().trace.empty() ? nullptr : std::fopen(settings().trace.c_str(), "ae");
    if (file == nullptr) return;
    std::fprintf(file, "%s\n", line.c_str());
    // A test may read the file while the process still runs, or after it broke.
    std::fflush(file);
}

void broken(const std::string& message) {
    std::fprintf(stderr, "simulator: %s\n", message.c_str());
    trace("broken " + message);
    std::abort();
}

}  // namespace simulated
