#include <cstdint>
#include <string>

#include <doctest/doctest.h>

#include <dpgather/core/error.hpp>

using dpgather::concat;
using dpgather::Error;
using dpgather::InvalidArgument;

TEST_CASE("an error says rank, step and operation before its detail") {
  const InvalidArgument error({.rank = 3, .step = 17, .operation = "all_gather_v"}, "count is -1");
  CHECK(std::string(error.what()) == "[rank 3, step 17, all_gather_v] count is -1");
  CHECK(error.rank() == 3);
  CHECK(error.step() == 17);
  CHECK(error.operation() == "all_gather_v");
  CHECK(error.detail() == "count is -1");
}

TEST_CASE("what is not known is left out of the text") {
  CHECK(std::string(Error({}, "plain").what()) == "plain");
  CHECK(std::string(Error({.rank = 0}, "x").what()) == "[rank 0] x");
  CHECK(std::string(Error({.step = 0}, "x").what()) == "[step 0] x");
  CHECK(std::string(Error({.operation = "plan"}, "x").what()) == "[plan] x");
  CHECK(std::string(Error({.rank = 1, .operation = "plan"}, "x").what()) == "[rank 1, plan] x");
}

TEST_CASE("an error keeps its operation when the caller's text is gone") {
  Error error({}, "");
  {
    const std::string operation = "an operation too long for the small string optimisation";
    error = Error({.operation = operation}, "x");
  }
  CHECK(error.operation() == "an operation too long for the small string optimisation");
}

TEST_CASE("every error is caught as Error and as std::runtime_error") {
  CHECK_THROWS_AS(throw dpgather::CapacityError({}, "x"), Error);
  CHECK_THROWS_AS(throw dpgather::MismatchError({}, "x"), Error);
  CHECK_THROWS_AS(throw dpgather::DivergenceError({}, "x"), Error);
  CHECK_THROWS_AS(throw dpgather::PeerError({}, "x"), Error);
  CHECK_THROWS_AS(throw dpgather::TimeoutError({}, "x"), Error);
  CHECK_THROWS_AS(throw dpgather::GraphError({}, "x"), std::runtime_error);
}

TEST_CASE("require throws the named error with its numbers, only if the condition fails") {
  CHECK_NOTHROW(dpgather::require(true, {}, "never read"));
  CHECK_THROWS_WITH_AS(
      dpgather::require<dpgather::CapacityError>(false, {.rank = 2}, 9, " rows, limit ", 8),
      "[rank 2] 9 rows, limit 8", dpgather::CapacityError);
  CHECK_THROWS_AS(dpgather::require(false, {}, "x"), InvalidArgument);
}

TEST_CASE("concat joins text, numbers, characters and booleans") {
  CHECK(concat() == "");
  CHECK(concat("a", std::string("b"), 'c', -1, std::uint64_t{18446744073709551615u}, true, false) ==
        "abc-118446744073709551615truefalse");
  CHECK(concat(0.5) == "0.500000");
}

TEST_CASE("require makes the text of an object only when it throws") {
  struct Shape {
    int* made;
    [[nodiscard]] std::string to_string() const {
      ++*made;
      return "a shape";
    }
  };
  int made = 0;
  dpgather::require(true, {}, "no ", Shape{&made});
  CHECK(made == 0);
  CHECK_THROWS_WITH(dpgather::require(false, {}, "not ", Shape{&made}), "not a shape");
  CHECK(made == 1);
}
