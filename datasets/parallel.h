// Runs independent per-picture work on all threads, with progress and with the first failure by index, so
// that an error message does not depend on timing.
#pragma once

#include <omp.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "datasets/image_set.h"

namespace dw {

/// Calls body(i) for i in [0, count), in any order. Rethrows the exception of the lowest failing index.
template <typename Body>
void for_each_image(int64_t count, const ProgressCallback& progress, Body&& body) {
  constexpr int64_t report_every = 64;
  std::atomic<int64_t> done = 0;
  std::atomic<int64_t> failed = count;
  std::exception_ptr error;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic, 16)
  for (int64_t i = 0; i < count; ++i) {
    if (i > failed.load(std::memory_order_relaxed)) continue;
    try {
      body(i);
      const int64_t now = done.fetch_add(1, std::memory_order_relaxed) + 1;
      if (progress && i % report_every == 0 && omp_get_thread_num() == 0) progress(now, count);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (i < failed || !error) {
        failed = i;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
  if (progress) progress(count, count);
}

}  // namespace dw
