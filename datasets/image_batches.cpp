#include "datasets/image_batches.h"

#include "datasets/device_batches.h"
#include "kernels/profile.h"

namespace dw {

ImageBatches::ImageBatches(const ImageSet& set, const LoaderOptions& loader,
                           const AugmentOptions& augmentation, Device device)
    : set_(set), augmentation_(augmentation), device_(device), loader_(set, loader) {}

Batch ImageBatches::next() {
  const ImageBatch& read = profiled(
      Stream{}, "next_batch", [] { return KernelCost{"waiting for the loader"}; },
      [&]() -> const ImageBatch& { return loader_.next(); });
  const int64_t count = read.size();
  const Tensor pixels = Tensor::from(read.pixels, {count, set_.height, set_.width, set_.channels}, device_);
  const Tensor indices = Tensor::from(read.indices, {count}, device_);
  const Tensor epoch = Tensor::full({1}, static_cast<double>(read.epoch), DType::i64, device_);
  Batch batch;
  batch.images = Tensor::empty({count, set_.channels, set_.height, set_.width}, DType::f32, device_,
                               Layout::channels_last);
  batch.labels = Tensor::from(read.labels, {count}, device_);
  augment(pixels, indices, epoch, augmentation_, batch.images);
  return batch;
}

std::unique_ptr<BatchSource> make_batches(const ImageSet& set, const LoaderOptions& loader,
                                          const AugmentOptions& augmentation, Device device) {
  if (device.type == DeviceType::cuda && set.is_held() && set.pixels.size() <= most_bytes_on_device)
    return std::make_unique<DeviceBatches>(set, loader, augmentation, device);
  return std::make_unique<ImageBatches>(set, loader, augmentation, device);
}

}  // namespace dw
