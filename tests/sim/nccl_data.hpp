// Element types of NCCL and the arithmetic of its reductions.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <nccl.h>

namespace sim::nccl {

/// 0 for a value that is no type.
[[nodiscard]] std::size_t size_of(ncclDataType_t type);
[[nodiscard]] const char* name_of(ncclDataType_t type);
[[nodiscard]] const char* name_of(ncclRedOp_t op);
[[nodiscard]] const char* name_of(ncclResult_t result);
/// False for types that only travel (fp8).
[[nodiscard]] bool reducible(ncclDataType_t type);

/// out[i] = op over inputs[.][i], folded in the order of `inputs`; 16-bit types are accumulated in
/// float and rounded once. `out` may be one of the inputs.
void reduce(std::span<const std::byte* const> inputs, std::byte* out, std::size_t count,
            ncclDataType_t type, ncclRedOp_t op);

}  // namespace sim::nccl
