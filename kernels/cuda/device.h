// The CUDA devices of this process and its queues on them. Free of CUDA's own headers.
#pragma once

#include "kernels/device.h"

namespace dw::cuda_backend {

/// GPUs that answer; 0 without a driver or a GPU. Never throws.
int device_count();

/// Why there are none, in CUDA's words.
std::string absence();

/// See gpu_description() of kernels/device.h.
std::string description();

/// Makes `device` this thread's current one and returns the stream that all threads share on it: non-blocking
/// (it does not wait for the legacy default stream), made at first use, never destroyed.
/// Errors: Error where the device does not exist or does not answer.
Stream stream_for(int device);

}  // namespace dw::cuda_backend
