// SPDX-License-Identifier: Apache-2.0
// Runs a model and shows that both libraries share one thread setting. Usage: use_llm MODEL_FOLDER
#include <cstdio>

#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

int main(int argc, char** argv) {
  using namespace torchao_cpp;
  if (argc != 2) return std::puts("usage: use_llm MODEL_FOLDER"), 2;
  set_threads(1);
  if (threads() != 1) return std::puts("set_threads(1) had no effect"), 1;

  // An exception thrown in the library must be caught here by its type.
  try {
    const LLM absent("/nonexistent/model");
    return std::puts("an absent model was loaded"), 1;
  } catch (const Error& error) {
    std::printf("caught: %s\n", error.what());
  }

  ModelOptions options;
  options.quantization = TorchAOConfig::from_user("int8wo");
  LLM model(argv[1], options);
  const Tokenizer tokenizer(argv[1]);
  SamplingParams params;
  params.max_new_tokens = 4;
  params.ignore_eos = true;
  const GenerationResult result = model.generate(tokenizer.encode("The"), params);
  if (result.output_ids.size() != 4) return std::printf("%zu ids, expected 4\n", result.output_ids.size()), 1;
  std::printf("llm ok: %s\n", tokenizer.decode(result.output_ids).c_str());
  return 0;
}
