// The file of SIMULATED_CUDA_TRACE: one line for each operation when it is
// queued and one when it runs.
#pragma once

#include <string>

namespace simulated {

void trace(const std::string& line);

// Ends the process with a message about the device's memory or its use.
[[noreturn]] void broken(const std::string& message);

}  // namespace simulated
