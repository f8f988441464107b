// The whole library, and a body that uses its templates; included by both translation units.
#pragma once

#include <dpgather/dpgather.hpp>
#ifdef ODR_WITH_MPI
#include <dpgather/comm/mpi.hpp>
#endif

#include <atomic>
#include <memory>

#include "unit.hpp"

namespace {

/// Every rank r brings r + 1 rows of the value 1; the sum of all rows that all ranks see.
int gathered_sum(int ranks) {
  using namespace dpgather;
  const auto hub = std::make_shared<ThreadHub>(ranks);
  const auto board = std::make_shared<ThreadControlBoard>(ranks);
  std::atomic<int> total{0};
  run_ranks(ranks, [&](int rank) {
    ThreadComm<> comm{hub, rank};
    ThreadControl control{board, rank};
    const DpLayout layout{.dp = ranks};
    StepAgreement<ThreadControl> agreement{control, layout};
    DpGather<SumLen<AllGatherV>, float> gather{
        comm, {.layout = layout, .hidden = 1, .max_local_rows = ranks}};
    agreement.post({.tokens = rank + 1, .requests = rank + 1, .forward = Forward::decode});
    const Step step = agreement.wait();
    const ShapeKey shape = gather.exact_shape(step);
    gather.begin_step(step, shape, {});
    const Buffer<float> own(rank + 1);
    for (float& value : own.span()) value = 1.0f;
    const Rows<const float> all = gather.gather(shape, own.rows(rank + 1, 1), {});
    for (std::int64_t i = 0; i < all.rows(); ++i) total += static_cast<int>(all(i, 0));
  });
  return total;
}

Unit describe() {
  return {&dpgather::destructor_error_handler(), &typeid(dpgather::ThreadComm<>), &gathered_sum};
}

}  // namespace
