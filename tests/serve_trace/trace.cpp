#include "trace.hpp"

#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "options.hpp"

using serve_trace::BadInput;
using serve_trace::read_trace;
using serve_trace::Trace;

namespace {

Trace read(const std::string& text) {
  std::istringstream input(text);
  return read_trace(input, "t.csv");
}

std::string error_of(const std::string& text) {
  try {
    (void)read(text);
  } catch (const BadInput& error) {
    return error.what();
  }
  return "no error";
}

const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

}  // namespace

TEST_CASE("arrivals are 100 ns units since the first row") {
  const Trace trace = read(header +
                           "2023-11-16 18:15:46.6805900,374,44\n"
                           "2023-11-16 18:15:46.6805901,396,109\n"
                           "2023-11-16 18:15:50,1,1\n"
                           "2023-11-17 00:00:00.5,10000000,2\n");
  REQUIRE(trace.requests.size() == 4);
  CHECK(trace.requests[0].arrival == 0);
  CHECK(trace.requests[0].context == 374);
  CHECK(trace.requests[0].generated == 44);
  CHECK(trace.requests[1].arrival == 1);
  CHECK(trace.requests[2].arrival == 33'194'100);
  // 5 h 44 min 13.81941 s later, on the next day.
  CHECK(trace.span() == 206'538'194'100);
}

TEST_CASE("columns are found by name, whatever their order and company") {
  const Trace trace = read(
      "GeneratedTokens,Model,TIMESTAMP,ContextTokens\r\n"
      "7,a b,2023-01-01 00:00:00,9\r\n");
  REQUIRE(trace.requests.size() == 1);
  CHECK(trace.requests[0].context == 9);
  CHECK(trace.requests[0].generated == 7);
}

TEST_CASE("a last line without a newline counts") {
  CHECK(read(header + "2023-01-01 00:00:00,9,7").requests.size() == 1);
}

TEST_CASE("requests that arrive together keep their order") {
  const Trace trace = read(header + "2023-01-01 00:00:00,1,1\n2023-01-01 00:00:00,2,1\n");
  CHECK(trace.requests[1].context == 2);
}

TEST_CASE("a broken trace is one error with file and line") {
  const std::string good = "2023-11-16 18:15:46.6805900,374,44\n";
  const auto says = [](const std::string& text, const std::string& place, const std::string& what) {
    const std::string error = error_of(text);
    CAPTURE(text);
    CAPTURE(error);
    CHECK(error.rfind("t.csv:" + place + ": ", 0) == 0);
    CHECK(error.find(what) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
  };
  says("", "1", "empty");
  says("TIMESTAMP,ContextTokens\n", "1", "GeneratedTokens is missing");
  says("time,ContextTokens,GeneratedTokens\n", "1", "TIMESTAMP is missing");
  says(header, "1", "no request");
  says(header + good + "\n" + good, "3", "1 columns, the header has 3");
  says(header + good + "2023-11-16 18:15:47,1,2,3\n", "3", "4 columns");
  for (const std::string number : {"x", "", "-1", "0", "1.5", "+3", " 3", "3 ", "0x10", "1e3",
                                   "10000001", "99999999999999999999"}) {
    says(header + good + "2023-11-16 18:15:47," + number + ",2\n", "3",
         "ContextTokens is '" + number + "'");
    says(header + good + good + "2023-11-16 18:15:47,2," + number + "\n", "4",
         "GeneratedTokens is '" + number + "'");
  }
  for (const std::string time :
       {"", "yesterday", "2023-11-16", "2023-11-16T18:15:47", "2023-13-16 18:15:47",
        "2023-02-30 18:15:47", "2023-11-16 24:00:00", "2023-11-16 18:60:00", "2023-11-16 18:15:60",
        "2023-11-16 18:15:47.", "2023-11-16 18:15:47.12345678", "2023-11-16 18:15:47.x",
        "2023-11-16 18:15:47+00:00", "2023-11-16 18:15:-7"})
    says(header + good + time + ",1,1\n", "3", "TIMESTAMP is '" + time + "'");
  says(header + good + "2023-11-16 18:15:46.6805899,1,1\n", "3", "sorted");
}

TEST_CASE("a trace that cannot be opened is an error that names it") {
  CHECK_THROWS_WITH_AS((void)read_trace("/nonexistent/t.csv"),
                       doctest::Contains("/nonexistent/t.csv"), BadInput);
  CHECK_THROWS_WITH_AS((void)read_trace("/"), doctest::Contains("directory"), BadInput);
}
