#pragma once

namespace thrust::cuda {

struct Policy {
  cudaStream_t stream;
};
struct ParallelWithoutWaiting {
  Policy on(cudaStream_t stream) const { return {stream}; }
};
inline constexpr ParallelWithoutWaiting par_nosync;

}  // namespace thrust::cuda
