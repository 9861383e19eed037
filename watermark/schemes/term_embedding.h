// An embedding that is a mark and a pull on the weights: what every white-box scheme starts.
#pragma once

#include <memory>
#include <utility>

#include "watermark/scheme.h"

namespace dw {

class TermEmbedding : public Embedding {
 public:
  TermEmbedding(Mark mark, std::unique_ptr<GradientTerm> term)
      : mark_(std::move(mark)), term_(std::move(term)) {}
  const Mark& mark() const override { return mark_; }
  GradientTerm* term() override { return term_.get(); }

 private:
  Mark mark_;
  std::unique_ptr<GradientTerm> term_;
};

}  // namespace dw
