// The trainer's batches from a set of pictures: loaded ahead, moved to the device, augmented and normalised
// there.
#pragma once

#include "core/trainer.h"
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

}  // namespace dw
