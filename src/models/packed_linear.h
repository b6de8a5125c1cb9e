// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/decoder_ops.h"
#include "models/model_folder.h"
#include "models/weight_loader.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {

/// What every linear of one model is built with.
struct LinearBuild {
  DType dtype = DType::kBFloat16;
  const TorchAOConfig* quantization = nullptr;  ///< Null: nothing is quantized.
  bool is_serialized = false;                   ///< A weight that is stored plain stays plain.
  bool dequantize = false;                      ///< Run on dequantized weights.
  std::string force_kernel;
  Device device;

  /// Of a model that runs with `options`; `quantization` must outlive it. Throws UnsupportedError
  /// for a dtype that is no compute dtype.
  static LinearBuild make(const ModelFolder& folder, const ModelOptions& options,
                          const ModelQuantization& quantization);

  /// Options for a layer; `is_stored_quantized` tells whether the checkpoint holds its weight
  /// quantized.
  LinearOptions options(std::string prefix, bool has_bias, bool is_stored_quantized) const;
};

/// Linears with one input: a fused layer (q, k, v or gate, up), or the parts apart where their
/// configs or weight classes differ; or one linear that is its own only part. The result is one
/// buffer: fused [m, sum of sizes]; apart one part after the other, each [m, size].
class PackedLinear {
 public:
  /// Prefix of the fused layer, its parts in order and how to make it fused.
  struct Description {
    std::string prefix;
    std::vector<std::string> part_prefixes;
    std::vector<std::int64_t> output_sizes;
    std::int64_t input_size = 0;
    bool has_bias = false;
    std::function<std::unique_ptr<LinearBase>(const LinearOptions&)> make_fused;
  };

  /// Builds, loads and finishes. Takes the weights by the parts' names, or by the fused name where
  /// the checkpoint has it so. Throws as WeightLoader and LinearBase do.
  PackedLinear(const Description& description, const LinearBuild& build, WeightLoader& loader);

  void apply(const void* x, std::int64_t m, void* y, const LinearContext& context) const noexcept;
  /// Part `index` of a result that apply put into `y`.
  RowView part(std::size_t index, const void* y, std::int64_t m) const noexcept;
  std::int64_t workspace_bytes(std::int64_t m) const noexcept;
  void add_reports(std::vector<LinearReport>& reports) const;

 private:
  void load_fused(const Description& description, const LinearBuild& build, WeightLoader& loader,
                  bool is_stored_quantized);
  void load_apart(const Description& description, const LinearBuild& build, WeightLoader& loader);

  DType dtype_;
  std::vector<std::int64_t> offsets_;  ///< Of each part in a fused row.
  std::int64_t total_ = 0;
  bool is_fused_ = false;
  std::vector<std::unique_ptr<LinearBase>> linears_;
};

/// Loads weight and bias `prefix`.{weight,bias} into `layer` and finishes it.
void load_linear(LinearBase& layer, const LinearBuild& build, WeightLoader& loader);

/// The weight as it runs: quantized by `build` and dequantized again where that is asked for.
LoadedWeight prepared_weight(LoadedWeight weight, const LinearBuild& build,
                             const std::string& prefix);

}  // namespace torchao_cpp
