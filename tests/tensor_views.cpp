// Tensors: views against index arithmetic done by hand, memory orders, sharing, conversions, reductions of
// views, files, the tape's rules, and what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "core/ops.h"
#include "core/tape.h"
#include "core/tensor_file.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using dw::test::contains;
using dw::test::error_of;

namespace {

Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(numel_of(shape)));
  std::iota(values.begin(), values.end(), 0.0F);
  return Tensor::from(values, shape);
}

using Values = std::vector<float>;

}  // namespace

TEST_CASE("tensor: views show the elements that index arithmetic says, and share them") {
  const Tensor base = counting({2, 3, 4});
  const Tensor permuted = base.permute({2, 0, 1});
  CHECK(permuted.shape() == Shape{4, 2, 3});
  const Values found = permuted.to_vector<float>();
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 2; ++j) {
      for (int64_t k = 0; k < 3; ++k)
        CHECK(found[static_cast<size_t>((i * 2 + j) * 3 + k)] == static_cast<float>(j * 12 + k * 4 + i));
    }
  }
  CHECK(base.slice(2, 1, 4, 2).slice(1, 2, 3).to_vector<float>() == Values{9, 11, 21, 23});
  CHECK(base.slice(0, 1, 2).transpose(1, 2).to_vector<float>() ==
        Values{12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23});
  CHECK(counting({3, 1}).expand({2, 3, 2}).to_vector<float>() == Values{0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2});
  CHECK(permuted.reshape({-1, 6}).to_vector<float>() == found);
  CHECK(base.slice(1, 1, 1).numel() == 0);
  CHECK(base.slice(1, 1, 1).to_vector<float>().empty());

  base.slice(1, 2, 3).fill(-1);
  CHECK(base.to_vector<float>()[8] == -1);
  CHECK(base.to_vector<float>()[7] == 7);
  CHECK(permuted.to_vector<float>()[2] == -1);
  const Tensor copy = base.clone();
  base.fill(5);
  CHECK(copy.to_vector<float>()[0] == 0);
  base.permute({2, 1, 0}).copy_from(counting({4, 3, 2}));
  CHECK(base.to_vector<float>()[1] == 6);
}

TEST_CASE("tensor: channels-last is a matter of memory, not of values") {
  const Tensor plain = counting({2, 3, 4, 5}), last = plain.contiguous(Layout::channels_last);
  CHECK(last.shape() == plain.shape());
  CHECK(last.strides() == Shape{60, 1, 15, 3});
  CHECK(last.layout() == Layout::channels_last);
  CHECK(last.to_vector<float>() == plain.to_vector<float>());
  CHECK(last.data<float>()[1] == 20);
  CHECK(last.contiguous().to_vector<float>() == plain.to_vector<float>());
  CHECK((last + plain).to_vector<float>() == multiply(plain, 2).to_vector<float>());
  CHECK(last.clone().strides() == last.strides());
  CHECK(Tensor::zeros_like(last).strides() == last.strides());
  CHECK(last.reshape({2, 60}).to_vector<float>() == plain.to_vector<float>());
}

TEST_CASE("tensor: conversions between dtypes") {
  const Tensor values = Tensor::from(std::vector<double>{0, 1.5, -2.75, 1.0 / 3}, {4});
  CHECK(values.to(DType::f32).to_vector<float>() == Values{0, 1.5F, -2.75F, 1.0F / 3});
  CHECK(values.to(DType::i64).to_vector<int64_t>() == std::vector<int64_t>{0, 1, -2, 0});
  const std::vector<double> rounded = values.to(DType::bf16).to(DType::f64).to_vector<double>();
  CHECK(rounded[1] == 1.5);
  CHECK(rounded[3] == doctest::Approx(1.0 / 3).epsilon(1.0 / 256));
  CHECK(rounded[3] != 1.0 / 3);
  CHECK(values.slice(0, 1, 4, 2).to(DType::f32).to_vector<float>() == Values{1.5F, 1.0F / 3});
  CHECK(values.slice(0, 1, 2).item() == 1.5);
}

TEST_CASE("tensor: reductions and comparisons of views") {
  const Tensor view = counting({3, 4}).transpose(0, 1).slice(0, 0, 4, 3);  // {0, 4, 8}, {3, 7, 11}
  CHECK(sum(view).item() == 33);
  CHECK(sum(view, {0}).to_vector<float>() == Values{3, 11, 19});
  CHECK(mean(view, {1}, true).shape() == Shape{2, 1});
  CHECK(mean(view, {-1}).to_vector<float>() == Values{4, 7});
  CHECK(maximum_over(view, 0).to_vector<float>() == Values{3, 7, 11});
  CHECK(sum(Tensor::full({2, 1, 3}, 1).expand({2, 5, 3})).item() == 30);
  const Tensor ties = Tensor::from(Values{1, 7, 7, 0, 0, 0}, {2, 3});
  CHECK(argmax(ties).to_vector<int64_t>() == std::vector<int64_t>{1, 0});
  CHECK(greater(view, Tensor::full({1}, 4)).to_vector<uint8_t>() == std::vector<uint8_t>{0, 0, 1, 0, 1, 1});
  const Tensor broken = Tensor::from(Values{1, INFINITY, 2}, {3});
  CHECK_FALSE(all_finite(broken));
  CHECK(all_finite(broken.slice(0, 0, 3, 2)));
}

