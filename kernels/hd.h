// HD marks a function that runs on the host and, where nvcc compiles it, on the device.
#pragma once

#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif
