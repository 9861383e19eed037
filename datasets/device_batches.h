// The trainer's batches from a set of pictures that lies on the device as a whole: one kernel picks, crops,
// flips and normalises a batch, and a captured training step can do so by itself.
#pragma once

#include "core/batches.h"
#include "datasets/augment.h"
#include "datasets/loader.h"

namespace dw {

/// The same batches, bit for bit, as ImageBatches with the same options.
class DeviceBatches : public DeviceBatchSource {
 public:
  /// Copies `set`, which must be held in memory, to the device. Of the loader's options workers and prefetch
  /// say nothing here. Errors: as of Loader.
  DeviceBatches(const ImageSet& set, const LoaderOptions& loader, const AugmentOptions& augmentation,
                Device device);

  int64_t batches() const override { return batches_per_epoch_; }
  void seek(int64_t epoch, int64_t batch) override;
  int64_t prepare() override;
  Batch make() override;

 private:
  void write_order(int64_t epoch);

  LoaderOptions loader_;
  AugmentOptions augmentation_;
  PicturesOnDevice pictures_;
  int64_t batches_per_epoch_;
  int64_t next_ = 0;          // counted over all epochs
  int64_t count_ = 0;         // pictures of the batch prepared last
  int64_t order_epoch_ = -1;  // whose order is on the device
};

}  // namespace dw
