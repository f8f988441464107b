// Collectives of a communicator of this library, and gathers over it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/dp_gather.hpp>

#include "elements.hpp"
#include "gather_subject.hpp"
#include "subject.hpp"

namespace gather_perf {

template <class T, class Comm>
class CollectiveSubject final : public Subject {
 public:
  using Memory = typename Comm::memory_type;
  using Stream = typename Memory::stream_type;
  CollectiveSubject(Comm& comm, const Case& of, Stream stream)
      : comm_(comm), stream_(stream), what_(of.what), at_(of, comm.rank(), stream) {}

  void prepare() override { at_.refill(); }
  void run() override {
    const auto before = comm_.elements_moved();
    call();
    moved_ = comm_.elements_moved() - before;
  }
  [[nodiscard]] std::uint64_t wire_bytes() const override { return moved_ * sizeof(T); }
  void finish() override { dpgather::detail::wait_for(comm_, stream_); }
  [[nodiscard]] std::int64_t wrong() override { return at_.wrong(); }

 private:
  void call() {
    const Stream stream = stream_;
    switch (what_) {
      case What::all_gather:
        return comm_.all_gather(at_.send(), at_.recv(), at_.count(), stream);
      case What::reduce_scatter:
        return comm_.reduce_scatter(at_.send(), at_.recv(), at_.count(), stream);
      case What::all_reduce:
        return comm_.all_reduce(at_.send(), at_.recv(), at_.total(), stream);
      case What::all_gather_v:
        return comm_.all_gather_v(at_.send(), at_.recv(), at_.counts(), at_.offsets(), stream);
      case What::reduce_scatter_v:
        return comm_.reduce_scatter_v(at_.send(), at_.recv(), at_.counts(), at_.offsets(), stream);
      case What::barrier:
        if constexpr (dpgather::PeerCommunicator<Comm>) comm_.barrier(stream);
        return;
      case What::gather:
      case What::back:
        return;
    }
  }
  Comm& comm_;
  Stream stream_;
  What what_;
  CollectiveBuffers<T, Memory> at_;
  std::uint64_t moved_ = 0;
};

/// Null where the communicator cannot do the mode.
template <class T, class Comm>
SubjectPtr make_gather(Comm& comm, const Case& of, Mode mode,
                       typename Comm::memory_type::stream_type stream) {
  using namespace dpgather;
  const auto made = [&]<class GatherMode>(std::in_place_type_t<GatherMode>) -> SubjectPtr {
    return std::make_unique<GatherSubject<GatherMode, T, Comm>>(comm, of, stream);
  };
  switch (mode) {
    case Mode::max_len:
      return made(std::in_place_type<MaxLen>);
    case Mode::sum_len_all_reduce:
      return made(std::in_place_type<SumLen<AllReduce>>);
    case Mode::sum_len_all_gather_v:
      return made(std::in_place_type<SumLen<AllGatherV>>);
    case Mode::automatic:
      return made(std::in_place_type<Auto<>>);
    case Mode::sum_len_peer_store:
      if constexpr (PeerCommunicator<Comm>)
        if (of.hosts == 1) return made(std::in_place_type<SumLen<PeerStore>>);
      return nullptr;
    case Mode::sum_len_hierarchical:
      if constexpr (PeerCommunicator<Comm>) return made(std::in_place_type<SumLen<Hierarchical>>);
      return nullptr;
  }
  return nullptr;
}

template <class Comm>
SubjectPtr make_subject(Comm& comm, const Case& of, Mode mode,
                        typename Comm::memory_type::stream_type stream = {}) {
  if (of.what == What::barrier && !dpgather::PeerCommunicator<Comm>) return nullptr;
  return with_type(of.dtype, [&](auto zero) -> SubjectPtr {
    using T = decltype(zero);
    if (is_of_gather(of.what)) return make_gather<T>(comm, of, mode, stream);
    return std::make_unique<CollectiveSubject<T, Comm>>(comm, of, stream);
  });
}

}  // namespace gather_perf
