// Batches of pictures in an order that depends on the seed and the epoch only, prepared ahead by worker
// threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "datasets/image_set.h"

namespace dw {

/// The samples of an epoch in order: a Fisher-Yates shuffle of [0, size) driven by Philox keyed by (seed,
/// epoch). `epoch` from 0, below 2³².
std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch);

struct LoaderOptions {
  int64_t batch_size = 64;
  uint64_t seed = 0;
  bool shuffle = true;     ///< false: stored order, every epoch
  bool drop_last = false;  ///< leave out the last batch of an epoch when it is not full
  /// Threads that prepare batches ahead; 0: next() prepares its own; -1: 0 for sets held in memory (gathering
  /// a batch takes less than handing it over and would take a core from the training step), else one per
  /// core.
  int workers = -1;
  int64_t prefetch = 2;  ///< batches ready ahead, beyond one per worker
};

/// Batches in an epoch. Errors: empty set, batch_size < 1, no full batch when drop_last.
int64_t batches_in_epoch(const ImageSet& set, const LoaderOptions& options);

/// One batch on the host. Valid until the next call of next() or seek(), or the end of the loader.
struct ImageBatch {
  int64_t epoch = 0;
  int64_t number = 0;            ///< within the epoch, from 0
  std::vector<int64_t> indices;  ///< [n] which samples
  std::vector<int64_t> labels;   ///< [n]
  std::vector<uint8_t> pixels;   ///< [n, height, width, channels]; capacity is reused

  int64_t size() const { return static_cast<int64_t>(indices.size()); }
};

/// An endless sequence of batches: epoch 0, epoch 1, ... For one seed it is the same whatever `workers` is.
/// Not thread-safe itself; destruction at any moment waits only for pictures being decoded.
class Loader {
 public:
  /// `set` must outlive the loader. Errors: of batches_in_epoch().
  Loader(const ImageSet& set, const LoaderOptions& options);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();

  int64_t batches_per_epoch() const { return batches_per_epoch_; }

  /// The next batch. Rethrows what went wrong while preparing it; calling again repeats the error.
  const ImageBatch& next();

  /// Makes `batch` of `epoch` the next one, whatever was prefetched: exact resume.
  void seek(int64_t epoch, int64_t batch = 0);

 private:
  struct Slot {
    ImageBatch batch;
    std::exception_ptr error;
    bool ready = false;
  };
  using Order = std::shared_ptr<const std::vector<int64_t>>;

  void start();
  void stop();
  void work();
  void prepare(int64_t ticket, ImageBatch& batch);
  Order order_of(int64_t epoch);

  const ImageSet& set_;
  LoaderOptions options_;
  int64_t batches_per_epoch_ = 0;

  std::mutex mutex_;
  std::condition_variable ready_;
  std::condition_variable free_;
  std::vector<Slot> slots_;  ///< batch number t (counted over all epochs) is prepared in slot t % size
  int64_t claimed_ = 0;      ///< next ticket for a worker
  int64_t consumed_ = 0;     ///< next ticket for next()
  bool holding_ = false;     ///< the caller still reads batch consumed_ - 1
  bool stopping_ = false;
  std::vector<std::jthread> workers_;

  std::mutex order_mutex_;
  int64_t order_epoch_ = -1;
  Order order_;
};

}  // namespace dw
