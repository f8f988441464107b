// What no gather can be faster than: copies and barriers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include <dpgather/core/copy_bytes.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/core/stream.hpp>

#include "contender.hpp"
#include "report.hpp"

namespace step_cost {

/// The bytes of a step that this rank reads and writes, between private buffers: the rows of all
/// ranks, and then the sums of all ranks for its own rows. Then a barrier, so that where ranks share
/// cores the copies of all are in it.
template <class Barrier>
Contender copies(std::size_t rank, std::int64_t max_global_rows, std::int64_t hidden,
                 const Barrier& barrier, bool rewrites) {
  const auto row = static_cast<std::size_t>(hidden) * sizeof(dpgather::bf16);
  const auto bytes = static_cast<std::size_t>(max_global_rows) * row;
  const auto buffer = [&] {
    return std::make_shared<dpgather::Buffer<std::byte>>(static_cast<std::int64_t>(bytes));
  };
  const auto from = buffer(), to = buffer();
  return {.name = copies_and_barrier, .run = [=](const Rows& rows) {
            const auto all = static_cast<std::size_t>(
                std::accumulate(rows.begin(), rows.end(), std::int64_t{0}));
            if (rewrites) {
              std::memset(from->data(), 1, all * row);
              barrier();
            }
            const Stopwatch watch;
            const std::size_t own = static_cast<std::size_t>(rows[rank]) * row;
            // Its own rows lie in the slot.
            std::memcpy(to->data(), from->data(), all * row - own);
            for (std::size_t i = 0; i < rows.size(); ++i)
              std::memcpy(to->data() + i * own, from->data() + i * own, own);
            barrier();
            return watch.seconds();
          }};
}

/// The same bytes where they are: each rank copies its peers' rows out of their slots, and then all
/// ranks' blocks of its own rows out of theirs, with a barrier before and after each way. What a
/// step adds to it is agreement, padding, planning and adding up.
template <class Comm, class Barrier>
Contender copies_across(Comm& comm, std::int64_t max_local_rows, std::int64_t hidden,
                        const Barrier& barrier, bool rewrites) {
  const auto ranks = static_cast<std::size_t>(comm.size());
  const auto rank = static_cast<std::size_t>(comm.rank());
  const std::int64_t row = hidden * static_cast<std::int64_t>(sizeof(dpgather::bf16));
  struct Buffers {
    dpgather::Buffer<std::byte> slot, global, partial, sums;
    std::vector<std::int64_t> slots, partials;  // of all ranks, as numbers that travel
  };
  const auto mine = std::make_shared<Buffers>();
  mine->slot = dpgather::Buffer<std::byte>(max_local_rows * row);
  for (auto* buffer : {&mine->global, &mine->partial, &mine->sums})
    *buffer = dpgather::Buffer<std::byte>(max_local_rows * comm.size() * row);
  const auto tell = [&](const std::byte* data, std::vector<std::int64_t>& all) {
    const auto address = static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(data));
    all.resize(ranks);
    comm.all_gather(&address, all.data(), 1, dpgather::HostStream{});
  };
  tell(mine->slot.data(), mine->slots);
  tell(mine->partial.data(), mine->partials);
  const auto write = [=](const dpgather::Buffer<std::byte>& buffer, std::size_t bytes) {
    std::memset(buffer.data(), 1, bytes);
    barrier();
  };
  for (const auto* buffer : {&mine->slot, &mine->global, &mine->partial, &mine->sums})
    write(*buffer, static_cast<std::size_t>(buffer->size()));
  return {.name = copies_between_ranks, .run = [=](const Rows& rows) {
            const auto bytes_of = [&](std::size_t r) {
              return static_cast<std::size_t>(rows[r] * row);
            };
            const auto copy = [](std::byte* to, std::int64_t from, std::size_t bytes) {
              dpgather::detail::copy_bytes(
                  to, reinterpret_cast<const std::byte*>(static_cast<std::intptr_t>(from)), bytes);
            };
            std::vector<std::size_t> begins(ranks + 1, 0);
            for (std::size_t r = 0; r < ranks; ++r) begins[r + 1] = begins[r] + bytes_of(r);
            if (rewrites) write(mine->slot, bytes_of(rank));
            Stopwatch watch;
            barrier();
            for (std::size_t i = 1; i <= ranks; ++i) {
              const std::size_t r = (rank + i) % ranks;
              copy(mine->global.data() + begins[r], mine->slots[r], bytes_of(r));
            }
            barrier();
            if (rewrites) watch.pause([&] { write(mine->partial, begins[ranks]); });
            barrier();
            for (std::size_t i = 1; i <= ranks; ++i) {
              const std::size_t r = (rank + i) % ranks;
              copy(mine->sums.data() + i * bytes_of(rank) - bytes_of(rank),
                   mine->partials[r] + static_cast<std::int64_t>(begins[rank]), bytes_of(rank));
            }
            barrier();
            return watch.seconds();
          }};
}

template <class Barrier>
Contender barrier_alone(const Barrier& barrier) {
  return {.name = a_barrier, .run = [=](const Rows&) {
            const Stopwatch watch;
            barrier();
            return watch.seconds();
          }};
}

}  // namespace step_cost
