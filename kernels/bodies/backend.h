// Which half a single-source body is compiled for: g++ makes dw::cpu_backend, nvcc makes dw::cuda_backend.
#pragma once

#ifdef __CUDACC__
#define DEEPWATER_BACKEND cuda_backend
#else
#define DEEPWATER_BACKEND cpu_backend
#endif

namespace dw::DEEPWATER_BACKEND {

#ifdef __CUDACC__
inline constexpr bool on_cuda = true;
#else
inline constexpr bool on_cuda = false;
#endif

}  // namespace dw::DEEPWATER_BACKEND
