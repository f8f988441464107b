// Every row body on a GPU against the same body on the host: odd widths, addresses that are no
// multiple of 16 bytes, gaps between rows, all six types.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/cuda.cuh>
#include <dpgather/dpgather.hpp>
#include <dpgather/trim/device_compact.cuh>

#include "gpu/gpus.hpp"
#include "support/seed.hpp"
#include "support/transfer_cuda.hpp"

namespace {

using namespace dpgather;

struct OnHost {};
struct OnDevice {};

/// The same elements on the host and on the device, `shift` elements behind an aligned address.
template <class E>
class Twin {
 public:
  Twin(std::int64_t size, std::int64_t shift, support::Random& random)
      : host_(size + shift), device_(size + shift), shift_(shift) {
    auto* const bytes = reinterpret_cast<unsigned char*>(host_.data());
    for (std::size_t i = 0; i < elements().size_bytes(); i += 8) {
      const std::uint64_t bits = random.bits();
      std::memcpy(bytes + i, &bits, std::min<std::size_t>(8, elements().size_bytes() - i));
    }
    upload();
  }
  [[nodiscard]] E* at(OnHost) const { return host_.data() + shift_; }
  [[nodiscard]] E* at(OnDevice) const { return device_.data() + shift_; }
  /// To change it: on the host, and then `upload`.
  E& operator[](std::int64_t i) { return host_.data()[shift_ + i]; }
  void upload() const {
    test::upload(std::span<const E>(elements()), device_.data(), CudaStream{});
  }
  [[nodiscard]] bool alike() const {
    std::vector<E> got(elements().size());
    test::download(static_cast<const E*>(device_.data()), std::span<E>(got), CudaStream{});
    return std::memcmp(got.data(), host_.data(), elements().size_bytes()) == 0;
  }

 private:
  [[nodiscard]] std::span<E> elements() const { return host_.span(); }

  Buffer<E> host_;
  Buffer<E, DeviceMemory> device_;
  std::int64_t shift_;
};

/// `make(side)` is a body over one side's elements; it runs on both.
template <class Make>
void run_both(std::string_view name, std::int64_t rows, const Make& make) {
  launch(HostStream{}, name, rows, make(OnHost{}));
  launch(CudaStream{}, name, rows, make(OnDevice{}));
  CudaStream{}.synchronize();
}

/// One width, address and gap: what all bodies of one type work on.
template <class T>
struct Bench {
  static constexpr std::int64_t rows = 37, blocks = 3, len = 9, own = 1;
  std::int64_t width, stride;
  Twin<T> from, to;
  Twin<std::int64_t> counts;  // valid, offsets, lens
  Twin<std::int64_t> error;

