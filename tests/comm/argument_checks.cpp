#include <array>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/thread.hpp>

using namespace dpgather;

namespace {

/// A communicator of one rank: every argument check is local.
struct Alone {
  ThreadComm<> comm{std::make_shared<ThreadHub>(1), 0};
  std::vector<float> data = std::vector<float>(16, 1.0f);
  HostStream stream;
};

/// What the communicator says of a call; empty if it accepts it.
template <class Call>
std::string complaint(Call call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return {};
}

bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a negative count is refused with the count and the limit") {
  Alone a;
  const auto text =
      complaint([&] { a.comm.all_reduce(a.data.data(), a.data.data(), -3, a.stream); });
  CHECK(has(text, "[rank 0, all_reduce]"));
  CHECK(has(text, "count is -3, must be 0 to"));
}

TEST_CASE("a null buffer is refused unless the count is zero") {
  Alone a;
  const float* none = nullptr;
  CHECK(has(complaint([&] { a.comm.all_gather(none, a.data.data(), 4, a.stream); }), "null"));
  CHECK(complaint([&] { a.comm.all_gather(none, a.data.data(), 0, a.stream); }).empty());
}

TEST_CASE("a root that is no rank is refused") {
  Alone a;
  CHECK(has(complaint([&] { a.comm.broadcast(a.data.data(), 4, 1, a.stream); }),
            "root is 1, must be 0 to 0"));
  CHECK(has(complaint([&] { a.comm.broadcast(a.data.data(), 4, -1, a.stream); }), "root is -1"));
}

TEST_CASE("buffers that overlap in another way than in place are refused") {
  Alone a;
  const float* send = a.data.data();
  CHECK(
      has(complaint([&] { a.comm.all_gather(send, a.data.data() + 2, 4, a.stream); }), "overlap"));
  CHECK(
      has(complaint([&] { a.comm.all_reduce(send, a.data.data() + 2, 4, a.stream); }), "overlap"));
  CHECK(has(complaint([&] { a.comm.reduce_scatter(send, a.data.data() + 1, 4, a.stream); }),
            "overlap"));
  CHECK(complaint([&] { a.comm.all_gather(send, a.data.data(), 4, a.stream); }).empty());
  CHECK(complaint([&] { a.comm.all_reduce(send, a.data.data() + 4, 4, a.stream); }).empty());
}

TEST_CASE("counts and offsets of a v-collective must describe blocks in order without overlap") {
  Alone a;
  const float* send = a.data.data();
  float* recv = a.data.data() + 8;
  const std::array<std::int64_t, 1> four{4}, zero{0}, negative{-1};
  const std::array<std::int64_t, 2> two{2, 2};
  CHECK(has(complaint([&] { a.comm.all_gather_v(send, recv, two, two, a.stream); }),
            "2 counts and 2 offsets"));
  CHECK(has(complaint([&] { a.comm.all_gather_v(send, recv, negative, zero, a.stream); }),
            "count -1"));
  CHECK(has(complaint([&] { a.comm.all_gather_v(send, recv, four, negative, a.stream); }),
            "offset -1"));
  CHECK(complaint([&] { a.comm.all_gather_v(send, recv, four, zero, a.stream); }).empty());

  const std::array<std::int64_t, 2> counts{3, 3}, overlapping{0, 2};
  const auto where = ErrorContext{.operation = "all_gather_v"};
  CHECK(has(complaint([&] {
              check_call_v<CheckLevel::local>(Collective::all_gather_v, send, recv, counts,
                                              overlapping, 0, 2, where);
            }),
            "block of rank 1 at offset 2 overlaps the blocks before it, which end at 3"));
}

TEST_CASE("at the free level arguments are not checked") {
  const std::array<std::int64_t, 1> counts{4}, offsets{-1};
  float* const data = nullptr;
  CHECK_NOTHROW(check_call_v<CheckLevel::free>(Collective::all_gather_v, data, data, counts,
                                               offsets, 0, 1, {}));
}
