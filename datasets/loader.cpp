// The shuffle, and the ring of batches between the workers and next().
#include "datasets/loader.h"

#include <algorithm>
#include <numeric>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace dw {
namespace {

/// Stream number of the shuffle, so that it shares no draws with other users of the same seed.
constexpr uint32_t shuffle_stream = 0x73687566;

int resolved_workers(const LoaderOptions& options, const ImageSet& set) {
  if (options.workers >= 0) return options.workers;
  return set.is_held() ? 0 : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  const PhiloxKey key{seed, shuffle_stream, static_cast<uint32_t>(epoch)};
  for (int64_t i = size - 1; i > 0; --i) {
    const PhiloxWords words = philox(key, static_cast<uint64_t>(i));
    const uint64_t draw = uint64_t{words.word[0]} << 32 | words.word[1];
    // 64 random bits against a bound below 2⁴⁰: the bias of the remainder is below 2⁻²⁴ and the same
    // everywhere.
    const auto other = static_cast<int64_t>(draw % static_cast<uint64_t>(i + 1));
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(other)]);
  }
  return order;
}

int64_t batches_in_epoch(const ImageSet& set, const LoaderOptions& options) {
  require(set.size() > 0, "{}: no pictures to load", set.name);
  require(options.batch_size > 0, "batch size {}: expected at least 1", options.batch_size);
  const int64_t batches = options.drop_last ? set.size() / options.batch_size
                                            : (set.size() + options.batch_size - 1) / options.batch_size;
  require(batches > 0, "{}: {} pictures do not fill one batch of {}", set.name, set.size(),
          options.batch_size);
  return batches;
}

Loader::Loader(const ImageSet& set, const LoaderOptions& options)
    : set_(set), options_(options), batches_per_epoch_(batches_in_epoch(set, options)) {
  options_.workers = resolved_workers(options, set);
  const int64_t slots = 1 + options_.workers + std::max<int64_t>(options.prefetch, 0);
  slots_.resize(options_.workers == 0 ? 1 : static_cast<size_t>(slots));
  start();
}

Loader::~Loader() {
  stop();
}

void Loader::start() {
  stopping_ = false;
  try {
    for (int i = 0; i < options_.workers; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {
    // No thread to be had: those already waiting must not be joined before they are told to stop.
    stop();
    throw;
  }
}

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  free_.notify_all();
  workers_.clear();  // joins
}

void Loader::seek(int64_t epoch, int64_t batch) {
  require(epoch >= 0 && batch >= 0 && batch <= batches_per_epoch_, "no batch {} of epoch {}: an epoch has {}",
          batch, epoch, batches_per_epoch_);
  stop();
  for (Slot& slot : slots_) slot.ready = false, slot.error = nullptr;
  consumed_ = claimed_ = epoch * batches_per_epoch_ + batch;
  holding_ = false;
  start();
}

const ImageBatch& Loader::next() {
  const auto slot_count = static_cast<int64_t>(slots_.size());
  if (options_.workers == 0) {
    prepare(consumed_, slots_.front().batch);
    ++consumed_;
    return slots_.front().batch;
  }
  std::unique_lock lock(mutex_);
  if (holding_) {
    slots_[static_cast<size_t>((consumed_ - 1) % slot_count)].ready = false;
    holding_ = false;
    free_.notify_all();
  }
  Slot& slot = slots_[static_cast<size_t>(consumed_ % slot_count)];
  ready_.wait(lock, [&] { return slot.ready; });
  if (slot.error) std::rethrow_exception(slot.error);
  ++consumed_;
  holding_ = true;
  return slot.batch;
}

void Loader::work() {
  const auto slot_count = static_cast<int64_t>(slots_.size());
  while (true) {
    std::unique_lock lock(mutex_);
    // The slot of ticket t is free once the caller is done with batch t - slot_count.
    free_.wait(lock, [&] { return stopping_ || claimed_ < consumed_ - (holding_ ? 1 : 0) + slot_count; });
    if (stopping_) return;
    const int64_t ticket = claimed_++;
    Slot& slot = slots_[static_cast<size_t>(ticket % slot_count)];
    lock.unlock();
    std::exception_ptr error;
    try {
      prepare(ticket, slot.batch);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    slot.error = error;
    slot.ready = true;
    lock.unlock();
    ready_.notify_one();
  }
}

void Loader::prepare(int64_t ticket, ImageBatch& batch) {
  batch.epoch = ticket / batches_per_epoch_;
  batch.number = ticket % batches_per_epoch_;
  const int64_t first = batch.number * options_.batch_size;
  const int64_t count = std::min(options_.batch_size, set_.size() - first);
  const Order order = options_.shuffle ? order_of(batch.epoch) : nullptr;
  const auto bytes = static_cast<size_t>(set_.image_bytes());
  batch.indices.resize(static_cast<size_t>(count));
  batch.labels.resize(static_cast<size_t>(count));
  batch.pixels.resize(static_cast<size_t>(count) * bytes);
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const auto position = static_cast<size_t>(first) + i;
    const int64_t index = order ? (*order)[position] : static_cast<int64_t>(position);
    batch.indices[i] = index;
    batch.labels[i] = set_.labels[static_cast<size_t>(index)];
    set_.read(index, std::span(batch.pixels).subspan(i * bytes, bytes));
  }
}

Loader::Order Loader::order_of(int64_t epoch) {
  const std::lock_guard lock(order_mutex_);
  if (order_epoch_ != epoch || !order_) {
    order_ = std::make_shared<const std::vector<int64_t>>(epoch_order(set_.size(), options_.seed, epoch));
    order_epoch_ = epoch;
  }
  return order_;
}

}  // namespace dw
