// Many tensors between f32 and bf16 in one call.
#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

TEST_CASE("bodies: many tensors are rounded to bf16 and widened again") {
  for_each_device([](Device device) {
    std::vector<TestArray> wide, narrow, back;
    std::vector<ConvertedTensor> rounding, widening;
    for (uint64_t i = 0; i < 1500; ++i) {  // more than one launch takes
      const int64_t count = i == 3 ? 0 : i == 5 ? 9001 : static_cast<int64_t>(1 + i % 50);
      wide.emplace_back(device, DType::f32, Shape{count}, some_values(count, -3, 3, i));
      narrow.emplace_back(device, DType::bf16, Shape{count}, std::vector<double>(size_t(count), 9));
      back.emplace_back(device, DType::f32, Shape{count}, std::vector<double>(size_t(count), 9));
      rounding.push_back({wide[i].data(), narrow[i].data(), count, DType::f32, DType::bf16});
      widening.push_back({narrow[i].data(), back[i].data(), count, DType::bf16, DType::f32});
    }
    const KernelTable& table = kernels(device);
    table.convert_all(current_stream(device), rounding);
    table.convert_all(current_stream(device), widening);
    for (size_t i = 0; i < wide.size(); ++i) {
      std::vector<double> expected = wide[i].values();
      for (double& value : expected)
        value = static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(value))));
      CHECK(narrow[i].values() == expected);
      CHECK(back[i].values() == expected);
    }
    rounding[0].to = DType::f64;
    CHECK_THROWS_AS(table.convert_all(current_stream(device), rounding), Error);
  });
}

}  // namespace
}  // namespace dw
