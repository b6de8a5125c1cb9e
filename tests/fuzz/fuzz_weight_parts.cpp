// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <string>

#include "fuzz/fuzz_target.h"
#include "fuzz/memory_file.h"
#include "fuzz/safetensors_image.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/quantize.h"

// A checkpoint with torchao's metadata, as JSON (see safetensors_image.h) and, behind the first
// 0xff, the bytes that its tensors repeat. Holds: only Error; of an accepted weight: its size is no
// more than what its data can hold; what is written back is accepted and is the same weight; slices
// and stacks of it dequantize to slices and stacks of its values.
namespace torchao_cpp::fuzz {
namespace {

constexpr std::size_t kMostDataBytes = 64 << 10;
// Two codes a byte are the densest form; parts may be padded, never shared.
constexpr std::int64_t kMostCodesPerByte = 2;

bool same_values(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.numel() == 0 || equal_bytes(a, b)) return true;
  // The bits of a NaN depend on how the compiler orders the operands.
  const Tensor fa = a.to(DType::kFloat32);
  const Tensor fb = b.to(DType::kFloat32);
  for (std::int64_t i = 0; i < fa.numel(); ++i) {
    const float x = fa.data<float>()[i];
    const float y = fb.data<float>()[i];
    if (x != y && !(std::isnan(x) && std::isnan(y))) return false;
  }
  return true;
}

void check_same_parts(const TensorParts& a, const TensorParts& b) {
  hold(a.class_name == b.class_name && a.attributes == b.attributes,
       "a weight changes its attributes when it is written and read");
  hold(a.parts.size() == b.parts.size(), "a weight has other parts when it is written and read");
  for (std::size_t i = 0; i < a.parts.size(); ++i) {
    hold(a.parts[i].first == b.parts[i].first && equal_bytes(a.parts[i].second, b.parts[i].second),
         "a part changes when it is written and read");
  }
}

void check_written(const WeightTensor& weight, std::string_view fqn) {
  const TensorParts written = weight.to_parts();
  WeightTensorPtr again;
  hold(accepts([&] { again = weight_from_parts(written, fqn); }),
       "a weight that was written is refused: " + written.attributes);
  check_same_parts(again->to_parts(), written);
}

void check_slices(const WeightTensor& weight, const Tensor& values) {
  for (const int dim : {0, 1}) {
    const std::int64_t size = weight.shape()[static_cast<std::size_t>(dim)];
    for (const auto& [start, end] : {std::pair{std::int64_t{0}, size / 2},
                                     {size / 2, size},
                                     {std::int64_t{1}, size},
                                     {-size, size + 1}}) {
      accepts([&, start = start, end = end] {
        const WeightTensorPtr slice = weight.slice(dim, start, end);
        hold(start >= 0 && end <= size && start <= end, "a slice outside of the weight");
        hold(same_values(slice->dequantize(), values.narrow(dim, start, end - start)),
             "a slice has other values than its weight");
      });
    }
  }
}

void check_stack(const WeightTensorPtr& weight, const Tensor& values) {
  const std::array parts{weight, weight};
  const WeightTensorPtr stack = weight->concat_rows(parts);
  if (stack == nullptr) return;
  const std::array both{values, values};
  hold(same_values(stack->dequantize(), concat_rows(both)),
       "a stack has other values than its parts");
}

void check_weight(const TensorParts& parts, const std::string& fqn) {
  const WeightTensorPtr weight = weight_from_parts(parts, fqn);
  hold(weight->class_name() == parts.class_name, "a weight of another class than the file says");
  hold(weight->shape().size() == 2, "a weight that is no matrix");
  hold(!weight->describe().empty(), "a weight without a description");
  hold(shape_numel(weight->shape()) <= kMostCodesPerByte * weight->nbytes(),
       "a weight larger than its data can hold");
  check_written(*weight, fqn);
  accepts([&] { weight->to_quantized_weight(); });
  accepts([&] {
    const Tensor values = weight->dequantize();
    hold(values.shape() == weight->shape() && values.dtype() == weight->dtype(),
         "dequantized values of another shape or dtype");
    weight->dequantize(DType::kBFloat16);
    check_slices(*weight, values);
    accepts([&] { check_stack(weight, values); });
  });
}

void run(std::string_view json, std::string_view contents) {
  const auto image = safetensors_image(json, contents, kMostDataBytes);
  if (!image) return;
  const MemoryFile file(as_bytes(*image));
  const Checkpoint checkpoint(file.path());
  for (const std::string& name : checkpoint.names()) {
    accepts([&] {
      const CheckpointEntry entry = checkpoint.entry(name);
      if (entry.parts) check_weight(*entry.parts, name);
    });
  }
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  const auto [json, contents] = split(as_text(data, size));
  accepts([&, json = json, contents = contents] { run(json, contents); });
  return 0;
}
