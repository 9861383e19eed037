// The black-box companion as a scheme: its pictures join every training batch. Read from predictions
// (watermark/trigger_set.h), never from weights.
#include "watermark/trigger_set.h"

#include "core/ops.h"
#include "core/tape.h"
#include "watermark/schemes/options.h"
#include "watermark/schemes/schemes.h"

namespace dw {
namespace {

// Appends to each batch the next few triggers in turn.
class WithTriggers : public BatchSource {
 public:
  WithTriggers(BatchSource& batches, const TriggerSet& triggers, const PictureFormat& format, int64_t share)
      : batches_(batches), count_(triggers.count), share_(std::min(share, triggers.count)) {
    std::vector<float> values(triggers.pixels.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t channel = i % static_cast<size_t>(triggers.channels);
      values[i] =
          (static_cast<float>(triggers.pixels[i]) / 255 - format.mean[channel]) / format.deviation[channel];
    }
    images_ = Tensor::from(values, {triggers.count, triggers.height, triggers.width, triggers.channels})
                  .permute({0, 3, 1, 2});
    labels_ = Tensor::from(triggers.labels, {triggers.count});
  }

  int64_t batches() const override { return batches_.batches(); }
  void seek(int64_t epoch, int64_t batch) override {
    batches_.seek(epoch, batch);
    number_ = epoch * batches() + batch;
  }
  Batch next() override {
    const NoGrad pause;
    const Batch batch = batches_.next();
    images_ = images_.to(batch.images.device());
    labels_ = labels_.to(batch.images.device());
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < share_; ++i) chosen.push_back((number_ * share_ + i) % count_);
    ++number_;
    const Tensor index = Tensor::from(chosen, {share_}, batch.images.device());
    const Tensor pictures = gather_rows(images_, index).to(batch.images.dtype());
    return {concatenate({batch.images, pictures}, 0).contiguous(Layout::channels_last),
            concatenate({batch.labels, gather_rows(labels_, index)}, 0)};
  }

 private:
  BatchSource& batches_;
  int64_t count_, share_, number_ = 0;
  Tensor images_, labels_;
};

class TriggerEmbedding : public Embedding {
 public:
  TriggerEmbedding(Mark mark, TriggerSet triggers, const PictureFormat& format, int64_t share)
      : mark_(std::move(mark)), triggers_(std::move(triggers)), format_(format), share_(share) {}
  const Mark& mark() const override { return mark_; }
  std::unique_ptr<BatchSource> batches(BatchSource& batches) override {
    return std::make_unique<WithTriggers>(batches, triggers_, format_, share_);
  }

 private:
  Mark mark_;
  TriggerSet triggers_;
  PictureFormat format_;
  int64_t share_;
};

class Triggers : public Scheme {
 public:
  std::string name() const override { return "trigger-set"; }
  std::string description() const override {
    return "black box, after Adi et al. 2018: pictures from the key, with labels from the key; triggers=100, "
           "per-batch=8, cells=4";
  }

  std::unique_ptr<Embedding> embed(const Module& network, const std::string& network_name,
                                   const OwnerKey& key, const SchemeOptions& options) const override {
    const OptionReader reader(options, name(), {"triggers", "per-batch", "cells"});
    if (!options.layers.empty()) throw UsageError("scheme trigger-set marks no layers, some are named");
    const PictureFormat& format = options.pictures;
    // The last parameter is what tells the classes apart: its rows are one a class.
    const int64_t classes = network.parameters().back().tensor.size(0);
    const int64_t share = reader.integer("per-batch", 8, 1, 4096);
    Mark mark = other_mark(name(), network_name, key.statement.bits);
    mark.parameters = {{"triggers", static_cast<double>(reader.integer("triggers", 100, 8, 100'000))},
                       {"cells", static_cast<double>(reader.integer("cells", 4, 1, 256))},
                       {"classes", static_cast<double>(classes)},
                       {"channels", static_cast<double>(format.channels)},
                       {"height", static_cast<double>(format.height)},
                       {"width", static_cast<double>(format.width)}};
    TriggerSet triggers = trigger_set_of(key.master, key.statement, mark);
    return std::make_unique<TriggerEmbedding>(std::move(mark), std::move(triggers), format, share);
  }

  bool reads_weights() const override { return false; }
  std::unique_ptr<MarkReader> reader(std::span<const LayerWeights>, const Mark&) const override {
    fail("a mark of scheme trigger-set is read from predictions, not from weights");
  }
};

}  // namespace

const Scheme& trigger_set_scheme() {
  static const Triggers scheme;
  return scheme;
}

}  // namespace dw
