#include "datasets/device_batches.h"

#include <algorithm>
#include <numeric>

namespace dw {

DeviceBatches::DeviceBatches(const ImageSet& set, const LoaderOptions& loader,
                             const AugmentOptions& augmentation, Device device)
    : loader_(loader), augmentation_(augmentation) {
  batches_per_epoch_ = batches_in_epoch(set, loader);
  require(set.is_held(), "{}: pictures that are decoded on demand cannot lie on a device", set.name);
  const int64_t size = set.size();
  pictures_.pixels = Tensor::from(set.pixels, {size, set.height, set.width, set.channels}, device);
  pictures_.labels = Tensor::from(set.labels, {size}, device);
  pictures_.order = Tensor::empty({size}, DType::i64, device);
  pictures_.epoch = Tensor::zeros({1}, DType::i64, device);
  pictures_.first = Tensor::zeros({1}, DType::i64, device);
}

void DeviceBatches::seek(int64_t epoch, int64_t batch) {
  require(epoch >= 0 && batch >= 0 && batch <= batches_per_epoch_, "no batch {} of epoch {}: an epoch has {}",
          batch, epoch, batches_per_epoch_);
  next_ = epoch * batches_per_epoch_ + batch;
}

void DeviceBatches::write_order(int64_t epoch) {
  const int64_t size = pictures_.labels.numel();
  std::vector<int64_t> order(static_cast<size_t>(size));
  if (loader_.shuffle)
    order = epoch_order(size, loader_.seed, epoch);
  else
    std::iota(order.begin(), order.end(), int64_t{0});
  copy_bytes(pictures_.order.device(), pictures_.order.raw_data(), cpu, order.data(),
             order.size() * sizeof(int64_t));
  pictures_.epoch.fill(static_cast<double>(epoch));
  order_epoch_ = epoch;
}

int64_t DeviceBatches::prepare() {
  const int64_t epoch = next_ / batches_per_epoch_, first = next_ % batches_per_epoch_ * loader_.batch_size;
  if (epoch != order_epoch_) write_order(epoch);
  pictures_.first.fill(static_cast<double>(first));
  count_ = std::min(loader_.batch_size, pictures_.labels.numel() - first);
  ++next_;
  return count_;
}

Batch DeviceBatches::make() {
  require(count_ > 0, "a batch is prepared before it is made");
  const Tensor& pixels = pictures_.pixels;
  Batch batch;
  batch.images = Tensor::empty({count_, pixels.size(3), pixels.size(1), pixels.size(2)}, DType::f32,
                               pixels.device(), Layout::channels_last);
  batch.labels = Tensor::empty({count_}, DType::i64, pixels.device());
  augment(pictures_, augmentation_, batch.images, batch.labels);
  return batch;
}

}  // namespace dw