TEST_CASE("tensor: errors name what was expected and what was found") {
  const Tensor base = counting({2, 3});
  CHECK(contains(error_of([&] { static_cast<void>(base.reshape({4, 2})); }), "[2, 3]"));
  CHECK(contains(error_of([&] { static_cast<void>(base.reshape({-1, 4})); }), "[2, 3]"));
  CHECK(contains(error_of([&] { static_cast<void>(base + counting({2})); }), "[2, 3]"));
  CHECK(contains(error_of([&] { static_cast<void>(Tensor::from(Values{1, 2}, {3})); }), "[3]"));
  CHECK(contains(error_of([&] { base.copy_from(counting({3, 2})); }), "[3, 2]"));
  for (const auto& action : std::vector<std::function<void()>>{
           [&] {
             static_cast<void>(base.permute({0, 0}));
           },
           [&] { static_cast<void>(base.permute({0})); }, [&] { static_cast<void>(base.slice(0, 1, 3)); },
           [&] { static_cast<void>(base.slice(0, -1, 1)); },
           [&] { static_cast<void>(base.slice(0, 0, 1, 0)); },
           [&] { static_cast<void>(base.slice(2, 0, 1)); },
           [&] {
             static_cast<void>(base.expand({2, 4}));
           },
           [&] { static_cast<void>(base.item()); }, [&] { static_cast<void>(base.data<double>()); },
           [&] { static_cast<void>(Tensor().shape()); }, [&] { static_cast<void>(Tensor::zeros({-1})); },
           [&] {
             base.set_grad(counting({3, 2}));
           },
           [&] { base.to(DType::i64).set_requires_grad(true); },
           [&] { static_cast<void>(base + base.to(DType::f64)); },
           [&] { static_cast<void>(gather_rows(base, Tensor::from(std::vector<int64_t>{2}, {1}))); },
           [&] {
             static_cast<void>(cross_entropy(base, Tensor::from(std::vector<int64_t>{0, 3}, {2})));
           }})
    CHECK_THROWS_AS(action(), Error);
}

TEST_CASE("tensor: files hold row-major order whatever the memory, and loading is all or nothing") {
  const dw::test::ScratchFolder folder;
  const auto path = folder / "tensors.safetensors";
  const Tensor filter = counting({2, 3, 2, 2}).contiguous(Layout::channels_last);
  save_tensors(path, {{"note", "x"}}, {{"filter", filter}, {"bias", counting({2})}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.read_f32("filter") == filter.to_vector<float>());
  CHECK(file.metadata().at("note") == "x");

  const Tensor target = Tensor::zeros({2, 3, 2, 2}, DType::f64, cpu, Layout::channels_last);
  const Tensor bias = Tensor::zeros({2}), wrong = Tensor::zeros({3});
  const std::string message = error_of([&] {
    load_tensors(file, "", {{"filter", target}, {"bias", wrong}, {"gone", bias}});
  });
  CHECK(contains(message, "gone"));
  CHECK(contains(message, "bias"));
  CHECK(sum(target).item() == 0);
  CHECK(contains(error_of([&] { load_tensors(file, "", {{"filter", target}}); }), "bias"));
  load_tensors(file, "", {{"filter", target}}, false);
  CHECK(target.to_vector<float>() == filter.to_vector<float>());
}

TEST_CASE("tape: gradients are overwritten or accumulated, and NoGrad and detach record nothing") {
  const Tensor w = Tensor::from(Values{2, 3}, {2});
  w.set_requires_grad(true);
  const auto backward = [&](Tape::Mode mode) {
    Tape tape;
    tape.backward(sum(w * w + w), mode);
  };
  backward(Tape::Mode::overwrite);
  CHECK(w.grad().to_vector<float>() == Values{5, 7});
  backward(Tape::Mode::overwrite);
  CHECK(w.grad().to_vector<float>() == Values{5, 7});
  backward(Tape::Mode::accumulate);
  CHECK(w.grad().to_vector<float>() == Values{10, 14});

  Tape tape;
  {
    const NoGrad pause;
    static_cast<void>(w * w);
  }
  CHECK(tape.operations().empty());
  const Tensor loss = sum(w.detach() * w);
  tape.backward(loss);
  CHECK(w.grad().to_vector<float>() == Values{2, 3});
  CHECK_THROWS_AS(tape.backward(sum(w.detach())), Error);
  Tape second;
  CHECK_THROWS_AS(second.backward(w * w), Error);
}
