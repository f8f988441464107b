#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/memory.hpp>
#include <dpgather/exchange/device_counts.hpp>
#include <dpgather/exchange/row_ops.hpp>
#include <dpgather/exchange/valid_rows.hpp>

using namespace dpgather;

namespace {

const float poison = std::numeric_limits<float>::quiet_NaN();

/// Counts of one step, as DeviceCounts would hold them.
struct Step {
  std::vector<std::int64_t> valid, offsets, lens;
  std::int64_t error = 0;
  std::int64_t own = 0;
  [[nodiscard]] CountsView view() {
    return {.valid = valid.data(),
            .offsets = offsets.data(),
            .lens = lens.data(),
            .error = &error,
            .blocks = static_cast<std::int64_t>(valid.size()),
            .own = own};
  }
};

/// As a device would: lanes of all rows in some other order.
template <class Body>
void run(const Body& body, std::int64_t rows, int lanes) {
  for (int lane = lanes - 1; lane >= 0; --lane)
    for (std::int64_t row = rows - 1; row >= 0; --row) body(row, lane, lanes);
}

}  // namespace

TEST_CASE("pads are zero by select: NaN in the source does not leak") {
  Step step{.valid = {0}, .offsets = {0}, .lens = {6}};
  const std::vector<float> from(12, poison);
  std::vector<float> to(12, poison);
  run(detail::SelectOwnRow<float>{Rows<const float>(from.data(), 2, 2, 6),
                                  Rows<float>(to.data(), 6, 2), 2, 6, step.view()},
      4, 1);
  for (std::size_t i = 0; i < 12; ++i) CHECK((i < 4 ? std::isnan(to[i]) : to[i] == 0.0f));
}

TEST_CASE("select copies the rows below valid and zeroes the rest of its range only") {
  Step step{.valid = {3}, .offsets = {0}, .lens = {6}};
  for (const std::int64_t stride : {2, 5})
    for (const int lanes : {1, 2, 3}) {
      std::vector<float> from(40), to(40, -1.0f);
      for (std::int64_t i = 0; i < 6; ++i)
        from[static_cast<std::size_t>(i * stride)] = static_cast<float>(i + 1);
      const Rows<float> out(to.data(), 6, 2, stride);
      run(detail::SelectOwnRow<float>{Rows<const float>(from.data(), 6, 2, stride), out, 1, 6,
                                      step.view()},
          4, lanes);
      CHECK(out(0, 0) == -1.0f);
      CHECK(out(1, 0) == 2.0f);
      CHECK(out(2, 0) == 3.0f);
      CHECK(out(3, 0) == 0.0f);
      CHECK(out(4, 1) == 0.0f);
      CHECK(out(5, 0) == -1.0f);
      if (stride == 5) CHECK(to[4] == -1.0f);  // gaps between rows are nobody's to write
    }
}

