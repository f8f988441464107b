// The list of fields: options, mode sets and members of every kind.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/element.hpp>
#include <dpgather/pad/fields.hpp>

namespace {

using dpgather::BatchField;
using dpgather::bf16;
using dpgather::Forward;
using dpgather::ForwardSet;

struct Batch {
  BatchField<bf16> hidden;
  std::vector<float> slots;
  std::int32_t count = 0;
  bf16 fill{3.0f};

  static constexpr auto fields = dpgather::batch_fields(
      dpgather::token_field("hidden", &Batch::hidden,
                            {.fill = bf16(1.0f),
                             .fill_from = &Batch::fill,
                             .fill_in = {{Forward::decode, bf16(2.0f)}, {Forward::idle, bf16()}}}),
      dpgather::request_field("slots", &Batch::slots, {.rows_per = 3, .inner = 2}),
      dpgather::request_count("count", &Batch::count, {Forward::decode}));
};
static_assert(dpgather::DescribedBatch<Batch>);
static_assert(!dpgather::DescribedBatch<const Batch>);
static_assert(!dpgather::DescribedBatch<int>);
static_assert(dpgather::detail::field_count<Batch> == 3);

}  // namespace

TEST_CASE("a mode's own fill beats the batch's, which beats the listed one") {
  const Batch batch;
  auto options = std::get<0>(Batch::fields).options;
  CHECK(float(options.fill_for(Forward::decode, batch)) == 2.0f);
  CHECK(float(options.fill_for(Forward::idle, batch)) == 0.0f);
  CHECK(float(options.fill_for(Forward::extend, batch)) == 3.0f);
  options.fill_from = nullptr;
  CHECK(float(options.fill_for(Forward::extend, batch)) == 1.0f);
}

TEST_CASE("a set of modes holds what was listed, and all holds every mode") {
  constexpr ForwardSet some = {Forward::extend, Forward::draft_extend};
  for (int i = 0; i < dpgather::forward_count; ++i) {
    const auto mode = static_cast<Forward>(i);
    CHECK(some.contains(mode) == (mode == Forward::extend || mode == Forward::draft_extend));
    CHECK(ForwardSet::all().contains(mode));
    CHECK(!ForwardSet().contains(mode));
  }
}

TEST_CASE("options that cannot be are refused when the list is made") {
  CHECK_THROWS_WITH_AS(
      (void)dpgather::request_field("slots", &Batch::slots, {.rows_per = 0}),
      "[batch_fields] field 'slots' is listed with inner 1 and rows_per 0, each must be 1 to "
      "2147483647",
      dpgather::InvalidArgument);
  CHECK_THROWS_AS((void)dpgather::token_field("slots", &Batch::slots, {.inner = -1}),
                  dpgather::InvalidArgument);
}

TEST_CASE("a view of planes finds its rows") {
  std::vector<int> data(20);
  const BatchField<int> field{
      .data = data.data(), .len = 2, .capacity = 4, .inner = 2, .planes = 2, .plane_stride = 10};
  CHECK(field.row(1, 1) == data.data() + 12);
  CHECK(field.rows(1).data() == data.data() + 10);
  CHECK(field.rows().rows() == 2);
  CHECK(field.rows().width() == 2);
}
