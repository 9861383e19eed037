// Checks tensors and hands them to the augmentation kernel of their device.
#include "datasets/augment.h"

#include "datasets/bodies/augment.h"
#include "kernels/error.h"
#include "kernels/graph.h"
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

namespace {

void require_numbers(const Tensor& tensor, int64_t count, const char* what) {
  require(tensor.dtype() == DType::i64 && tensor.is_dense() && tensor.shape() == Shape{count},
          "augment expects i64 {} [{}], found {} {}", what, count, name_of(tensor.dtype()),
          to_string(tensor.shape()));
}

// All but which picture each output is.
AugmentArguments arguments_for(const Tensor& pixels, const AugmentOptions& options, const Tensor& out) {
  constexpr int64_t least_side_for_crop = 5;  // reflecting 4 pixels needs 4 beside the border
  require(pixels.dtype() == DType::u8 && pixels.rank() == 4 && pixels.is_dense() &&
              (pixels.size(3) == 1 || pixels.size(3) == 3),
          "augment expects dense u8 pixels [n, height, width, 1 or 3], found {} {}", name_of(pixels.dtype()),
          to_string(pixels.shape()));
  AugmentArguments arguments;
  arguments.height = pixels.size(1);
  arguments.width = pixels.size(2);
  arguments.channels = pixels.size(3);
  arguments.count = out.rank() == 4 ? out.size(0) : 0;
  const Shape expected{arguments.count, arguments.channels, arguments.height, arguments.width};
  require(out.shape() == expected && is_floating(out.dtype()) && out.is_dense(Layout::channels_last),
          "augment expects a floating, channels-last output {}, found {} {}", to_string(expected),
          name_of(out.dtype()), to_string(out.shape()));
  arguments.crop = options.augmentation != Augmentation::none;
  arguments.flip = options.augmentation == Augmentation::standard;
  require(
      !arguments.crop || (arguments.height >= least_side_for_crop && arguments.width >= least_side_for_crop),
      "pictures of {} x {} are too small to crop: at least {} pixels a side", arguments.width,
      arguments.height, least_side_for_crop);
  arguments.pixels = pixels.data<uint8_t>();
  arguments.out = out.raw_data();
  arguments.dtype = out.dtype();
  arguments.seed = options.seed;
  for (size_t c = 0; c < 3; ++c) {
    const double deviation = options.statistics.deviation[c];
    arguments.scale[c] = static_cast<float>(1 / (255 * deviation));
    arguments.offset[c] = static_cast<float>(-options.statistics.mean[c] / deviation);
  }
  return arguments;
}

void run(const Tensor& pixels, const Tensor& out, std::initializer_list<Tensor> tensors,
         const AugmentArguments& arguments) {
  const Device device = out.device();
  for (const Tensor& tensor : tensors)
    require(tensor.device() == device, "augment expects all tensors on {}, found one on {}",
            to_string(device), to_string(tensor.device()));
  const Stream stream = current_stream(device);
  const auto cost = [&] {
    View read = pixels.view();
    read.shape[0] = arguments.count;
    return cost_of_arguments(read, out.view());
  };
  profiled(stream, "augment", cost, [&] {
    if (device.type == DeviceType::cpu)
      queue_on_cpu([=] { cpu_backend::augment(stream, arguments); });
    else
      cuda_backend::augment(stream, arguments);
  });
}

}  // namespace

void augment(const Tensor& pixels, const Tensor& indices, const Tensor& epoch, const AugmentOptions& options,
             const Tensor& out) {
  AugmentArguments arguments = arguments_for(pixels, options, out);
  require(pixels.size(0) == arguments.count, "augment of {} pictures into {}", pixels.size(0),
          arguments.count);
  require_numbers(indices, arguments.count, "indices");
  require_numbers(epoch, 1, "epoch");
  arguments.indices = indices.data<int64_t>();
  arguments.epoch = epoch.data<int64_t>();
  run(pixels, out, {pixels, indices, epoch}, arguments);
}

void augment(const PicturesOnDevice& pictures, const AugmentOptions& options, const Tensor& out,
             const Tensor& labels) {
  const int64_t size = pictures.pixels.size(0);
  AugmentArguments arguments = arguments_for(pictures.pixels, options, out);
  require_numbers(pictures.labels, size, "labels of the set");
  require_numbers(pictures.order, size, "order");
  require_numbers(pictures.epoch, 1, "epoch");
  require_numbers(pictures.first, 1, "first");
  require_numbers(labels, arguments.count, "labels");
  arguments.indices = pictures.order.data<int64_t>();
  arguments.first = pictures.first.data<int64_t>();
  arguments.labels = pictures.labels.data<int64_t>();
  arguments.out_labels = labels.data<int64_t>();
  arguments.epoch = pictures.epoch.data<int64_t>();
  run(pictures.pixels, out,
      {pictures.pixels, pictures.labels, pictures.order, pictures.epoch, pictures.first, labels}, arguments);
}

}  // namespace dw
