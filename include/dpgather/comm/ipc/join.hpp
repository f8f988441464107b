// How ranks find out whether they reach one another, and agree on a name for what they share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include <dpgather/comm/ipc/epoch_barrier.hpp>
#include <dpgather/comm/ipc/options.hpp>
#include <dpgather/comm/ipc/site.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/memory.hpp>

namespace dpgather::detail {

/// Collective: what every rank gave, in rank order, by the all-gather of `base`.
template <class R, class Base>
[[nodiscard]] std::vector<R> gather_from_all(Base& base, const R& mine) {
  static_assert(std::is_trivially_copyable_v<R> && sizeof(R) % sizeof(std::int64_t) == 0);
  constexpr auto words = static_cast<std::int64_t>(sizeof(R) / sizeof(std::int64_t));
  const OwnStream own;
  const typename Base::memory_type::stream_type stream(own.get());
  const Buffer<std::int64_t, typename Base::memory_type> device(words * base.size());
  std::int64_t* const my_part = device.data() + words * base.rank();
  cuda_check(cudaMemcpyAsync(my_part, &mine, sizeof mine, cudaMemcpyDefault, own.get()),
             "cudaMemcpyAsync");
  base.all_gather(static_cast<const std::int64_t*>(my_part), device.data(), words, stream);
  base.synchronize(stream);
  std::vector<R> all(static_cast<std::size_t>(base.size()));
  cuda_check(cudaMemcpyAsync(all.data(), device.data(), all.size() * sizeof(R), cudaMemcpyDefault,
                             own.get()),
             "cudaMemcpyAsync");
  stream.synchronize();
  return all;
}

struct IpcPlace {
  std::string out_of_reach;  // why; empty if peers are in reach
  std::string name;          // of the job on this host
  bool shares_gpu = false;   // some ranks do
};

/// Collective; all ranks come to the same.
template <class Base>
[[nodiscard]] IpcPlace meet_sites(Base& base, int device, const IpcOptions& options) {
  if (base.size() > max_ipc_ranks)
    return {
        concat("there are ", base.size(), " ranks, at most ", max_ipc_ranks, " can be"), {}, false};
  const std::vector<IpcSite> sites = gather_from_all(base, own_site(device, options.host));
  const std::vector<Obstacle> obstacles =
      gather_from_all(base, find_obstacle(sites, base.rank(), device));
  for (std::size_t r = 0; r < obstacles.size(); ++r)
    if (obstacles[r].why != Apart::no)
      return {text_of(sites, static_cast<std::int64_t>(r), obstacles[r]), {}, false};
  return {{}, concat("/dpgather-", static_cast<std::uint64_t>(sites[0].token)), share_a_gpu(sites)};
}

}  // namespace dpgather::detail
