// NcclUniqueId: what all ranks of a communicator must be given before it is made.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <exception>
#include <span>
#include <type_traits>
#include <vector>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/nccl/api.hpp>

namespace dpgather {

/// 128 bytes that one rank makes and all ranks use, for one communicator only. A value: send it by
/// whatever you have. Making one needs no GPU.
struct NcclUniqueId {
  std::array<std::byte, NCCL_UNIQUE_ID_BYTES> bytes{};

  /// The process that calls it must live until the communicator is made: it is its meeting point.
  [[nodiscard]] static NcclUniqueId create() {
    nccl::require_version({.operation = "NcclUniqueId"});
    ncclUniqueId made;
    nccl::check(ncclGetUniqueId(&made), "ncclGetUniqueId", {.operation = "NcclUniqueId"});
    NcclUniqueId id;
    std::memcpy(id.bytes.data(), made.internal, sizeof(made.internal));
    return id;
  }
  [[nodiscard]] ncclUniqueId get() const {
    ncclUniqueId id;
    std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
    return id;
  }
  friend bool operator==(const NcclUniqueId&, const NcclUniqueId&) = default;
};

static_assert(sizeof(NcclUniqueId) == 128 && std::is_trivially_copyable_v<NcclUniqueId>);

/// Collective: rank 0 of `control` makes an id and every rank returns it. If rank 0 cannot, the
/// control plane is aborted with its reason.
template <ControlPlane Control>
[[nodiscard]] NcclUniqueId share_by(Control& control) {
  NcclUniqueId id;
  if (control.rank() == 0) {
    try {
      id = NcclUniqueId::create();
    } catch (const std::exception& error) {
      control.abort(error.what());
      throw;
    }
  }
  std::vector<NcclUniqueId> all(static_cast<std::size_t>(control.size()));
  control.post(std::as_bytes(std::span(&id, 1)));
  control.wait(std::as_writable_bytes(std::span(all)));
  return all.front();
}

}  // namespace dpgather
