// Every kernel that the library starts, once for each element type that it is used with.
#include <chrono>
#include <cstdint>

#include <dpgather/comm/ipc/epoch_barrier.hpp>
#include <dpgather/comm/thread/device/bodies.hpp>
#include <dpgather/core/cuda/launch.cuh>
#include <dpgather/core/cuda/launch_wait.cuh>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/dpgather.hpp>
#include <dpgather/trim/device_compact.cuh>

using namespace dpgather;

namespace {

template <class T>
void exchange(CudaStream stream, Rows<const T> from, Rows<T> to, CountsView counts,
              ValidRows valid) {
  launch(stream, "select_own", 1, detail::SelectOwnRow<T>{from, to, 0, 1, counts});
  launch(stream, "select_block", 1, detail::SelectFromBlock<T>{from, to, 1, counts});
  launch(stream, "place_own", 1, detail::PlaceOwnRow<T>{from, to, 1, 0, 1, false, counts});
  launch(stream, "hash", 1, detail::HashRow<T>{from, valid, nullptr});
  zero_tail(valid, to, stream);
}

template <class E>
void pad(CudaStream stream, BatchField<E> field, E* saved) {
  detail::launch_chunks(stream, "load", 1, 1, detail::CopyAndFill<E>{field, field, 1, E{}});
  detail::launch_chunks(stream, "fill", 1, 1, detail::Fill<E>{field, 0, E{}});
  detail::launch_chunks(stream, "save", 1, 1, detail::Save<E>{field, 0, saved, 1});
  detail::launch_chunks(stream, "restore", 1, 1, detail::Restore<E>{field, 0, saved, 1});
}

template <class T>
void trim(CudaStream stream, DeviceCompact<>& compact, const std::int32_t* valid, Rows<T> slots,
          Rows<T> out) {
  launch(stream, "compact_slots", 1, detail::CompactSlots<T>{{}, slots, out, 1});
  compact(valid, 1, 1, slots, out, stream);
}

template <class T>
void collectives(CudaStream stream) {
  launch(stream, "copy_blocks", 1, detail::CopyBlocks<detail::BitsOf<T>>{});
  launch(stream, "sum_ranks", 1, detail::SumRanks<T>{});
  launch(stream, "copy_row", 1, detail::CopyRow<T>{});
  launch(stream, "store_to_peers", 1, detail::StoreToPeers<T>{});
  launch(stream, "pull_and_add", 1, detail::PullAndAdd<T>{});
  launch(stream, "store_to_leader", 1, detail::StoreToLeader<T>{});
  launch(stream, "pull_all", 1, detail::PullAll<T>{});
  launch(stream, "add_on_host", 1, detail::AddOnHost<T>{});
  launch(stream, "pull_own", 1, detail::PullOwn<T>{});
}

template <class T>
void all(CudaStream stream, CountsView counts, ValidRows valid, DeviceCompact<>& compact) {
  exchange<T>(stream, Rows<const T>{}, Rows<T>{}, counts, valid);
  pad<T>(stream, BatchField<T>{}, nullptr);
  trim<T>(stream, compact, nullptr, Rows<T>{}, Rows<T>{});
  collectives<T>(stream);
}

}  // namespace

void every_kernel(CudaStream stream, CountsView counts, ValidRows valid, DeviceCompact<>& compact) {
  all<float>(stream, counts, valid, compact);
  all<double>(stream, counts, valid, compact);
  all<bf16>(stream, counts, valid, compact);
  all<fp16>(stream, counts, valid, compact);
  all<std::int32_t>(stream, counts, valid, compact);
  all<std::int64_t>(stream, counts, valid, compact);
  fill_sentinel(valid, Rows<std::int32_t>{}, -1, stream);
  fill_sentinel(valid, Rows<std::int64_t>{}, std::int64_t{-1}, stream);
  row_mask(valid, nullptr, stream);
  launch(stream, "words", 1, detail::WriteWords{});
  launch(stream, "word", 1, detail::SetWord{});
  launch_wait(stream, "barrier", 1, std::chrono::seconds(1), detail::EpochBarrier{});
  launch(stream, "judge", 1, detail::JudgeReduction{});
}
