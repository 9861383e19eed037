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
  HD void operator()(const PhiloxWords& words, A (&draw)[4]) const {
    for (int k = 0; k < 4; ++k) draw[k] = std::fma(width, static_cast<A>(uniform_from(words.word[k])), low);
  }
};

/// Box & Muller (1958): two words give two normals.
template <typename A>
struct Normal {
  A mean, deviation;
  HD void operator()(const PhiloxWords& words, A (&draw)[4]) const {
    for (int k = 0; k < 4; k += 2) {
      // All 32 bits and never 0: the tail reaches 6.6 deviations.
      const A positive = (static_cast<A>(words.word[k]) + A(0.5)) * A(0x1p-32);
      const A radius = deviation * std::sqrt(A(-2) * std::log(positive));
      const A angle = A(6.283185307179586) * static_cast<A>(uniform_from(words.word[k + 1]));
      draw[k] = mean + radius * std::cos(angle);
      draw[k + 1] = mean + radius * std::sin(angle);
    }
  }
};

template <typename A>
struct Bernoulli {
  uint32_t threshold;  ///< of 24 bits: uniform < probability where they are below it
  A value;
  HD void operator()(const PhiloxWords& words, A (&draw)[4]) const {
    for (int k = 0; k < 4; ++k) draw[k] = words.word[k] >> 8 < threshold ? value : A(0);
  }
};

template <typename T, typename Draw>
struct RandomBody {
  RandomKey key;
  T* out;
  int64_t count;
  Draw draw_four;
  HD void operator()(int64_t group) const {
    Arithmetic<T> draw[4];
    draw_four(philox(key.at_step(), static_cast<uint64_t>(group)), draw);
    T* to = out + 4 * group;
    const int64_t left = count - 4 * group;
    if (left >= 4)
      for (int k = 0; k < 4; ++k) to[k] = store<T>(draw[k]);
    else
      for (int k = 0; k < left; ++k) to[k] = store<T>(draw[k]);
  }
};

/// A task draws four elements, at about the cost of moving this many.
constexpr int64_t draw_cost = 64;

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
    for_each_index(stream, (count + 3) / 4, RandomBody<T, D>{key, static_cast<T*>(out.data), count, draw},
                   draw_cost);
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
