// A group of five different calls.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "conformance/guarded.hpp"

namespace conformance {

/// Buffers of a group of five different calls, and what they must hold after it.
template <class World>
struct Group {
  using Stream = typename World::Comm::memory_type::stream_type;

  explicit Group(const Place<Stream>& at)
      : rank(at),
        gathered(8 * at.size),
        reduced(8),
        scattered(8),
        sent(8 * at.size),
        rows(8),
        root_data(8),
        ragged(at.size * (at.size + 1) / 2) {
    for (int r = 0; r < at.size; ++r) {
      counts.push_back(r + 1);
      offsets.push_back(r * (r + 1) / 2);
    }
    fill(0);
  }
  void fill(int with) {
    salt = with;
    for (std::int64_t i = 0; i < 8; ++i) rows[i] = value<float>(rank.rank, i, salt);
    for (std::int64_t i = 0; i < 8 * rank.size; ++i) sent[i] = value<float>(rank.rank, i, salt + 1);
    for (std::int64_t i = 0; i < 8; ++i)
      root_data[i] = rank.rank == 0 ? value<double>(0, i, salt + 2) : -1;
    for (const auto* const result : {&gathered, &reduced, &scattered, &ragged})
      for (std::int64_t i = 0; i < result->size(); ++i)
        (*result)[i] = Guarded<float, World>::untouched();
    put(rank, rows, sent, root_data, gathered, reduced, scattered, ragged);
  }
  void call(typename World::Comm& comm, Stream on) {
    comm.group([&] {
      comm.all_gather(rows.data(), gathered.data(), 8, on);
      comm.all_reduce(rows.data(), reduced.data(), 8, on);
      comm.reduce_scatter(sent.data(), scattered.data(), 8, on);
      comm.broadcast(root_data.data(), 8, 0, on);
      comm.all_gather_v(sent.data(), ragged.data(), counts, offsets, on);
    });
  }
  void verify(typename World::Comm& comm, std::string_view when) {
    fetch(comm, rank, gathered, reduced, scattered, root_data, ragged);
    std::vector<float> gather, reduce, scatter, v;
    std::vector<double> root;
    for (int r = 0; r < rank.size; ++r)
      for (std::int64_t i = 0; i < 8; ++i) gather.push_back(value<float>(r, i, salt));
    for (std::int64_t i = 0; i < 8; ++i) {
      reduce.push_back(sum<float>(rank.size, i, salt));
      scatter.push_back(sum<float>(rank.size, rank.rank * 8 + i, salt + 1));
      root.push_back(value<double>(0, i, salt + 2));
    }
    for (int r = 0; r < rank.size; ++r)
      for (std::int64_t i = 0; i < r + 1; ++i) v.push_back(value<float>(r, i, salt + 1));
    rank.findings.template equal<float>(gathered.span(), gather, concat(when, ": all-gather"));
    rank.findings.template equal<float>(reduced.span(), reduce, concat(when, ": all-reduce"));
    rank.findings.template equal<float>(scattered.span(), scatter,
                                        concat(when, ": reduce-scatter"));
    rank.findings.template equal<double>(root_data.span(), root, concat(when, ": broadcast"));
    rank.findings.template equal<float>(ragged.span(), v, concat(when, ": all-gather-v"));
  }

  Place<Stream> rank;
  int salt = 0;
  Guarded<float, World> gathered, reduced, scattered, sent, rows;
  Guarded<double, World> root_data;
  Guarded<float, World> ragged;
  std::vector<std::int64_t> counts, offsets;
};

}  // namespace conformance
