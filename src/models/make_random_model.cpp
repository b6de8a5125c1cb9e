// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "models/conversion.h"
#include "models/random_parameters.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

/// make_random_model: the parameters of an architecture, named and initialised as transformers
/// does.
namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

}  // namespace

RandomModelReport make_random_model(const fs::path& config_file, const fs::path& destination,
                                    const RandomModelOptions& options) {
  Json json = read_json_file(config_file);
  RandomModelReport report;
  if (json.is_object() && json.contains("quantization_config")) {
    json.erase("quantization_config");
    report.notices.push_back(
        fmt::format("{}: has a quantization_config, which was left out: the weights are plain",
                    config_file.string()));
  }
  const HfConfig config = HfConfig::parse(json.dump(), config_file.string());
  const DecoderConfig decoder = DecoderConfig::from_hf_config(config);
  report.dtype = options.dtype.value_or(config.dtype.value_or(DType::kBFloat16));
  check_result_dtype(report.dtype);
  set_dtype(json, report.dtype);

  CheckpointWriter writer(destination, options.max_shard_bytes);
  for (RandomParameter& parameter : random_parameters(decoder)) {
    ++report.tensors;
    report.num_parameters += shape_numel(parameter.shape);
    const std::string fqn = parameter.fqn;
    const Shape shape = parameter.shape;
    writer.add(fqn, report.dtype, shape, [&, parameter = std::move(parameter)] {
      check_not_cancelled(options.cancelled);
      return parameter.values(report.dtype, decoder.initializer_range, options.seed, parameter.fqn);
    });
  }
  report.nbytes = report.num_parameters * dtype_size_bytes(report.dtype);
  writer.add_file("config.json", dump_json_python(json, 2) + "\n");
  copy_tokenizer_files(fs::absolute(config_file).parent_path(), writer);
  writer.finish([&](std::int64_t done, std::int64_t total) {
    check_not_cancelled(options.cancelled);
    if (options.progress) options.progress("write", done, total);
  });
  return report;
}

}  // namespace torchao_cpp
