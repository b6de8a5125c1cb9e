// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace torchao_cpp {

/// 10 * major + minor of the compute capability that the kernels which run on GPU `index` were
/// compiled for: what newer ones can do is not in them. 0 where the build has none for it.
int cuda_code_capability(int index) noexcept;

}  // namespace torchao_cpp
