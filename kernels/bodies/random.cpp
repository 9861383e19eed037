// Random fills: element i is word i mod 4 of philox(key, i / 4), whatever the threads or the device.
// Floor: the bytes of the output.
#include <cmath>

#include "kernels/bodies/element.h"
#include "kernels/table.h"

namespace dw::DEEPWATER_BACKEND {
namespace {

template <typename A>
struct Uniform {
  A low, width;
  template <int words>
  HD void operator()(const uint32_t (&word)[words], A (&draw)[words]) const {
    for (int k = 0; k < words; ++k) draw[k] = std::fma(width, static_cast<A>(uniform_from(word[k])), low);
  }
};

/// Box & Muller (1958): two words give two normals. What calls the mathematical library does nothing else, so
/// that no more than its argument has to be saved.
template <typename A>
struct Normal {
  A mean, deviation;
  template <int words>
  HD void operator()(const uint32_t (&word)[words], A (&draw)[words]) const {
    A radius[words / 2], sine[words / 2], cosine[words / 2];
    // All 32 bits and never 0: the tail reaches 6.6 deviations.
    for (int k = 0; k < words / 2; ++k) radius[k] = (static_cast<A>(word[2 * k]) + A(0.5)) * A(0x1p-32);
    for (A& value : radius) value = std::log(value);
    for (int k = 0; k < words / 2; ++k) {
      const A angle = A(6.283185307179586) * static_cast<A>(uniform_from(word[2 * k + 1]));
      sine[k] = std::sin(angle);
      cosine[k] = std::cos(angle);
    }
    for (int k = 0; k < words / 2; ++k) {
      const A scaled = deviation * std::sqrt(A(-2) * radius[k]);
      draw[2 * k] = mean + scaled * cosine[k];
      draw[2 * k + 1] = mean + scaled * sine[k];
    }
  }
};

template <typename A>
struct Bernoulli {
  uint32_t threshold;  ///< of 24 bits: uniform < probability where they are below it
  A value;
  template <int words>
  HD void operator()(const uint32_t (&word)[words], A (&draw)[words]) const {
    for (int k = 0; k < words; ++k) draw[k] = word[k] >> 8 < threshold ? value : A(0);
  }
};

/// Elements that a task draws: on the CPU some dozens, for loops of one thing each.
constexpr int elements = on_cuda ? 4 : 64;

template <typename T, typename Draw>
struct RandomBody {
  RandomKey key;
  T* out;
  int64_t count;
  Draw draw_all;
  HD void operator()(int64_t task) const {
    const PhiloxKey own_key = key.at_step();
    uint32_t word[elements];
    for (int i = 0; i < elements; i += 4) {
      const PhiloxWords words = philox(own_key, static_cast<uint64_t>((task * elements + i) / 4));
      for (int k = 0; k < 4; ++k) word[i + k] = words.word[k];
    }
    Arithmetic<T> draw[elements];
    draw_all(word, draw);
    const int64_t first = task * elements, left = count - first;
    if (left >= elements)
      for (int k = 0; k < elements; ++k) out[first + k] = store<T>(draw[k]);
    else
      for (int k = 0; k < left; ++k) out[first + k] = store<T>(draw[k]);
  }
};

/// An element costs about as much as moving this many.
constexpr int64_t draw_cost = 16;

template <template <typename> class Draw, typename First, typename Second>
void draw_into(Stream stream, RandomKey key, const View& out, First first, Second second) {
  dispatch_floating(out.dtype, "random fill", [&](auto zero) {
    using T = decltype(zero);
    using D = Draw<Arithmetic<T>>;
    D draw{};
    auto& [a, b] = draw;
    a = static_cast<std::remove_reference_t<decltype(a)>>(first);
    b = static_cast<std::remove_reference_t<decltype(b)>>(second);
    const int64_t count = out.numel();
    for_each_index(stream, (count + elements - 1) / elements,
                   RandomBody<T, D>{key, static_cast<T*>(out.data), count, draw}, elements * draw_cost);
  });
}

void uniform(Stream stream, RandomKey key, const View& out, double low, double high) {
  draw_into<Uniform>(stream, key, out, low, high - low);
}

void normal(Stream stream, RandomKey key, const View& out, double mean, double deviation) {
  draw_into<Normal>(stream, key, out, mean, deviation);
}

void bernoulli(Stream stream, RandomKey key, const View& out, double probability, double value) {
  require(probability >= 0 && probability <= 1, "bernoulli: a probability lies in [0, 1], found {}",
          probability);
  draw_into<Bernoulli>(stream, key, out, std::ceil(probability * 0x1p24), value);
}

}  // namespace

void add_random(KernelTable& table) {
  table.uniform = uniform;
  table.normal = normal;
  table.bernoulli = bernoulli;
}

}  // namespace dw::DEEPWATER_BACKEND
