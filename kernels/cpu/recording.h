// Between the kernel table of the CPU and its graphs.
#pragma once

#include "kernels/table.h"

namespace dw::cpu_backend {

/// The kernels that compute.
const KernelTable& plain_table();

/// While this thread captures a graph, the table that writes calls down; else null.
const KernelTable* recording_table();

}  // namespace dw::cpu_backend
