// Checks tensors and hands them to the augmentation kernel of their device.
#include "datasets/augment.h"

#include "datasets/bodies/augment.h"
#include "kernels/error.h"
#include "kernels/profile.h"

namespace dw {

#ifndef DEEPWATER_HAS_CUDA
void cuda_backend::augment(Stream, const AugmentArguments&) {
  fail("augment: this program was built without its CUDA half");
}
#endif

Augmentation parse_augmentation(std::string_view name) {
  for (const auto augmentation : {Augmentation::none, Augmentation::crop, Augmentation::standard})
    if (name == name_of(augmentation)) return augmentation;
  throw UsageError(fmt::format("augmentation \"{}\": expected none, crop or standard", name));
}

std::string_view name_of(Augmentation augmentation) {
  switch (augmentation) {
    case Augmentation::none:
      return "none";
    case Augmentation::crop:
      return "crop";
    case Augmentation::standard:
      break;
  }
  return "standard";
}

Augmentation default_augmentation(const Dataset& dataset) {
  return dataset.train.channels == 1 ? Augmentation::crop : Augmentation::standard;
}

void augment(const Tensor& pixels, const Tensor& indices, const Tensor& epoch, const AugmentOptions& options,
             const Tensor& out) {
  constexpr int64_t least_side_for_crop = 5;  // reflecting 4 pixels needs 4 beside the border
  require(pixels.dtype() == DType::u8 && pixels.rank() == 4 && pixels.is_dense() &&
              (pixels.size(3) == 1 || pixels.size(3) == 3),
          "augment expects dense u8 pixels [n, height, width, 1 or 3], found {} {}", name_of(pixels.dtype()),
          to_string(pixels.shape()));
  AugmentArguments arguments;
  arguments.count = pixels.size(0);
  arguments.height = pixels.size(1);
  arguments.width = pixels.size(2);
  arguments.channels = pixels.size(3);
  require(indices.dtype() == DType::i64 && indices.is_dense() && indices.shape() == Shape{arguments.count},
          "augment expects i64 indices [{}], found {} {}", arguments.count, name_of(indices.dtype()),
          to_string(indices.shape()));
  require(epoch.dtype() == DType::i64 && epoch.numel() == 1, "augment expects one i64 epoch, found {} {}",
          name_of(epoch.dtype()), to_string(epoch.shape()));
  const Shape expected{arguments.count, arguments.channels, arguments.height, arguments.width};
  require(out.shape() == expected && is_floating(out.dtype()) && out.is_dense(Layout::channels_last),
          "augment expects a floating, channels-last output {}, found {} {}", to_string(expected),
          name_of(out.dtype()), to_string(out.shape()));
  const Device device = out.device();
  require(pixels.device() == device && indices.device() == device && epoch.device() == device,
          "augment expects all tensors on {}, found pixels on {}, indices on {}, epoch on {}",
          to_string(device), to_string(pixels.device()), to_string(indices.device()),
          to_string(epoch.device()));
  arguments.crop = options.augmentation != Augmentation::none;
  arguments.flip = options.augmentation == Augmentation::standard;
  require(
      !arguments.crop || (arguments.height >= least_side_for_crop && arguments.width >= least_side_for_crop),
      "pictures of {} x {} are too small to crop: at least {} pixels a side", arguments.width,
      arguments.height, least_side_for_crop);
  arguments.pixels = pixels.data<uint8_t>();
  arguments.indices = indices.data<int64_t>();
  arguments.epoch = epoch.data<int64_t>();
  arguments.out = out.raw_data();
  arguments.dtype = out.dtype();
  arguments.seed = options.seed;
  for (size_t c = 0; c < 3; ++c) {
    const double deviation = options.statistics.deviation[c];
    arguments.scale[c] = static_cast<float>(1 / (255 * deviation));
    arguments.offset[c] = static_cast<float>(-options.statistics.mean[c] / deviation);
  }
  const Stream stream = current_stream(device);
  profiled(
      stream, "augment", [&] { return cost_of_arguments(pixels.view(), out.view()); },
      [&] {
        if (device.type == DeviceType::cpu)
          cpu_backend::augment(stream, arguments);
        else
          cuda_backend::augment(stream, arguments);
      });
}

}  // namespace dw
