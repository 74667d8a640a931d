// The handles of memory pools.
#pragma once

#include <memory>

#include "memory.h"

namespace simulated {

// Null if the handle is no pool's.
std::shared_ptr<Pool> pool_of(CUmemoryPool handle);

// The pool from which the device allocates where a call names none.
std::shared_ptr<Pool> current_pool();

}  // namespace simulated
