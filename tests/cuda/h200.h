// An NVIDIA H200 as cuDNN describes devices, so that plans for it are built where there is none.
#pragma once

#include <string_view>

/// Keys as cuDNN 9 writes them. Values: compute capability 9.0 and its limits from NVIDIA's documentation;
/// multiprocessors, L2 cache, memory and clocks as reported for an H200 (141 GB).
inline constexpr std::string_view h200_description = R"({
  "deviceVer": 900, "deviceName": "NVIDIA H200", "driverVer": 13000,
  "multiProcessorCount": 132, "warpSize": 32, "maxCtasPerSM": 32,
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048,
  "maxBlockSize": [1024, 1024, 64], "maxGridSize": [2147483647, 65535, 65535],
  "regsPerBlock": 65536, "maxRegistersPerSM": 65536,
  "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
  "reservedSharedMemoryPerBlock": 1024,
  "l2CacheSize": 62914560, "totalGlobalMem": 150754820096,
  "smClockRateKHz": 1980000, "memClockRateKHz": 3201000,
  "supportCoopLaunch": 1, "isTccDriver": 0, "pciDeviceId": 0, "cudaDeviceId": 0
})";