TEST_CASE("rows that lie where they should are not touched") {
  Step step{.valid = {2}, .offsets = {0}, .lens = {2}};
  std::vector<float> data{1, 2, 3, 4};
  const Rows<float> rows(data.data(), 2, 2);
  run(detail::SelectOwnRow<float>{rows, rows, 0, 2, step.view()}, 2, 2);
  CHECK(data == std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("own rows come back out of their block, and never from beyond the buffer") {
  Step step{.valid = {1, 3}, .offsets = {0, 2}, .lens = {2, 4}, .own = 1};
  const std::vector<float> global{1, 2, 3, 4, 5};  // one row short of offset 2 + len 4
  std::vector<float> out(4, poison);
  run(detail::SelectFromBlock<float>{Rows<const float>(global.data(), 5, 1),
                                     Rows<float>(out.data(), 4, 1), 4, step.view()},
      4, 1);
  CHECK(out == std::vector<float>{3, 4, 5, 0});
  step.valid[1] = 4;
  run(detail::SelectFromBlock<float>{Rows<const float>(global.data(), 5, 1),
                                     Rows<float>(out.data(), 4, 1), 4, step.view()},
      4, 1);
  CHECK(out == std::vector<float>{3, 4, 5, 0});
}

TEST_CASE("placing own rows zeroes all others; a sliced rank places its slice alone") {
  Step step{.valid = {2, 3}, .offsets = {0, 2}, .lens = {2, 4}, .own = 1};
  const std::vector<float> own{7, 8, 9};
  const auto place = [&](std::int64_t tp, bool sliced) {
    std::vector<float> global(8, poison);
    run(detail::PlaceOwnRow<float>{Rows<const float>(own.data(), 3, 1),
                                   Rows<float>(global.data(), 8, 1), 4, tp, 2, sliced, step.view()},
        8, 1);
    return global;
  };
  CHECK(place(0, false) == std::vector<float>{0, 0, 7, 8, 9, 0, 0, 0});
  CHECK(place(0, true) == std::vector<float>{0, 0, 7, 8, 0, 0, 0, 0});
  CHECK(place(1, true) == std::vector<float>{0, 0, 0, 0, 9, 0, 0, 0});
}

TEST_CASE("lanes share a row: any number of them, aligned or not, writes the same bytes") {
  const auto check = [](auto zero) {
    using T = decltype(zero);
    for (const std::int64_t width : {1, 3, 4, 8, 17, 64})
      for (const std::int64_t shift : {0, 1}) {
        Buffer<T> from(width + 1), to(width + 2);
        for (std::int64_t i = 0; i <= width; ++i) from.data()[i] = static_cast<T>(i + 1);
        for (const int lanes : {1, 2, 5, 32}) {
          std::fill_n(to.data(), to.size(), static_cast<T>(99));
          for (int lane = 0; lane < lanes; ++lane)
            detail::copy_elements(to.data() + shift, from.data() + shift, width, lane, lanes);
          for (std::int64_t i = 0; i < width; ++i)
            CHECK(to.data()[shift + i] == static_cast<T>(shift + i + 1));
          CHECK(to.data()[shift + width] == static_cast<T>(99));
          for (int lane = 0; lane < lanes; ++lane)
            detail::zero_elements(to.data() + shift, width, lane, lanes);
          for (std::int64_t i = 0; i < width; ++i) CHECK(to.data()[shift + i] == T{});
          CHECK(to.data()[shift + width] == static_cast<T>(99));
        }
      }
  };
  check(float{});
  check(double{});
  check(std::int32_t{});
}

TEST_CASE("a count above the len is clamped and leaves its size in the error word") {
  Step step{.valid = {9}, .offsets = {0}, .lens = {9}};
  CHECK(step.view().own_valid(4) == 4);
  CHECK(step.error == 9);
  CHECK(step.view().own_valid(16) == 9);
}

TEST_CASE("work on no rows is not recorded") {
  Step step{.valid = {0}, .offsets = {0}, .lens = {0}};
  Recording recording;
  const Rows<float> none;
  launch(HostStream(recording), "nothing", 0,
         detail::SelectOwnRow<float>{none, none, 0, 0, step.view()});
  CHECK(recording.size() == 0);
}

TEST_CASE("counts of any number of blocks arrive in order, however they fall into launches") {
  for (const std::int64_t blocks : {1, 31, 32, 33, 64, 95, 96, 97, 200}) {
    dpgather::Plan plan;
    for (std::int64_t block = 0; block < blocks; ++block) {
      plan.valid.push_back(block + 1);
      plan.offsets.push_back(1000 + block);
      plan.lens.push_back(5000 + block);
    }
    dpgather::DeviceCounts<dpgather::HostMemory> counts(blocks, 0);
    counts.write(plan, dpgather::HostStream{});
    CAPTURE(blocks);
    for (std::int64_t block = 0; block < blocks; ++block) {
      REQUIRE(counts.view().valid[block] == block + 1);
      REQUIRE(counts.view().offsets[block] == 1000 + block);
      REQUIRE(counts.view().lens[block] == 5000 + block);
    }
  }
}
