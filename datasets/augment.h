// From a batch of bytes to what a network reads: normalised, randomly cropped and flipped, on the device.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"
#include "datasets/image_set.h"

namespace dw {

enum class Augmentation : uint8_t {
  none,      ///< normalise only
  crop,      ///< and crop at random from the picture padded by 4 reflected pixels on every side
  standard,  ///< and flip left to right with probability one half
};

/// "none", "crop", "standard". UsageError for anything else.
Augmentation parse_augmentation(std::string_view name);
std::string_view name_of(Augmentation augmentation);
/// `crop` for grey pictures, which are most often digits or letters and must not be mirrored; else
/// `standard`.
Augmentation default_augmentation(const Dataset& dataset);

struct AugmentOptions {
  Augmentation augmentation = Augmentation::none;
  ChannelStatistics statistics;
  uint64_t seed = 0;
};

/// Writes (pixel / 255 - mean) / deviation of the augmented pictures to `out`.
///   pixels   u8 [n, height, width, channels], dense
///   indices  i64 [n]: which sample each picture is
///   epoch    i64 [1], read on the device, so that a captured step can be replayed
///   out      f32, f64 or bf16 [n, channels, height, width], dense channels-last
/// All on one device. The draws of a picture depend on (seed, epoch, sample index) only: not on the batch it
/// is in, nor on threads or device. Cropping needs pictures of at least 5 pixels a side.
void augment(const Tensor& pixels, const Tensor& indices, const Tensor& epoch, const AugmentOptions& options,
             const Tensor& out);

/// A whole set on a device, and which batch of it is next.
struct PicturesOnDevice {
  Tensor pixels;  ///< u8 [size, height, width, channels], dense
  Tensor labels;  ///< i64 [size]
  Tensor order;   ///< i64 [size]: the samples of an epoch in order
  Tensor epoch;   ///< i64 [1]
  Tensor first;   ///< i64 [1]: where in the order the batch begins
};

/// The same for the n samples from `first` on, with their labels to `labels`, i64 [n]. Order, epoch and first
/// are read on the device; the batch must not reach beyond the set.
void augment(const PicturesOnDevice& pictures, const AugmentOptions& options, const Tensor& out,
             const Tensor& labels);

}  // namespace dw
