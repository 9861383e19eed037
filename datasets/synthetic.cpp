// A procedural data set for machines without real pictures: ten classes of drawn shapes and textures, 32 × 32
// RGB. Position, size, rotation and both colours are random, so neither colour nor any single pixel tells the
// class: a linear classifier stays near chance while a small convolutional network learns it. All arithmetic
// is on integers, so the pictures are the same bits on every machine.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "datasets/parallel.h"
#include "datasets/readers.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace dw {
namespace {

constexpr int64_t side = 32;
constexpr int one = 256;  // fixed-point units of a pixel
constexpr std::array<std::string_view, 10> class_names{"disc", "ring",     "triangle", "square",  "cross",
                                                       "star", "crescent", "rows",     "columns", "checker"};

using Colour = std::array<int, 3>;

/// The random draws of one picture.
class Draws {
 public:
  Draws(uint64_t seed, uint32_t split, int64_t image)
      : key_{seed, 0x73796e74, split}, element_(static_cast<uint64_t>(image) << 24) {}

  /// Uniform in [low, high].
  int between(int low, int high) {
    const auto range = static_cast<uint64_t>(high - low + 1);
    return low + static_cast<int>(next() * range >> 32);
  }
  Colour colour() { return {between(0, 255), between(0, 255), between(0, 255)}; }

 private:
  uint64_t next() {
    if (used_ == 4) {
      words_ = philox(key_, element_++);
      used_ = 0;
    }
    return words_.word[used_++];
  }
  PhiloxKey key_;
  uint64_t element_;
  PhiloxWords words_{};
  size_t used_ = 4;
};

/// A rotation by integers: with t = n / 256, cos = (1 − t²) / (1 + t²) and sin = 2t / (1 + t²), times 2¹⁴.
struct Rotation {
  int cosine = 1 << 14;
  int sine = 0;

  static Rotation from_half_tangent(int n) {
    const int64_t square = int64_t{n} * n, whole = one * one;
    return {static_cast<int>(((whole - square) << 14) / (whole + square)),
            static_cast<int>((int64_t{2} * n * one << 14) / (whole + square))};
  }
  Rotation half_turn() const { return {-cosine, -sine}; }
};

struct Figure {
  int label = 0;
  int x = 0, y = 0, radius = 0;  ///< in fixed-point pixels
  Rotation rotation;
  int period = 0;  ///< of textures
};

bool in_star(int u, int v, int radius) {
  // Normals of the pentagram's five lines, times 1024; a point is inside when at most one line excludes it.
  constexpr std::array<std::array<int, 2>, 5> normals{
      {{0, 1024}, {-974, 316}, {-602, -828}, {602, -828}, {974, 316}}};
  int excluded = 0;
  for (const auto& n : normals) excluded += -(u * n[0] + v * n[1]) > 380 * radius;
  return excluded <= 1;
}

/// Whether the figure covers the point (u, v), given in the figure's own frame.
bool covers(const Figure& figure, int u, int v) {
  const int r = figure.radius;
  const int a = std::abs(u), b = std::abs(v);
  const int distance = u * u + v * v;
  switch (figure.label) {
    case 0:
      return distance <= r * r;
    case 1:
      return distance <= r * r && distance * 10 >= r * r * 4;
    case 2:
      return v >= -r / 2 && a * 1774 / 1024 + v <= r;
    case 3:
      return std::max(a, b) * 5 <= r * 4;
    case 4:
      return std::min(a, b) * 10 <= r * 3 && std::max(a, b) <= r;
    case 5:
      return in_star(u, v, r);
    case 6: {
      const int shifted = u - r / 2;
      return distance <= r * r && (shifted * shifted + v * v) * 10 > r * r * 7;
    }
    default:
      break;
  }
  if (distance > r * r) return false;
  const int row = (v + 64 * figure.period) / figure.period % 2;
  const int column = (u + 64 * figure.period) / figure.period % 2;
  return figure.label == 7 ? row == 0 : figure.label == 8 ? column == 0 : row == column;
}

/// Calls paint(x, y, sixteenths) for every pixel that the region inside(dx, dy), centred at (x, y), covers.
template <typename Inside, typename Paint>
void rasterise(int centre_x, int centre_y, int reach, Inside&& inside, Paint&& paint) {
  constexpr int samples = 4;
  const auto clamp = [](int value) { return std::clamp(value / one, 0, static_cast<int>(side) - 1); };
  for (int y = clamp(centre_y - reach); y <= clamp(centre_y + reach); ++y)
    for (int x = clamp(centre_x - reach); x <= clamp(centre_x + reach); ++x) {
      int covered = 0;
      for (int s = 0; s < samples * samples; ++s) {
        const int dx = x * one + (2 * (s % samples) + 1) * one / (2 * samples) - centre_x;
        const int dy = y * one + (2 * (s / samples) + 1) * one / (2 * samples) - centre_y;
        covered += inside(dx, dy);
      }
      if (covered > 0) paint(x, y, covered);
    }
}

class Canvas {
 public:
  Canvas(std::span<uint8_t> pixels, Draws& draws) : pixels_(pixels), draws_(draws) {}

  /// A linear shade from one colour to a similar one, in a random direction.
  void background(const Colour& colour) {
    const int slope_x = draws_.between(-2, 2), slope_y = draws_.between(-2, 2);
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x)
        for (size_t c = 0; c < 3; ++c)
          at(x, y, c) = clamped(colour[c] + slope_x * (x - side / 2) + slope_y * (y - side / 2));
  }

