// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>  // Defines __GLIBC__ where that is the C library.

/// In front of a function (no template) with loops that the compiler vectorises: compiles it for
/// AVX-512, AVX2 and the base instruction set, and takes the best that the machine has when the
/// program starts. Results do not differ, for no operation is contracted or reordered
/// (-ffp-contract=off). Empty where the compiler or the C library cannot do it; sanitizers run
/// before the choice can be made.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TORCHAO_CPP_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TORCHAO_CPP_VECTOR_CLONES
#endif
