#include "peers.hpp"

#ifdef GATHER_PERF_MPI

#include <algorithm>
#include <optional>
#include <vector>

#include <dpgather/comm/mpi.hpp>

#include "of_communicator.hpp"

namespace gather_perf {

namespace {

class MpiPeer final : public Peer {
 public:
  SubjectPtr make(const Case& of, Mode mode, int) override { return make_subject(comm_, of, mode); }

 private:
  dpgather::MpiComm<> comm_;
};

/// MPI_Reduce_scatter takes counts; where they are equal so does MPI_Reduce_scatter_block.
template <class T>
class OpenMpiSubject final : public Subject {
 public:
  explicit OpenMpiSubject(const Case& of, int rank)
      : what_(of.what), in_place_(of.in_place), at_(of, rank) {
    for (const std::int64_t n : at_.counts()) counts_.push_back(static_cast<int>(n));
    for (const std::int64_t n : at_.offsets()) offsets_.push_back(static_cast<int>(n));
    type_ = dpgather::mpi::datatype(of.dtype);
    sum_ = dpgather::detail::MpiProcess::get().sum_op(of.dtype);
  }
  void prepare() override { at_.refill(); }
  void run() override {
    const void* send = in_place_ ? MPI_IN_PLACE : static_cast<const void*>(at_.send());
    const int count = static_cast<int>(at_.count());
    switch (what_) {
      case What::barrier:
        return check(MPI_Barrier(MPI_COMM_WORLD));
      case What::all_gather:
        return check(MPI_Allgather(send, count, type_, at_.recv(), count, type_, MPI_COMM_WORLD));
      case What::all_gather_v:
        return check(MPI_Allgatherv(send, count, type_, at_.recv(), counts_.data(), offsets_.data(),
                                    type_, MPI_COMM_WORLD));
      case What::all_reduce:
        return check(MPI_Allreduce(send, at_.recv(), static_cast<int>(at_.total()), type_, sum_,
                                   MPI_COMM_WORLD));
      case What::reduce_scatter:
        return check(
            MPI_Reduce_scatter_block(at_.send(), at_.recv(), count, type_, sum_, MPI_COMM_WORLD));
      case What::reduce_scatter_v:
        return check(MPI_Reduce_scatter(at_.send(), at_.recv(), counts_.data(), type_, sum_,
                                        MPI_COMM_WORLD));
      case What::gather:
      case What::back:
        return;
    }
  }
  [[nodiscard]] std::int64_t wrong() override { return at_.wrong(); }

 private:
  static void check(int code) { dpgather::mpi::check(code, "collective"); }

  What what_;
  bool in_place_;
  CollectiveBuffers<T> at_;
  std::vector<int> counts_, offsets_;
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
  MPI_Op sum_ = MPI_OP_NULL;
};

class OpenMpiPeer final : public Peer {
 public:
  SubjectPtr make(const Case& of, Mode, int rank) override {
    // MPI's in-place reduce-scatter leaves its result elsewhere and spoils what it reads.
    const bool scatters = of.what == What::reduce_scatter || of.what == What::reduce_scatter_v;
    if (is_of_gather(of.what) || (scatters && of.in_place)) return nullptr;
    return with_type(of.dtype, [&](auto zero) -> SubjectPtr {
      return std::make_unique<OpenMpiSubject<decltype(zero)>>(of, rank);
    });
  }
};

}  // namespace

PeerPtr mpi_peer() {
  return std::make_unique<MpiPeer>();
}
PeerPtr open_mpi_peer() {
  return std::make_unique<OpenMpiPeer>();
}

}  // namespace gather_perf

#else

namespace gather_perf {

PeerPtr mpi_peer() {
  return nullptr;
}
PeerPtr open_mpi_peer() {
  return nullptr;
}

}  // namespace gather_perf

#endif