  Bench(std::int64_t w, std::int64_t from_shift, std::int64_t to_shift, std::int64_t gap,
        support::Random& random)
      : width(w),
        stride(w + gap),
        from(rows * stride, from_shift, random),
        to(rows * stride, to_shift, random),
        counts(3 * blocks, 0, random),
        error(1, 0, random) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      counts[b] = random.between(0, len + 1);  // one above the len, at times
      counts[blocks + b] = 12 * b;
      counts[2 * blocks + b] = 12;
    }
    error[0] = 0;
    counts.upload();
    error.upload();
  }
  template <class Side>
  [[nodiscard]] CountsView view(Side side) const {
    const std::int64_t* const at = counts.at(side);
    return {at, at + blocks, at + 2 * blocks, error.at(side), blocks, own};
  }
  template <class Side>
  [[nodiscard]] ValidRows valid(Side side) const {
    return {counts.at(side), counts.at(side) + blocks, blocks, rows};
  }
  template <class Side>
  [[nodiscard]] Rows<const T> source(Side side) const {
    return {from.at(side), rows, width, stride};
  }
  template <class Side>
  [[nodiscard]] Rows<T> target(Side side) const {
    return {to.at(side), rows, width, stride};
  }
  template <class Side>
  [[nodiscard]] BatchField<T> field(const Twin<T>& twin, Side side) const {
    return {.data = twin.at(side), .len = 5, .capacity = rows, .inner = width};
  }

  template <class Make>
  void expect_alike(std::string_view name, std::int64_t n, const Make& make) {
    run_both(name, n, make);
    CHECK_MESSAGE(to.alike(), name, ", width ", width);
    CHECK_MESSAGE(error.alike(), name, ", width ", width, ": the error word");
  }

  void exchange() {
    expect_alike("select_own", len, [&](auto side) {
      return detail::SelectOwnRow<T>{source(side), target(side), 2, len, view(side)};
    });
    expect_alike("select_block", len, [&](auto side) {
      return detail::SelectFromBlock<T>{source(side), target(side), len, view(side)};
    });
    for (const bool sliced : {false, true})
      expect_alike("place_own", rows, [&](auto side) {
        return detail::PlaceOwnRow<T>{source(side), target(side), len, 1, 2, sliced, view(side)};
      });
    expect_alike("zero_pad", rows, [&](auto side) {
      return ZeroPadRow<T>{valid(side), target(side)};
    });
  }
  void hash(support::Random& random) {
    Twin<std::int64_t> sum(1, 0, random);
    run_both("hash", rows, [&](auto side) {
      return detail::HashRow<T>{source(side), valid(side), sum.at(side)};
    });
    CHECK_MESSAGE(sum.alike(), "hash, width ", width);
  }
  void pad(support::Random& random) {
    const T fill = from[0];
    const std::int64_t count = 23 * width;
    const auto both = [&](std::string_view name, const auto& make) {
      detail::launch_chunks(HostStream{}, name, 1, count, make(OnHost{}));
      detail::launch_chunks(CudaStream{}, name, 1, count, make(OnDevice{}));
      CudaStream{}.synchronize();
      CHECK_MESSAGE(to.alike(), name, ", width ", width);
    };
    both("copy_and_fill", [&](auto side) {
      return detail::CopyAndFill<T>{field(from, side), field(to, side), 11 * width, fill};
    });
    both("fill", [&](auto side) { return detail::Fill<T>{field(to, side), 3, fill}; });
    Twin<T> saved(count, 1, random);
    both("save", [&](auto side) {
      return detail::Save<T>{field(from, side), 2, saved.at(side), count};
    });
    CHECK_MESSAGE(saved.alike(), "save, width ", width);
    both("restore", [&](auto side) {
      return detail::Restore<T>{field(to, side), 4, saved.at(side), count};
    });
  }
  void compact(support::Random& random) {
    constexpr std::int64_t requests = 6, slots = 6;
    Twin<std::int64_t> starts(requests + 1, 0, random);
    starts[0] = 0;
    for (std::int64_t r = 0; r < requests; ++r)
      starts[r + 1] = starts[r] + random.between(0, slots);
    starts.upload();
    expect_alike("compact_row", rows, [&](auto side) {
      return detail::CompactRow<T>{starts.at(side), requests, slots, source(side), target(side)};
    });
    expect_alike("compact_slots", requests * slots, [&](auto side) {
      detail::CompactSlots<T> body{{}, source(side), target(side), slots};
      for (std::int64_t r = 0; r <= requests; ++r) body.starts[r] = *(starts.at(OnHost{}) + r);
      return body;
    });
  }
};

template <class T>
void all_bodies(std::uint64_t seed) {
  support::Random random(seed);
  for (const std::int64_t width : {1, 2, 3, 5, 8, 16, 24, 31, 64, 257, 1100})
    for (const std::int64_t from : {0, 1, 3})
      for (const std::int64_t to : {0, 1, 2})
        for (const std::int64_t gap : {0, 5}) {
          if (gpu::short_run() && (from + to + gap) % 3 != 0) continue;
          Bench<T> bench(width, from, to, gap, random);
          bench.exchange();
          bench.hash(random);
          bench.compact(random);
          if (gap == 0) bench.pad(random);  // a field has no gaps
        }
}

/// With few blocks, so that strides are taken, and with many.
template <class T>
void all_bodies() {
  const std::uint64_t seed = support::seed("row bodies", 41);
  for (const int blocks : {2, 1024}) {
    launch_blocks() = blocks;
    all_bodies<T>(seed);
  }
}

/// Valid rows of `slots` [requests * width, H], one after the other; the rest of `out` is zero.
template <class T>
std::vector<T> compacted(const std::vector<std::int32_t>& valid, std::int64_t width,
                         const std::vector<T>& slots, std::int64_t hidden) {
  std::vector<T> out;
  for (std::size_t r = 0; r < valid.size(); ++r) {
    const auto first = slots.begin() + static_cast<std::ptrdiff_t>(r) * width * hidden;
    out.insert(out.end(), first, first + valid[r] * hidden);
  }
  out.resize(slots.size(), T{});
  return out;
}

}  // namespace

