// Where training batches come from.
#pragma once

#include "core/tensor.h"

namespace dw {

/// Images [n, c, h, w], normalised, and labels i64 [n], on the training device.
struct Batch {
  Tensor images;
  Tensor labels;
};

/// Where batches come from. What a batch holds depends on (epoch, batch) alone, never on what was read
/// before.
class BatchSource {
 public:
  BatchSource() = default;
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;
  virtual ~BatchSource() = default;
  /// Batches in an epoch, at least 1.
  virtual int64_t batches() const = 0;
  /// The next next() gives this batch.
  virtual void seek(int64_t epoch, int64_t batch) = 0;
  virtual Batch next() = 0;
};

/// A source whose batches the device makes by itself, so that a captured step can make them too.
class DeviceBatchSource : public BatchSource {
 public:
  /// Writes which batch is next to device memory of a fixed address; returns how many pictures it has.
  virtual int64_t prepare() = 0;
  /// Queues what makes the batch prepared last, and nothing else. Captured, a replay makes the batch that was
  /// prepared before it; it must have as many pictures.
  virtual Batch make() = 0;
  Batch next() final {
    static_cast<void>(prepare());
    return make();
  }
};

}  // namespace dw
