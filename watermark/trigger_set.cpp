#include "watermark/trigger_set.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "core/files.h"
#include "core/strict_json.h"
#include "kernels/error.h"
#include "watermark/reader.h"
#include "watermark/schemes/key_numbers.h"
#include "watermark/schemes/schemes.h"

namespace dw {
namespace {

constexpr int64_t most_triggers = 100'000;
constexpr int64_t most_classes = 1'000'000;
constexpr int64_t most_pixels_a_side = 4096;
constexpr int64_t most_bytes = int64_t{1} << 30;
constexpr size_t file_limit = size_t{1} << 26;

KeyNumbers numbers_of(const Secret& master, const Statement& statement, std::string_view purpose) {
  const CanonicalBytes message = CanonicalBytes()
                                     .text("deepwater scheme v1")
                                     .text("trigger-set")
                                     .text(purpose)
                                     .raw(canonical_bytes(statement));
  return KeyNumbers(Hasher(master).update(message.bytes()).finish());
}

bool parse(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

int64_t trigger_count(const Mark& mark) {
  return whole_parameter(mark, "triggers", 1, most_triggers);
}

int64_t trigger_classes(const Mark& mark) {
  return whole_parameter(mark, "classes", 2, most_classes);
}

std::vector<int64_t> trigger_labels(const Secret& master, const Statement& statement, const Mark& mark) {
  KeyNumbers numbers = numbers_of(master, statement, "labels");
  std::vector<int64_t> labels(static_cast<size_t>(trigger_count(mark)));
  for (int64_t& label : labels) label = numbers.below(static_cast<uint32_t>(trigger_classes(mark)));
  return labels;
}

TriggerSet trigger_set_of(const Secret& master, const Statement& statement, const Mark& mark) {
  TriggerSet set;
  set.count = trigger_count(mark);
  set.classes = trigger_classes(mark);
  set.channels = whole_parameter(mark, "channels", 1, 3);
  set.height = whole_parameter(mark, "height", 1, most_pixels_a_side);
  set.width = whole_parameter(mark, "width", 1, most_pixels_a_side);
  const int64_t cells = whole_parameter(mark, "cells", 1, 256);
  const int64_t bytes = set.height * set.width * set.channels;
  require(bytes <= most_bytes / set.count, "{} triggers of {} bytes each, expected at most {} together",
          set.count, bytes, most_bytes);
  set.labels = trigger_labels(master, statement, mark);
  KeyNumbers numbers = numbers_of(master, statement, "pictures");
  set.pixels.resize(static_cast<size_t>(set.count * bytes));
  std::vector<uint8_t> colours(static_cast<size_t>(cells * cells * set.channels));
  uint8_t* pixel = set.pixels.data();
  for (int64_t i = 0; i < set.count; ++i) {
    for (uint8_t& colour : colours) colour = static_cast<uint8_t>(numbers.word() >> 24);
    for (int64_t y = 0; y < set.height; ++y) {
      for (int64_t x = 0; x < set.width; ++x) {
        const int64_t cell = y * cells / set.height * cells + x * cells / set.width;
        for (int64_t c = 0; c < set.channels; ++c)
          *pixel++ = colours[static_cast<size_t>(cell * set.channels + c)];
      }
    }
  }
  return set;
}

std::vector<int64_t> read_predictions(const std::filesystem::path& path, int64_t count) {
  const std::string text = read_text_file(path, file_limit);
  std::vector<int64_t> labels(static_cast<size_t>(count), -1);
  int64_t line_number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (++line_number == 1) {
      require(line == "index,label", "{}: expected \"index,label\" in the first line, found \"{}\"",
              path.string(), shortened(line));
      continue;
    }
    const size_t comma = std::min(line.find(','), line.size());
    int64_t index = 0, label = 0;
    const bool is_pair =
        comma < line.size() && parse(line.substr(0, comma), index) && parse(line.substr(comma + 1), label);
    require(is_pair && index >= 0 && index < count && label >= 0,
            "{}: line {}: expected an index from 0 to {} and a label, found \"{}\"", path.string(),
            line_number, count - 1, shortened(line));
    require(labels[static_cast<size_t>(index)] < 0, "{}: line {}: index {} comes twice", path.string(),
            line_number, index);
    labels[static_cast<size_t>(index)] = label;
  }
  require(line_number > 0, "{}: expected predictions, found an empty file", path.string());
  return labels;
}

void write_predictions(std::span<const int64_t> labels, const std::filesystem::path& path) {
  std::string text = "index,label\n";
  for (size_t i = 0; i < labels.size(); ++i) text += fmt::format("{},{}\n", i, labels[i]);
  write_file_atomically(path, text);
}

std::vector<BinomialDraw> strangers_agreement(std::span<const int64_t> predictions,
                                              const Statement& statement, const Mark& mark, uint64_t seed,
                                              int count) {
  std::vector<BinomialDraw> draws(static_cast<size_t>(count));
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < draws.size(); ++i) {
    const std::vector<int64_t> labels = trigger_labels(null_master(seed, i), statement, mark);
    for (size_t k = 0; k < labels.size(); ++k) draws[i].successes += labels[k] == predictions[k];
    draws[i].trials = static_cast<int64_t>(labels.size());
  }
  return draws;
}

}  // namespace dw
