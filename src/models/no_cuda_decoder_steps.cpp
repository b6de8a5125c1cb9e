// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_device.h"
#include "models/decoder_steps.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {

std::unique_ptr<DecoderSteps> make_cuda_decoder_steps(const DecoderStepsSpec&) {
  throw UnsupportedError(cuda_refusal());
}

}  // namespace torchao_cpp
