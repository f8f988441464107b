#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/stream.hpp>

using dpgather::GraphError;
using dpgather::HostStream;
using dpgather::Lifeline;
using dpgather::Recording;

namespace {

std::vector<std::string>& reports() {
  static std::vector<std::string> texts;
  return texts;
}

/// Collects destructor reports for one scope.
class Reports {
 public:
  Reports() : before_(dpgather::destructor_error_handler()) {
    reports().clear();
    dpgather::destructor_error_handler() =
        +[](const char* message) noexcept { reports().emplace_back(message); };
  }
  ~Reports() { dpgather::destructor_error_handler() = before_; }
  Reports(const Reports&) = delete;
  Reports& operator=(const Reports&) = delete;

 private:
  dpgather::DestructorErrorHandler before_;
};

}  // namespace

TEST_CASE("an eager stream runs work at once and lets its exception through") {
  const HostStream stream;
  int runs = 0;
  CHECK_FALSE(stream.capturing());
  stream.submit("count", [&runs] { ++runs; });
  CHECK(runs == 1);
  CHECK_THROWS_AS(stream.submit("fail", [] { throw std::runtime_error("no"); }),
                  std::runtime_error);
}

TEST_CASE("a capturing stream only records, in order and by name") {
  Recording recording;
  const HostStream stream(recording);
  std::string order;
  CHECK(stream.capturing());
  stream.submit("first", [&order] { order += 'a'; });
  stream.submit("second", [&order] { order += 'b'; });
  CHECK(order.empty());
  REQUIRE(recording.size() == 2);
  CHECK(recording.operation(0) == "first");
  CHECK(recording.operation(1) == "second");
  recording.replay();
  recording.replay();
  CHECK(order == "abab");
}

TEST_CASE("replay uses the values of the capture and what memory holds now") {
  Recording recording;
  int in_memory = 10;
  std::vector<int> seen;
  {
    int argument = 1;
    const HostStream stream(recording);
    stream.submit("store", [argument, &in_memory, &seen] {
      seen.push_back(argument);
      seen.push_back(in_memory);
    });
    argument = 2;  // after the capture: must not be seen
    in_memory = argument + 18;
  }
  recording.replay();
  in_memory = 30;
  recording.replay();
  CHECK(seen == std::vector<int>{1, 20, 1, 30});
}

TEST_CASE("replay runs without the lambda that was captured from") {
  Recording recording;
  int total = 0;
  {
    auto model = std::make_unique<int>(7);
    const auto capture = [&](const HostStream& stream) {
      stream.submit("add", [value = *model, &total] { total += value; });
    };
    capture(HostStream(recording));
  }
  recording.replay();
  CHECK(total == 7);
}

TEST_CASE("work that cannot be copied can be recorded") {
  Recording recording;
  int seen = 0;
  HostStream(recording).submit("move-only",
                               [owned = std::make_unique<int>(5), &seen] { seen += *owned; });
  recording.replay();
  CHECK(seen == 5);
}

TEST_CASE("an eager stream holds nothing") {
  const Lifeline life("buffer");
  HostStream().hold(life);
  CHECK(life.holders() == 0);
}

TEST_CASE("a recording holds an object once, however often it is told") {
  const Lifeline life("communicator");
  {
    Recording recording;
    const HostStream stream(recording);
    stream.hold(life);
    stream.hold(life);
    CHECK(life.holders() == 1);
    Recording other;
    HostStream(other).hold(life);
    CHECK(life.holders() == 2);
  }
  CHECK(life.holders() == 0);
}

TEST_CASE("replay after a held object died throws before any operation runs") {
  const Reports collect;
  Recording recording;
  int runs = 0;
  std::optional<Lifeline> life(std::in_place, "communicator");
  const HostStream stream(recording);
  stream.submit("count", [&runs] { ++runs; });
  stream.hold(*life);
  recording.replay();
  CHECK(runs == 1);
  life.reset();
  CHECK_THROWS_WITH_AS(recording.replay(),
                       "[replay] communicator, which this graph holds, was destroyed", GraphError);
  CHECK(runs == 1);
}

TEST_CASE("destroying an object that graphs hold is reported with their number") {
  const Reports collect;
  Recording first;
  Recording second;
  {
    const Lifeline life("gather buffer");
    HostStream(first).hold(life);
    HostStream(second).hold(life);
  }
  REQUIRE(reports().size() == 1);
  CHECK(reports()[0] ==
        "gather buffer was destroyed while 2 captured graphs hold it; destroy graphs first");
}

TEST_CASE("destroying graphs first is not reported") {
  const Reports collect;
  {
    const Lifeline life("gather buffer");
    const Recording recording = [&life] {
      Recording made;
      HostStream(made).hold(life);
      return made;
    }();
    CHECK(life.holders() == 1);
  }
  CHECK(reports().empty());
}

TEST_CASE("a moved lifeline goes on living in its new place") {
  const Reports collect;
  Recording recording;
  std::optional<Lifeline> second;
  {
    Lifeline first("object");
    HostStream(recording).hold(first);
    second.emplace(std::move(first));
  }
  CHECK(reports().empty());
  CHECK_NOTHROW(recording.replay());
  second.reset();
  CHECK(reports().size() == 1);
  CHECK_THROWS_AS(recording.replay(), GraphError);
}
