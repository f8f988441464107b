// How a communicator comes to be: all its ranks from an id, or some of them by a split.
#pragma once

#include <memory>
#include <utility>

#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/comm/nccl/link.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace dpgather::detail {

[[nodiscard]] inline ncclConfig_t nccl_config(const NcclOptions& options) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = options.blocking ? 1 : 0;
  return config;
}

/// Collective over the ranks of `id`. Returns once all are there; past the deadline the attempt is
/// aborted.
[[nodiscard]] inline std::unique_ptr<NcclLink> nccl_connect(const NcclUniqueId& id, int rank,
                                                            int size, const NcclOptions& options) {
  const ErrorContext at{.rank = rank, .operation = "NcclComm"};
  require(size >= 1 && rank >= 0 && rank < size, at, "rank ", rank, " of size ", size,
          " is impossible");
  options.check(at);
  nccl::require_version(at);
  int device = options.device;
  if (device < 0) cuda_check(cudaGetDevice(&device), "cudaGetDevice", at);
  const DeviceScope scope(device);
  auto link = std::make_unique<NcclLink>(rank, size, std::make_shared<NcclFamily>(options));
  link->run(at, [&](ncclComm_t) {
    ncclConfig_t config = nccl_config(options);
    return NcclResult{ncclCommInitRankConfig(&link->handle().comm, size, id.get(), rank, &config),
                      "ncclCommInitRankConfig"};
  });
  return link;
}

/// Collective over `parent`, whose state says when the child is no longer null; the child's own says
/// when it is complete.
[[nodiscard]] inline std::unique_ptr<NcclLink> nccl_split(NcclLink& parent, int color, int key) {
  const ErrorContext at = parent.where("split");
  require(color >= 0, at, "color is ", color, ", must not be negative");
  auto handle = std::make_shared<NcclHandle>();
  int rank = 0;
  int size = 0;
  try {
    parent.run(at, [&](ncclComm_t comm) {
      ncclConfig_t config = nccl_config(parent.options());
      parent.handle().child = handle;  // an abort from now on is the child's, too
      return NcclResult{ncclCommSplit(comm, color, key, &handle->comm, &config), "ncclCommSplit"};
    });
    const auto child = [&](ncclComm_t) { return NcclResult{ncclSuccess, "ncclCommSplit"}; };
    parent.run(at, child, handle.get());
    const auto ask = [&](ncclComm_t) {
      const ncclResult_t code = ncclCommUserRank(handle->comm, &rank);
      if (code != ncclSuccess) return NcclResult{code, "ncclCommUserRank"};
      return NcclResult{ncclCommCount(handle->comm, &size), "ncclCommCount"};
    };
    parent.run(at, ask);
    parent.handle().child.reset();
  } catch (...) {
    if (!parent.failure) {  // nothing is under way
      parent.handle().child.reset();
      end_in_background(std::move(handle), NcclEnd::abort);
    }
    throw;
  }
  auto child = std::make_unique<NcclLink>(rank, size, parent.family(), std::move(handle));
  child->step.store(parent.step.load());
  return child;
}

}  // namespace dpgather::detail