TEST_CASE("row bodies do on a GPU what they do on the host: float") {
  all_bodies<float>();
}
TEST_CASE("row bodies do on a GPU what they do on the host: double") {
  all_bodies<double>();
}
TEST_CASE("row bodies do on a GPU what they do on the host: bf16") {
  all_bodies<bf16>();
}
TEST_CASE("row bodies do on a GPU what they do on the host: fp16") {
  all_bodies<fp16>();
}
TEST_CASE("row bodies do on a GPU what they do on the host: int32") {
  all_bodies<std::int32_t>();
}
TEST_CASE("row bodies do on a GPU what they do on the host: int64") {
  all_bodies<std::int64_t>();
}

TEST_CASE("masks, sentinels and counts do on a GPU what they do on the host") {
  support::Random random(support::seed("masks", 43));
  for (int i = 0; i < 50; ++i) {
    const std::int64_t blocks = random.between(1, 64), width = random.between(1, 9);
    Twin<std::int64_t> counts(2 * blocks, 0, random);
    std::int64_t rows = 0;
    for (std::int64_t b = 0; b < blocks; ++b) {
      counts[b] = random.chance(30) ? 0 : random.between(0, 20);
      counts[blocks + b] = rows;
      rows += counts[b] + random.between(0, 3);
    }
    counts.upload();
    Twin<std::int32_t> ids(rows * width, random.between(0, 3), random);
    Twin<std::uint8_t> mask(rows, random.between(0, 3), random);
    detail::WriteWords words{};
    words.count = static_cast<int>(random.between(1, detail::WriteWords::most));
    for (int k = 0; k < words.count; ++k)
      words.values[k] = static_cast<std::int64_t>(random.bits());
    Twin<std::int64_t> written(detail::WriteWords::most, 0, random);
    const auto valid = [&](auto side) {
      return ValidRows{counts.at(side), counts.at(side) + blocks, blocks, rows};
    };
    run_both("sentinel", rows, [&](auto side) {
      return SentinelPadRow<std::int32_t>{valid(side), {ids.at(side), rows, width}, -1};
    });
    run_both("mask", rows, [&](auto side) { return MaskRow{valid(side), mask.at(side)}; });
    run_both("words", 1, [&](auto side) {
      words.to = written.at(side);
      return words;
    });
    CHECK(ids.alike());
    CHECK(mask.alike());
    CHECK(written.alike());
  }
}

TEST_CASE("slots are compacted by counts in device memory, eagerly and by one graph") {
  support::Random random(support::seed("compact", 47));
  cudaStream_t made = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking) == cudaSuccess);
  const CudaStream stream = made;
  for (const std::int64_t hidden : {1, 7, 64}) {
    const std::int64_t requests = 300, width = 5, rows = requests * width;
    DeviceCompact<> compact(requests);
    Buffer<std::int32_t, DeviceMemory> valid(requests);
    Buffer<bf16, DeviceMemory> slots(rows * hidden), out(rows * hidden);
    std::vector<std::int32_t> counts(static_cast<std::size_t>(requests));
    std::vector<bf16> sent(static_cast<std::size_t>(rows * hidden)), got(sent.size());
    const auto work = [&](CudaStream s) {
      compact(valid.data(), requests, width, slots.rows(rows, hidden), out.rows(rows, hidden), s);
    };
    const auto fill = [&] {
      for (auto& n : counts)
        n = static_cast<std::int32_t>(random.chance(30) ? 0 : random.between(0, width));
      for (auto& element : sent) element = bf16(static_cast<float>(random.between(-99, 99)));
      test::upload(std::span<const std::int32_t>(counts), valid.data(), stream);
      test::upload(std::span<const bf16>(sent), slots.data(), stream);
    };
    const auto check = [&](int i) {
      test::download(static_cast<const bf16*>(out.data()), std::span<bf16>(got), stream);
      CHECK_NOTHROW(compact.status());
      CHECK_MESSAGE(got == compacted(counts, width, sent, hidden), "round ", i);
    };
    fill();
    work(stream);
    check(0);
    const CudaGraph graph = CudaGraphs::capture(stream, work);
    for (int i = 1; i <= 20; ++i) {
      fill();
      CudaGraphs::launch(graph, stream, {.operation = "replay"});
      check(i);
    }
    counts[7] = width + 2;
    test::upload(std::span<const std::int32_t>(counts), valid.data(), stream);
    CudaGraphs::launch(graph, stream, {.operation = "replay"});
    stream.synchronize();
    CHECK_THROWS_AS(compact.status(), InvalidArgument);
  }
  CHECK(cudaStreamDestroy(made) == cudaSuccess);
}
