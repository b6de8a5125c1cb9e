// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/variant.h>

#include <variant>

#include "bindings.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::python {
namespace {

using Ids = std::vector<std::int32_t>;
using Prompt = std::variant<std::string, Ids>;

/// LLM with its tokenizer. Calls of several Python threads run one after the other.
struct PyLLM {
  std::unique_ptr<LLM> model;
  std::optional<Tokenizer> tokenizer;
  std::string tokenizer_problem;
  std::mutex mutex;

  Tokenizer& get_tokenizer() {
    if (!tokenizer) throw UnsupportedError("no tokenizer: " + tokenizer_problem);
    return *tokenizer;
  }
};

/// GenerationResult with its text.
struct Generated {
  GenerationResult result;
  std::string text;
};

void load(PyLLM& self, nb::handle directory, nb::handle quantization,
          const std::vector<std::string>& skip_modules, nb::handle dtype, SelectionMode mode,
          std::string force_kernel, bool dequantize_weights, std::int64_t max_model_len,
          int max_batch, nb::object progress) {
  const std::string path = path_argument(directory);
  ModelOptions options;
  if (!quantization.is_none()) options.quantization = quantization_argument(quantization);
  if (!skip_modules.empty()) {
    if (!options.quantization) throw ConfigError("skip_modules needs quantization", "validation");
    options.quantization = options.quantization->with_skip_modules(skip_modules);
  }
  options.dtype = optional_dtype_argument(dtype);
  options.selection_mode = mode;
  options.force_kernel = std::move(force_kernel);
  options.dequantize_weights = dequantize_weights;
  options.max_model_len = max_model_len;
  options.max_batch = max_batch;
  options.progress = progress_to(std::move(progress));
  const nb::gil_scoped_release unlocked;
  self.model = std::make_unique<LLM>(path, options);
  try {
    self.tokenizer.emplace(std::filesystem::path(path));
  } catch (const Error& error) {
    self.tokenizer_problem = error.what();
  }
}

Ids encode(PyLLM& self, const Prompt& prompt) {
  if (const Ids* ids = std::get_if<Ids>(&prompt)) return *ids;
  Ids ids = self.get_tokenizer().encode(std::get<std::string>(prompt));
  if (ids.empty()) throw Error("the prompt is empty; expected at least one token", "empty_prompt");
  return ids;
}

Generated with_text(PyLLM& self, GenerationResult result) {
  Generated out{std::move(result), {}};
  if (self.tokenizer) out.text = self.tokenizer->decode(out.result.output_ids);
  return out;
}

std::vector<Generated> generate_ids(PyLLM& self, const std::vector<Ids>& prompts,
                                    const SamplingParams& params, const nb::object& on_token) {
  std::exception_ptr problem;
  // Called on the thread that called us.
  const auto see = [&](std::int64_t prompt, std::int32_t id) {
    if (problem) return false;
    const nb::gil_scoped_acquire locked;
    try {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      if (on_token.is_none()) return true;
      const nb::object answer = on_token(prompt, id);
      return answer.is_none() || nb::cast<bool>(nb::bool_(answer));
    } catch (...) {
      problem = std::current_exception();
      return false;
    }
  };
  std::vector<Generated> out;
  {
    const nb::gil_scoped_release unlocked;
    const std::scoped_lock lock(self.mutex);
    for (GenerationResult& result : self.model->generate_batch(prompts, params, see))
      out.push_back(with_text(self, std::move(result)));
  }
  if (problem) std::rethrow_exception(problem);
  return out;
}

nb::object generate(PyLLM& self, std::variant<Prompt, std::vector<Prompt>> prompts,
                    std::int64_t max_new_tokens, double temperature, std::int64_t top_k,
                    double top_p, std::uint64_t seed, Ids stop_ids, bool ignore_eos,
                    nb::object on_token) {
  SamplingParams params;
  params.max_new_tokens = max_new_tokens;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.seed = seed;
  params.stop_ids = std::move(stop_ids);
  params.ignore_eos = ignore_eos;
  std::vector<Ids> ids;
  if (const Prompt* one = std::get_if<Prompt>(&prompts)) {
    ids.push_back(encode(self, *one));
    return nb::cast(std::move(generate_ids(self, ids, params, on_token).front()));
  }
  for (const Prompt& prompt : std::get<std::vector<Prompt>>(prompts))
    ids.push_back(encode(self, prompt));
  return nb::cast(generate_ids(self, ids, params, on_token));
}

Array logits(PyLLM& self, const Ids& ids) {
  const nb::gil_scoped_release unlocked;
  const std::scoped_lock lock(self.mutex);
  return Array::of(self.model->logits(ids));
}

nb::dict perplexity(PyLLM& self, const Prompt& text, std::int64_t window) {
  const Ids ids = encode(self, text);
  PerplexityResult result;
  {
    const nb::gil_scoped_release unlocked;
    const std::scoped_lock lock(self.mutex);
    result = self.model->perplexity(ids, window);
  }
  nb::dict out;
  out["perplexity"] = result.perplexity;
  out["nll_nats_per_token"] = result.nll_nats_per_token;
  out["tokens"] = result.tokens;
  out["windows"] = result.windows;
  return out;
}

void bind_tokenizer(nb::module_& m) {
  nb::class_<Tokenizer>(m, "Tokenizer", "Hugging Face tokenizer.json (byte-level BPE).")
      .def(
          "__init__",
          [](Tokenizer* self, nb::handle path) {
            new (self) Tokenizer(std::filesystem::path(path_argument(path)));
          },
          nb::arg("path"), "tokenizer.json or its folder.")
      .def(
          "encode", [](const Tokenizer& t, std::string_view text) { return t.encode(text); },
          nb::arg("text"), "Text -> ids; no special tokens are added.")
      .def(
          "decode",
          [](const Tokenizer& t, const Ids& ids, bool skip) { return t.decode(ids, skip); },
          nb::arg("ids"), nb::arg("skip_special_tokens") = true)
      .def("apply_chat_template", &Tokenizer::apply_chat_template, nb::arg("user_message"))
      .def("token_to_id", &Tokenizer::token_to_id, nb::arg("token"))
      .def_prop_ro("vocab_size", &Tokenizer::vocab_size);
}

void bind_result(nb::module_& m) {
  nb::class_<Generated>(m, "GenerationResult", "What one prompt yielded.")
      .def_ro("text", &Generated::text, "Empty where the folder has no tokenizer that is read.")
      .def_prop_ro("output_ids", [](const Generated& g) { return g.result.output_ids; })
      .def_prop_ro(
          "finish_reason", [](const Generated& g) { return g.result.finish_reason; },
          "'stop', 'length' or 'cancelled'.")
      .def_prop_ro("prompt_tokens", [](const Generated& g) { return g.result.prompt_tokens; })
      .def_prop_ro("decode_tokens", [](const Generated& g) { return g.result.decode_tokens; })
      .def_prop_ro("prefill_seconds", [](const Generated& g) { return g.result.prefill_seconds; })
      .def_prop_ro("decode_seconds", [](const Generated& g) { return g.result.decode_seconds; })
      .def("__repr__", [](const Generated& g) {
        return "GenerationResult(text=" + nb::cast<std::string>(nb::repr(nb::cast(g.text))) +
               ", finish_reason='" + g.result.finish_reason + "')";
      });
}

}  // namespace

