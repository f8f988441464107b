// Collectives of a communicator of this library, and gathers over it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/callable_control.hpp>
#include <dpgather/dp_gather.hpp>

#include "elements.hpp"
#include "subject.hpp"

namespace gather_perf {

template <class T, class Comm>
class CollectiveSubject final : public Subject {
 public:
  CollectiveSubject(Comm& comm, const Case& of)
      : comm_(comm), what_(of.what), at_(of, comm.rank()) {}

  void prepare() override { at_.refill(); }
  void run() override {
    const auto before = comm_.elements_moved();
    call();
    moved_ = comm_.elements_moved() - before;
  }
  [[nodiscard]] std::uint64_t wire_bytes() const override { return moved_ * sizeof(T); }
  [[nodiscard]] std::int64_t wrong() const override { return at_.wrong(); }

 private:
  void call() {
    const dpgather::HostStream stream;
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
  What what_;
  CollectiveBuffers<T> at_;
  std::uint64_t moved_ = 0;
};

/// The step that all ranks would agree on, without any of them.
class MadeUpStep {
 public:
  MadeUpStep(const Case& of, int rank)
      : control_(rank, of.ranks, Echo{of.rows}), agreement_(control_, {.dp = of.ranks}) {
    const std::int64_t rows = of.rows[static_cast<std::size_t>(rank)];
    agreement_.post(
        dpgather::Phase{.tokens = rows,
                        .requests = rows,
                        .forward = rows > 0 ? dpgather::Forward::decode : dpgather::Forward::idle});
    step_ = agreement_.wait();
  }
  [[nodiscard]] const dpgather::Step& step() const { return step_; }

 private:
  struct Echo {
    std::vector<std::int64_t> rows;
    void operator()(std::span<const std::byte> mine, std::span<std::byte> all) const {
      dpgather::detail::StepRecord record;
      std::memcpy(static_cast<void*>(&record), mine.data(), sizeof record);
      for (std::size_t rank = 0; rank < rows.size(); ++rank) {
        record.rank = static_cast<std::int32_t>(rank);
        auto& phase = record.phase[0];
        phase.tokens = phase.requests = phase.logits = rows[rank];
        phase.forward = rows[rank] > 0 ? dpgather::Forward::decode : dpgather::Forward::idle;
        std::memcpy(all.data() + rank * sizeof record, &record, sizeof record);
      }
    }
  };
  dpgather::CallableControl<Echo> control_;
  dpgather::StepAgreement<dpgather::CallableControl<Echo>> agreement_;
  dpgather::Step step_;
};

/// In place: rows lie in the gather's slot, partial sums in its partial slot.
template <class GatherMode, class T, class Comm>
class GatherSubject final : public Subject {
 public:
  GatherSubject(Comm& comm, const Case& of)
      : case_(of),
        rank_(comm.rank()),
        made_up_(of, comm.rank()),
        gather_(comm, {.layout = {.dp = of.ranks},
                       .hidden = of.width,
                       .max_local_rows = of.most_rows(),
                       .clean_slots = of.in_place,
                       .hosts = of.hosts}),
        shape_(gather_.exact_shape(made_up_.step())),
        own_(of.rows[static_cast<std::size_t>(rank_)]),
        rows_(of.in_place || of.what == What::back ? 0 : own_ * of.width),
        sums_(of.what == What::back ? own_ * of.width : 0) {
    static_cast<void>(gather_.begin_step(made_up_.step(), shape_, {}));
    if (of.what == What::gather) {
      local_ = of.in_place ? gather_.slot(shape_).slice(0, own_) : rows_.rows(own_, of.width);
      fill(local_.data(), local_.size(), rank_, first_of(rank_));
    } else {
      if (!of.in_place) elsewhere_ = dpgather::Buffer<T>(shape_.global_len * of.width);
      partial_ =
          of.in_place ? gather_.partial_slot(shape_) : elsewhere_.rows(shape_.global_len, of.width);
      fill_partial();
    }
  }

