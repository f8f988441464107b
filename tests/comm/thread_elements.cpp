// What ranks that are threads move: more than the caches hold, and element types of a user's.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/thread.hpp>

#include "support/ranks.hpp"

using namespace dpgather;

TEST_CASE("calls of which ranks receive more than the caches hold move the same") {
  const int ranks = 2;
  const std::int64_t limit = detail::cache_bytes() / ranks;  // of a rank
  if (limit > (std::int64_t{1} << 26)) {
    MESSAGE("left out: this would take buffers of ", limit, " bytes a rank");
    return;
  }
  const std::int64_t block = limit / ranks / 8 + 77;  // not a multiple of a line
  const auto value = [](int rank, std::int64_t i) { return rank * 1'000'000'007 + i; };
  run_ranks(ranks, [&](ThreadComm<>& comm) {
    const HostStream s;
    const auto n = static_cast<std::size_t>(block);
    std::vector<std::int64_t> mine(n), all(ranks * n + 1, -1), sums(ranks * n, -1);
    for (std::int64_t i = 0; i < block; ++i)
      mine[static_cast<std::size_t>(i)] = value(comm.rank(), i);
    comm.all_gather<std::int64_t>(mine.data(), all.data() + 1, block, s);  // off any line
    std::int64_t wrong = all[0] != -1;
    for (int r = 0; r < ranks; ++r)
      for (std::int64_t i = 0; i < block; ++i)
        wrong += all[static_cast<std::size_t>(1 + r * block + i)] != value(r, i);
    comm.all_reduce<std::int64_t>(all.data() + 1, sums.data(), ranks * block, s);
    for (std::size_t i = 0; i < sums.size(); ++i) wrong += sums[i] != ranks * all[i + 1];
    test::expect(wrong == 0, wrong, " wrong elements");
  });
}

namespace {
/// An element type of a user's, without arithmetic.
struct Half {
  std::uint16_t bits;
};
}  // namespace
template <>
struct dpgather::ElementTraits<Half> : dpgather::ElementTraitsOf<dpgather::DType::bfloat16, float> {
};

TEST_CASE(
    "a type of one's own is added as the layout says that it names, beside ranks that use "
    "another") {
  run_ranks(3, [](ThreadComm<>& comm) {
    const std::vector<float> values{1.5f, -2, 300};
    std::vector<bf16> mine(3), sum(3);
    for (std::size_t i = 0; i < 3; ++i) mine[i] = bf16(values[i] * float(comm.rank() + 1));
    if (comm.rank() == 1) {
      std::vector<Half> as_half(3), out(3);
      std::memcpy(as_half.data(), mine.data(), 6);
      comm.all_reduce<Half>(as_half.data(), out.data(), 3, HostStream{});
      std::memcpy(static_cast<void*>(sum.data()), out.data(), 6);
    } else {
      comm.all_reduce<bf16>(mine.data(), sum.data(), 3, HostStream{});
    }
    for (std::size_t i = 0; i < 3; ++i)
      test::expect(float(sum[i]) == 6 * values[i], "sum ", i, " is ", float(sum[i]));
  });
}

TEST_CASE(
    "ranks that share out a one-sided sum get the bits of one that adds alone, in place too") {
  for (const int ranks : {1, 2, 3, 5}) {
    for (const bool in_place : {false, true}) {
      for (int many = 0; many < ranks; ++many) {
        // One rank has nearly all rows, one has none if there are three; more than is staged.
        std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks), 13), offsets;
        counts[static_cast<std::size_t>((many + 1) % ranks)] = 0;
        counts[static_cast<std::size_t>(many)] = 20'011;
        std::int64_t all = 0;
        for (const std::int64_t n : counts) offsets.push_back(all), all += n + 3;
        const auto sent = [](int rank, std::int64_t i) {
          return bf16(static_cast<float>((i * 7 + rank * 31) % 257) / 16);
        };
        run_ranks(ranks, [&](ThreadComm<>& comm) {
          const auto own = static_cast<std::size_t>(comm.rank());
          std::vector<bf16> send(static_cast<std::size_t>(all)), apart(send.size(), bf16(-1));
          for (std::int64_t i = 0; i < all; ++i)
            send[static_cast<std::size_t>(i)] = sent(comm.rank(), i);
          bf16* const out = in_place ? send.data() + offsets[own] : apart.data();
          const auto before = comm.elements_moved();
          comm.reduce_scatter_v<bf16>(send.data(), out, counts, offsets, HostStream{});
          std::int64_t wrong = 0;
          for (std::int64_t i = 0; i < counts[own]; ++i) {
            float sum = 0;
            for (int r = 0; r < ranks; ++r) sum += float(sent(r, offsets[own] + i));
            wrong += out[i].bits != bf16(sum).bits;
          }
          for (std::int64_t i = counts[own]; i < all && !in_place; ++i)
            wrong += apart[static_cast<std::size_t>(i)].bits != bf16(-1).bits;
          test::expect(wrong == 0, wrong, " wrong elements of ", counts[own]);
          test::expect(
              comm.elements_moved() - before == static_cast<std::uint64_t>(counts[own] * ranks),
              "what other ranks add for this one is not counted as its own");
        });
      }
    }
  }
}