void bind_models(nb::module_& m) {
  bind_tokenizer(m);
  bind_result(m);
  nb::class_<PyLLM>(m, "LLM", "A decoder model that runs in this library, on the CPU.")
      .def(
          "__init__",
          [](PyLLM* self, nb::handle directory, nb::handle quantization,
             const std::vector<std::string>& skip_modules, nb::handle dtype, SelectionMode mode,
             std::string force_kernel, bool dequantize_weights, std::int64_t max_model_len,
             int max_batch, nb::object progress) {
            new (self) PyLLM();
            try {
              load(*self, directory, quantization, skip_modules, dtype, mode,
                   std::move(force_kernel), dequantize_weights, max_model_len, max_batch,
                   std::move(progress));
            } catch (...) {
              self->~PyLLM();
              throw;
            }
          },
          nb::arg("path"), nb::arg("quantization").none() = nb::none(), nb::kw_only(),
          nb::arg("skip_modules") = std::vector<std::string>(),
          nb::arg("dtype").none() = nb::none(),
          nb::arg("selection_mode") = SelectionMode::kPackedModules, nb::arg("force_kernel") = "",
          nb::arg("dequantize_weights") = false, nb::arg("max_model_len") = 0,
          nb::arg("max_batch") = 8, nb::arg("progress").none() = nb::none(),
          "`path`: a model folder, plain or quantized by torchao. `quantization` quantizes on the\n"
          "fly: a shorthand ('int4wo-128'), JSON, a file, a dict, a config or a TorchAOConfig.\n"
          "`dtype`: of the computation; None: config.json's. `max_batch`: sequences at once.")
      .def(
          "generate", &generate, nb::arg("prompts"), nb::arg("max_new_tokens") = 128, nb::kw_only(),
          nb::arg("temperature") = 0.0, nb::arg("top_k") = 0, nb::arg("top_p") = 1.0,
          nb::arg("seed") = 0, nb::arg("stop_ids") = Ids(), nb::arg("ignore_eos") = false,
          nb::arg("on_token").none() = nb::none(),
          "Continues a prompt (text or token ids) or a list of them, max_batch at a time. Returns\n"
          "one GenerationResult, or a list of them. temperature 0: greedy. `on_token(index, id)`\n"
          "sees each new id; returning False stops that prompt.")
      .def("logits", &logits, nb::arg("input_ids"), "float32 logits [T, vocab] of one sequence.")
      .def("perplexity", &perplexity, nb::arg("text"), nb::arg("window") = 512,
           "Perplexity of a text (or ids) over windows that do not overlap, as a dict.")
      .def_prop_ro("tokenizer", &PyLLM::get_tokenizer, nb::rv_policy::reference_internal)
      .def_prop_ro("architecture",
                   [](const PyLLM& l) { return std::string(l.model->architecture()); })
      .def_prop_ro("dtype",
                   [](const PyLLM& l) { return std::string(dtype_name(l.model->dtype())); })
      .def_prop_ro("vocab_size", [](const PyLLM& l) { return l.model->vocab_size(); })
      .def_prop_ro("max_model_len", [](const PyLLM& l) { return l.model->max_model_len(); })
      .def_prop_ro("weight_bytes", [](const PyLLM& l) { return l.model->weight_bytes(); })
      .def_prop_ro("notices",
                   [](const PyLLM& l) {
                     const auto notices = l.model->notices();
                     return std::vector<std::string>(notices.begin(), notices.end());
                   })
      .def("__repr__", [](const PyLLM& l) {
        return "LLM(" + std::string(l.model->architecture()) + ", " +
               std::to_string(l.model->weight_bytes()) + " bytes of weights)";
      });
}

}  // namespace torchao_cpp::python
