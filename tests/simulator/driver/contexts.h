// The device's one context.
#pragma once

#include "types.h"

namespace simulated {

CUcontext primary_context();

// CUDA_SUCCESS, or what a call without a current context returns.
CUresult needs_context();

}  // namespace simulated
