// The kernel table that a profile is filled through; see profile.h.
#pragma once

#include "kernels/table.h"

namespace dw {

/// The table of a device itself; kernels() hands out this one or its profiled twin.
const KernelTable& plain_kernels(Device device);

/// Likewise, with every pointer recorded in the thread's profile where one is recording.
const KernelTable& profiled_kernels(DeviceType type);

}  // namespace dw
