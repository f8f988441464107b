// A DpGather of any mode over a communicator of this library: its gather, or its way back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <dpgather/agree/step.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/dp_gather.hpp>

#include "elements.hpp"
#include "subject.hpp"
#include "support/transfer.hpp"

namespace gather_perf {

/// The step that all ranks would have agreed on.
[[nodiscard]] inline dpgather::detail::AgreedStep made_up_step(const Case& of, int rank) {
  dpgather::detail::AgreedStep step;
  step.index = 0;
  step.layout = {.dp = of.ranks};
  step.rank = rank;
  step.phases = 1;
  auto& phase = step.phase[0];
  phase.tokens = phase.requests = phase.logits = of.rows;
  phase.forward = dpgather::Forward::decode;
  return step;
}

/// In place: rows lie in the gather's slot, partial sums in its partial slot.
template <class GatherMode, class T, class Comm>
class GatherSubject final : public Subject {
 public:
  using Memory = typename Comm::memory_type;
  using Stream = typename Memory::stream_type;
  GatherSubject(Comm& comm, const Case& of, Stream stream)
      : case_(of),
        comm_(comm),
        stream_(stream),
        rank_(comm.rank()),
        agreed_(made_up_step(of, comm.rank())),
        gather_(comm, {.layout = {.dp = of.ranks},
                       .hidden = of.width,
                       .max_local_rows = of.most_rows(),
                       .clean_slots = of.in_place,
                       .hosts = of.hosts}),
        shape_(gather_.exact_shape(dpgather::Step(agreed_))),
        own_(of.rows[static_cast<std::size_t>(rank_)]),
        rows_(of.in_place || of.what == What::back ? 0 : own_ * of.width),
        sums_(of.what == What::back ? own_ * of.width : 0),
        elsewhere_(of.in_place || of.what == What::gather ? 0 : shape_.global_len * of.width) {
    static_cast<void>(gather_.begin_step(dpgather::Step(agreed_), shape_, stream_));
    local_ = of.in_place ? gather_.slot(shape_).slice(0, own_) : rows_.rows(own_, of.width);
    partial_ =
        of.in_place ? gather_.partial_slot(shape_) : elsewhere_.rows(shape_.global_len, of.width);
    prepare();
  }

  void prepare() override {
    if (case_.what == What::gather) {
      std::vector<T> values(static_cast<std::size_t>(local_.size()));
      fill(values.data(), local_.size(), rank_, first_of(rank_));
      test::upload(std::span<const T>(values), local_.data(), stream_);
      return;
    }
    std::vector<T> values(static_cast<std::size_t>(partial_.size()), static_cast<T>(0.0F));
    for (std::size_t d = 0; d < case_.rows.size(); ++d)
      fill(values.data() + gather_.plan().offsets[d] * case_.width, case_.rows[d] * case_.width,
           rank_, first_of(static_cast<int>(d)));
    test::upload(std::span<const T>(values), partial_.data(), stream_);
  }
  void run() override {
    const auto before = gather_.moved();
    if (case_.what == What::gather)
      global_ = gather_.gather(shape_, local_, stream_);
    else
      gather_.reduce_scatter(shape_, partial_, sums_.rows(own_, case_.width), stream_);
    const auto after = gather_.moved();
    moved_ = after.out - before.out + after.back - before.back;
  }
  void finish() override { dpgather::detail::wait_for(comm_, stream_); }
  [[nodiscard]] std::uint64_t wire_bytes() const override { return moved_ * sizeof(T); }
  [[nodiscard]] std::int64_t wrong() override {
    const bool back = case_.what == What::back;
    std::vector<T> values(static_cast<std::size_t>(back ? own_ * case_.width : global_.size()));
    test::download(back ? static_cast<const T*>(sums_.data()) : global_.data(),
                   std::span<T>(values), stream_);
    if (back) {
      const std::int64_t first = first_of(rank_);
      return count_wrong(values.data(), own_ * case_.width,
                         [&](std::int64_t i) { return summed(case_.ranks, first + i); });
    }
    std::int64_t wrong = 0;
    const auto& plan = gather_.plan();
    for (std::size_t d = 0; d < case_.rows.size(); ++d) {
      const T* block = values.data() + plan.offsets[d] * case_.width;
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

  Case case_;
  Comm& comm_;
  Stream stream_;
  int rank_;
  dpgather::detail::AgreedStep agreed_;
  dpgather::DpGather<GatherMode, T, Comm> gather_;
  dpgather::ShapeKey shape_;
  std::int64_t own_;
  dpgather::Buffer<T, Memory> rows_, sums_, elsewhere_;
  dpgather::Rows<T> local_, partial_;
  dpgather::Rows<const T> global_;
  std::uint64_t moved_ = 0;
};

}  // namespace gather_perf