  void prepare() override {
    if (case_.what == What::back) fill_partial();
  }
  void run() override {
    const auto before = gather_.moved();
    if (case_.what == What::gather) {
      global_ = gather_.gather(shape_, local_, {});
      moved_ = gather_.moved().out - before.out;
    } else {
      gather_.reduce_scatter(shape_, partial_, sums_.rows(own_, case_.width), {});
      moved_ = gather_.moved().back - before.back;
    }
  }
  [[nodiscard]] std::uint64_t wire_bytes() const override { return moved_ * sizeof(T); }
  [[nodiscard]] std::int64_t wrong() const override {
    if (case_.what == What::back) {
      const std::int64_t first = first_of(rank_);
      return count_wrong(sums_.data(), own_ * case_.width,
                         [&](std::int64_t i) { return summed(case_.ranks, first + i); });
    }
    std::int64_t wrong = 0;
    const auto& plan = gather_.plan();
    for (std::size_t d = 0; d < case_.rows.size(); ++d) {
      const T* block = global_.data() + plan.offsets[d] * case_.width;
      const std::int64_t valid = case_.rows[d] * case_.width;
      const std::int64_t first = first_of(static_cast<int>(d));
      wrong += count_wrong(block, plan.lens[d] * case_.width, [&](std::int64_t i) {
        return i < valid ? pattern(static_cast<int>(d), first + i) : 0;
      });
    }
    return wrong;
  }

 private:
  /// Where the pattern of a rank's rows begins: the same whatever the mode pads.
  [[nodiscard]] std::int64_t first_of(int rank) const {
    return case_.offsets()[static_cast<std::size_t>(rank)];
  }
  void fill_partial() {
    const auto& plan = gather_.plan();
    for (std::size_t d = 0; d < case_.rows.size(); ++d)
      fill(partial_.data() + plan.offsets[d] * case_.width, case_.rows[d] * case_.width, rank_,
           first_of(static_cast<int>(d)));
    for (std::size_t d = 0; d < case_.rows.size(); ++d)
      for (std::int64_t i = case_.rows[d] * case_.width; i < plan.lens[d] * case_.width; ++i)
        partial_.data()[plan.offsets[d] * case_.width + i] = static_cast<T>(0.0F);
  }

  Case case_;
  int rank_;
  MadeUpStep made_up_;
  dpgather::DpGather<GatherMode, T, Comm> gather_;
  dpgather::ShapeKey shape_;
  std::int64_t own_;
  dpgather::Buffer<T> rows_, sums_, elsewhere_;
  dpgather::Rows<T> local_, partial_, global_;
  std::uint64_t moved_ = 0;
};

/// Null where the communicator cannot do the mode.
template <class T, class Comm>
SubjectPtr make_gather(Comm& comm, const Case& of, Mode mode) {
  using namespace dpgather;
  switch (mode) {
    case Mode::max_len:
      return std::make_unique<GatherSubject<MaxLen, T, Comm>>(comm, of);
    case Mode::sum_len_all_reduce:
      return std::make_unique<GatherSubject<SumLen<AllReduce>, T, Comm>>(comm, of);
    case Mode::sum_len_all_gather_v:
      return std::make_unique<GatherSubject<SumLen<AllGatherV>, T, Comm>>(comm, of);
    case Mode::automatic:
      return std::make_unique<GatherSubject<Auto<>, T, Comm>>(comm, of);
    case Mode::sum_len_peer_store:
      if constexpr (PeerCommunicator<Comm>)
        if (of.hosts == 1)
          return std::make_unique<GatherSubject<SumLen<PeerStore>, T, Comm>>(comm, of);
      return nullptr;
    case Mode::sum_len_hierarchical:
      if constexpr (PeerCommunicator<Comm>)
        return std::make_unique<GatherSubject<SumLen<Hierarchical>, T, Comm>>(comm, of);
      return nullptr;
  }
  return nullptr;
}

template <class Comm>
SubjectPtr make_subject(Comm& comm, const Case& of, Mode mode) {
  if (of.what == What::barrier && !dpgather::PeerCommunicator<Comm>) return nullptr;
  return with_type(of.dtype, [&](auto zero) -> SubjectPtr {
    using T = decltype(zero);
    if (is_of_gather(of.what)) return make_gather<T>(comm, of, mode);
    return std::make_unique<CollectiveSubject<T, Comm>>(comm, of);
  });
}

}  // namespace gather_perf
