// The parallel loop of the single-source bodies: Thrust on OpenMP for the CPU, Thrust on a stream for CUDA.
// Include from bodies/*.cpp only, so that Thrust stays in few files.
#pragma once

#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>

#include <cstdint>

#include "kernels/bodies/backend.h"
#include "kernels/device.h"

#ifdef __CUDACC__
#include <thrust/system/cuda/execution_policy.h>
#include <thrust/system_error.h>
#else
#include <omp.h>
#include <thrust/system/omp/execution_policy.h>
#endif

namespace dw::DEEPWATER_BACKEND {

/// Elements below which starting CPU threads costs more than it saves.
inline constexpr int64_t serial_elements = 16384;

#ifndef __CUDACC__
/// Keeps a body compiled once, although it is called from a serial and from a parallel loop.
template <typename Body>
struct OutOfLine {
  Body body;
  [[gnu::noinline]] void operator()(int64_t index) const { body(index); }
};
#endif

/// Calls body(i) for i in [0, count) in any order. `cost` is the work of one call, in elements touched.
template <typename Body>
void for_each_index(Stream stream, int64_t count, const Body& body, int64_t cost = 1) {
  if (count <= 0) return;
  const thrust::counting_iterator<int64_t> first(0);
#ifdef __CUDACC__
  static_cast<void>(cost);
  try {
    thrust::for_each_n(thrust::cuda::par_nosync.on(static_cast<cudaStream_t>(stream.handle)), first, count,
                       body);
  } catch (const thrust::system_error& error) {
    fail("a loop over {} on {} failed: {}", count, to_string(stream.device), error.what());
  }
#else
  static_cast<void>(stream);
  const bool serial = count == 1 || count <= serial_elements / cost || omp_in_parallel() != 0;
  const OutOfLine<Body> call{body};
  if (!serial) {
    thrust::for_each_n(thrust::omp::par, first, count, call);
    return;
  }
  for (int64_t index = 0; index < count; ++index) call(index);
#endif
}

}  // namespace dw::DEEPWATER_BACKEND
