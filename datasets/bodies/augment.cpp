// Random crop, flip and normalisation in one pass: a CUDA thread per pixel; on the CPU a task per picture
// that goes along rows in chunks the compiler turns into vector code. Floor: each pixel in, each value out.
#include "datasets/bodies/augment.h"

#include "kernels/bodies/element.h"
#include "kernels/bodies/parallel.h"
#include "kernels/philox.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

constexpr int64_t padding = 4;
/// Stream number of these draws, so that they share none with other users of the same seed.
constexpr uint32_t augment_stream = 0x61756720;

/// Which sample of the set, and which of the pictures in `pixels`.
struct Picture {
  int64_t number, place;
};

/// Where a picture's pixels come from.
struct Placement {
  int64_t shift_y = 0, shift_x = 0;
  bool flipped = false;
};

/// Position of padded coordinate `i` in [-padding, size + padding) within [0, size).
HD inline int64_t reflected(int64_t i, int64_t size) {
  if (i < 0) i = -i;
  return i < size ? i : 2 * (size - 1) - i;
}

template <typename T, int channels>
struct AugmentBody {
  AugmentArguments a;

  HD void operator()(int64_t task) const {
    if constexpr (on_cuda) {
      const int64_t x = task % a.width, y = task / a.width % a.height, image = task / (a.width * a.height);
      const Picture picture = picture_of(image);
      if (x == 0 && y == 0) write_label(image, picture);
      const Placement placement = place(picture);
      const uint8_t* from = source_row(picture, y, placement) + source_x(x, placement) * channels;
      T* to = static_cast<T*>(a.out) + task * channels;
      for (int c = 0; c < channels; ++c) to[c] = normalised(from[c], c);
    } else {
      const Picture picture = picture_of(task);
      write_label(task, picture);
      const Placement placement = place(picture);
      for (int64_t y = 0; y < a.height; ++y) {
        T* to = static_cast<T*>(a.out) + (task * a.height + y) * a.width * channels;
        write_row(source_row(picture, y, placement), placement, to);
      }
    }
  }

 private:
  HD Picture picture_of(int64_t image) const {
    const int64_t number = a.indices[a.first != nullptr ? *a.first + image : image];
    return {number, a.first != nullptr ? number : image};
  }
  HD void write_label(int64_t image, const Picture& picture) const {
    if (a.first != nullptr) a.out_labels[image] = a.labels[picture.number];
  }

  HD Placement place(const Picture& picture) const {
    if (!a.crop && !a.flip) return {};
    const PhiloxKey key{a.seed, augment_stream, static_cast<uint32_t>(*a.epoch)};
    const PhiloxWords words = philox(key, static_cast<uint64_t>(picture.number));
    const auto shift = [](uint32_t word) {
      constexpr uint64_t positions = 2 * padding + 1;
      return static_cast<int64_t>(word * positions >> 32) - padding;
    };
    return {a.crop ? shift(words.word[0]) : 0, a.crop ? shift(words.word[1]) : 0,
            a.flip && (words.word[2] >> 31) != 0};
  }

  HD const uint8_t* source_row(const Picture& picture, int64_t y, const Placement& placement) const {
    return a.pixels +
           (picture.place * a.height + reflected(y + placement.shift_y, a.height)) * a.width * channels;
  }
  HD int64_t source_x(int64_t x, const Placement& placement) const {
    return reflected((placement.flipped ? a.width - 1 - x : x) + placement.shift_x, a.width);
  }
  HD T normalised(uint8_t value, int channel) const {
    return store<T>(static_cast<float>(value) * a.scale[channel] + a.offset[channel]);
  }

  void write_row(const uint8_t* from, const Placement& placement, T* to) const {
    constexpr int64_t chunk = 16;
    constexpr int values = chunk * channels;
    float scale[values], offset[values];
    for (int i = 0; i < values; ++i) {
      scale[i] = a.scale[i % channels];
      offset[i] = a.offset[i % channels];
    }
    int64_t x = 0;
    for (; x + chunk <= a.width; x += chunk, to += values) {
      uint8_t gathered[values];
      const uint8_t* in = gathered;
      const int64_t first = x + placement.shift_x;
      if (!placement.flipped && first >= 0 && first + chunk <= a.width) {
        in = from + first * channels;
      } else {
        for (int64_t i = 0; i < chunk; ++i) {
          const uint8_t* pixel = from + source_x(x + i, placement) * channels;
          for (int c = 0; c < channels; ++c) gathered[i * channels + c] = pixel[c];
        }
      }
#pragma GCC ivdep
      for (int i = 0; i < values; ++i) to[i] = store<T>(static_cast<float>(in[i]) * scale[i] + offset[i]);
    }
    for (; x < a.width; ++x, to += channels)
      for (int c = 0; c < channels; ++c) to[c] = normalised(from[source_x(x, placement) * channels + c], c);
  }
};

template <typename T, int channels>
void launch(Stream stream, const AugmentArguments& arguments) {
  const int64_t pixels = arguments.height * arguments.width;
  for_each_index(stream, on_cuda ? arguments.count * pixels : arguments.count,
                 AugmentBody<T, channels>{arguments}, pixels * channels);
}

}  // namespace

void augment(Stream stream, const AugmentArguments& arguments) {
  dispatch_floating(arguments.dtype, "augment", [&](auto zero) {
    using T = decltype(zero);
    if (arguments.channels == 1)
      launch<T, 1>(stream, arguments);
    else
      launch<T, 3>(stream, arguments);
  });
}

}  // namespace dw::DEEPWATER_BACKEND
