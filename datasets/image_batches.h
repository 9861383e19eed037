// The trainer's batches from a set of pictures: loaded ahead, moved to the device, augmented and normalised
// there.
#pragma once

#include <memory>

#include "core/batches.h"
#include "datasets/augment.h"
#include "datasets/loader.h"

namespace dw {

class ImageBatches : public BatchSource {
 public:
  /// `set` must outlive this. Errors as of Loader.
  ImageBatches(const ImageSet& set, const LoaderOptions& loader, const AugmentOptions& augmentation,
               Device device);

  int64_t batches() const override { return loader_.batches_per_epoch(); }
  void seek(int64_t epoch, int64_t batch) override { loader_.seek(epoch, batch); }
  Batch next() override;

 private:
  const ImageSet& set_;
  AugmentOptions augmentation_;
  Device device_;
  Loader loader_;
};

/// Sets up to this many bytes go to the device as a whole.
inline constexpr size_t most_bytes_on_device = size_t{4} << 30;

/// Batches of `set`, which must outlive them: on CUDA from the device's own copy of the set (DeviceBatches)
/// where it is held in memory and not too large; else loaded ahead. The same batches either way.
std::unique_ptr<BatchSource> make_batches(const ImageSet& set, const LoaderOptions& loader,
                                          const AugmentOptions& augmentation, Device device);

}  // namespace dw