  void figure(const Figure& figure, const Colour& colour) {
    rasterise(
        figure.x, figure.y, figure.radius * 3 / 2,
        [&](int dx, int dy) {
          const auto& [cosine, sine] = figure.rotation;
          return covers(figure, (dx * cosine + dy * sine) >> 14, (dy * cosine - dx * sine) >> 14);
        },
        [&](int x, int y, int sixteenths) { blend(x, y, colour, sixteenths); });
  }

  /// A short bar of random colour somewhere.
  void clutter() {
    const int x = draws_.between(0, side * one), y = draws_.between(0, side * one);
    const int length = draws_.between(one, 3 * one), breadth = draws_.between(one / 2, one);
    const Rotation rotation = Rotation::from_half_tangent(draws_.between(-one, one));
    const Colour colour = draws_.colour();
    rasterise(
        x, y, length + breadth,
        [&](int dx, int dy) {
          const int u = (dx * rotation.cosine + dy * rotation.sine) >> 14;
          const int v = (dy * rotation.cosine - dx * rotation.sine) >> 14;
          return std::abs(u) <= length && std::abs(v) <= breadth;
        },
        [&](int px, int py, int sixteenths) { blend(px, py, colour, sixteenths); });
  }

  void noise(int amplitude) {
    for (uint8_t& pixel : pixels_) pixel = clamped(pixel + draws_.between(-amplitude, amplitude));
  }

 private:
  static uint8_t clamped(int value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }
  uint8_t& at(int64_t x, int64_t y, size_t channel) {
    return pixels_[static_cast<size_t>(y * side + x) * 3 + channel];
  }
  void blend(int x, int y, const Colour& colour, int sixteenths) {
    for (size_t c = 0; c < 3; ++c)
      at(x, y, c) = clamped((at(x, y, c) * (16 - sixteenths) + colour[c] * sixteenths) / 16);
  }

  std::span<uint8_t> pixels_;
  Draws& draws_;
};

int contrast(const Colour& a, const Colour& b) {
  int sum = 0;
  for (size_t c = 0; c < 3; ++c) sum += std::abs(a[c] - b[c]);
  return sum;
}

void draw_image(int label, Draws& draws, std::span<uint8_t> pixels) {
  constexpr int least_contrast = 140;
  const Colour ground = draws.colour();
  Colour ink = draws.colour();
  while (contrast(ground, ink) < least_contrast) ink = draws.colour();

  Figure figure;
  figure.label = label;
  figure.radius = draws.between(6 * one, 12 * one);
  const int margin = figure.radius * 7 / 8;
  figure.x = draws.between(margin, side * one - margin);
  figure.y = draws.between(margin, side * one - margin);
  // The direction of rows and columns is their class: only they are turned by a little.
  const bool texture = label >= 7;
  const int most_turn = texture ? one / 12 : one;
  figure.rotation = Rotation::from_half_tangent(draws.between(-most_turn, most_turn));
  if (!texture && draws.between(0, 1) == 1) figure.rotation = figure.rotation.half_turn();
  figure.period = draws.between(2 * one, 3 * one);

  Canvas canvas(pixels, draws);
  canvas.background(ground);
  for (int i = draws.between(2, 6); i > 0; --i) canvas.clutter();
  canvas.figure(figure, ink);
  for (int i = draws.between(0, 2); i > 0; --i) canvas.clutter();
  canvas.noise(draws.between(2, 28));
}

struct Request {
  int64_t train = 8000;
  int64_t test = 2000;
  uint64_t seed = 1;
};

Request parse(const std::string& spec) {
  constexpr int64_t most = 1'000'000;
  Request request;
  const std::string_view prefix = "synthetic";
  std::string_view rest = std::string_view(spec).substr(prefix.size());
  if (!rest.empty()) rest.remove_prefix(1);
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    const std::string_view text = equals == std::string_view::npos ? "" : item.substr(equals + 1);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_seed = name == "seed";
    const bool known = is_seed || name == "train" || name == "test";
    const bool number = error == std::errc{} && end == text.data() + text.size() && !text.empty();
    if (!known || !number || (!is_seed && (value < 1 || value > most)))
      throw UsageError(fmt::format(
          "\"{}\" in \"{}\": expected synthetic[:train=N,test=N,seed=N], N from 1 to {}", item, spec, most));
    if (is_seed)
      request.seed = value;
    else
      (name == "train" ? request.train : request.test) = static_cast<int64_t>(value);
  }
  return request;
}

ImageSet draw_set(const std::string& name, uint64_t seed, uint32_t split, int64_t count,
                  const ProgressCallback& progress) {
  ImageSet set;
  set.name = name;
  set.height = set.width = side;
  set.channels = 3;
  set.classes.assign(class_names.begin(), class_names.end());
  const auto classes = static_cast<int64_t>(class_names.size());
  for (int64_t i = 0; i < count; ++i) set.labels.push_back(i % classes);
  const auto bytes = static_cast<size_t>(set.image_bytes());
  set.pixels.resize(static_cast<size_t>(count) * bytes);
  for_each_image(count, progress, [&](int64_t i) {
    Draws draws(seed, split, i);
    draw_image(static_cast<int>(i % classes), draws,
               std::span(set.pixels).subspan(static_cast<size_t>(i) * bytes, bytes));
  });
  return set;
}

}  // namespace

bool is_synthetic(const std::string& spec) {
  return spec == "synthetic" || spec.starts_with("synthetic:");
}

Dataset read_synthetic(const std::string& spec, const LoadOptions& options) {
  const Request request = parse(spec);
  Dataset dataset;
  dataset.name = "synthetic";
  dataset.train = draw_set(spec + " (train)", request.seed, 0, request.train, options.progress);
  dataset.test = draw_set(spec + " (test)", request.seed, 1, request.test, options.progress);
  return dataset;
}

}  // namespace dw
