// The program as a person starts it, on synthetic traffic.
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "support/folder.hpp"

using serve_trace::check_refused;
using serve_trace::environment;
using serve_trace::Outcome;
using serve_trace::run_command;
using Json = nlohmann::json;

namespace {

using support::Folder;

Outcome tune(const std::string& arguments) {
  return run_command("'" + environment("TUNE_SIZES") + "' " + arguments);
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Json json_of(const std::string& path) {
  return Json::parse(text_of(path));
}

const std::string small = " --requests 300 --rate 20 --ranks 4 ";
const std::string head = R"({"format": "dpgather load histogram 1", "ranks": 2, "attn_tp": 1, )"
                         R"("largest": 8, "attention_percent": 25, "capacity": 9, )";

}  // namespace

TEST_CASE("bad input is one line that names it, and exit code 2") {
  const Folder folder;
  const std::string missing = folder.file("missing");
  const std::string text = folder.write("text", "no json");
  const std::string other = folder.write("other", "{}");
  const std::string no_list = folder.write("no_list", head + R"("entries": 3})");
  const std::string no_pair = folder.write("no_pair", head + R"("entries": [[1, 2]]})");
  const std::string half = folder.write("half", head + R"("entries": [[1, 2, 1.5]]})");
  const std::string huge =
      folder.write("huge", head + R"("entries": [[1, 18446744073709551615, 1]]})");
  const std::string empty = folder.write("empty", head + R"("entries": []})");
  const std::string good = folder.write("good", head + R"("entries": [[1, 2, 1024]]})");
  struct Case {
    std::string arguments, says;
  };
  for (const Case& bad :
       {Case{"--trace " + missing, missing + ": No such file"},
        Case{"--histogram " + missing, missing + ": No such file"},
        Case{"--histogram " + text, text + ": is no JSON"},
        Case{"--histogram " + other, other + ": is no histogram"},
        Case{"--histogram " + no_list, no_list + ": entries is missing"},
        Case{"--histogram " + no_pair, "entry 0 must be [longest, fullest, weight]"},
        Case{"--histogram " + half, "entry 0 weight is 1.5, must be a whole number"},
        Case{"--histogram " + huge, "entry 0 fullest is 18446744073709551615, must be"},
        Case{"--histogram " + empty, empty + " has no steps"},
        Case{"--histogram " + good + " --ranks 2", "--ranks is of traffic"},
        Case{"--shapes 0", "'0' is not a whole number from 1 to 1024"},
        Case{"--axes three", "'three' is unknown, must be one of one, two"},
        Case{"--train-share 2", "'2' is not a number above 0 and up to 1"},
        Case{"--train-share 0.000001", "0 decode steps to tune on"},
        Case{"--padding-percent 50", "must be 0 (no bound) or 100"},
        Case{"--padding-percent 105", "max_shapes is 36"},
        Case{"--skew-percent 200", "--skew-percent needs --padding-percent"},
        Case{"--byte-budget 5", "--byte-budget needs --graph-bytes"},
        Case{"--byte-budget 5 --graph-bytes 10", "take 10 bytes, byte_budget is 5"},
        Case{"--ranks 40 --attn-tp 40", "is 1600 ranks, at most 1024"},
        Case{"--json " + folder.file("no/such/folder"), "no/such/folder"},
        Case{"--plot " + folder.file("no/such/folder"), "no/such/folder"},
        Case{"--save-histogram " + folder.file("no/such/folder"), "no/such/folder"}}) {
    CAPTURE(bad.arguments);
    check_refused(tune(bad.arguments), "tune_sizes", bad.says);
  }
}

TEST_CASE("help is printed with exit code 0") {
  const Outcome outcome = tune("--help");
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.says("--padding-percent"));
}

TEST_CASE("tuned shapes cost less than the default sizes, two axes less than one") {
  const Folder folder;
  const std::string one = folder.file("one"), two = folder.file("two");
  REQUIRE(tune(small + "--axes one --json " + one).exit_code == 0);
  const Outcome outcome = tune(small + "--json " + two);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.says("FFN rows/row"));
  const Json axis = json_of(one), pairs = json_of(two);
  CHECK(pairs["tuned"]["rows"] == pairs["default_sizes"]["rows"]);
  CHECK(pairs["tuned"]["cost_per_step"] < axis["tuned"]["cost_per_step"]);
  CHECK(axis["tuned"]["cost_per_step"] < pairs["default_sizes"]["cost_per_step"]);
  CHECK(pairs["tuned"]["ffn_rows_per_row"] >= 1.0);
  CHECK(pairs["lower_bound_per_step"] <= pairs["expected_cost_per_step"]);
  CHECK(axis["lower_bound_per_step"] == axis["expected_cost_per_step"]);
  CHECK(pairs["shapes"].size() <= 36);
  CHECK(pairs["shapes"].back() == Json{{"local", 256}, {"global", 1024}});
}

TEST_CASE("a saved histogram gives the same shapes as the traffic it was counted from") {
  const Folder folder;
  const std::string saved = folder.file("histogram"), again = folder.file("again");
  const std::string direct = folder.file("direct"), loaded = folder.file("loaded");
  const std::string more = " --shapes 9 --spread 10 ";
  REQUIRE(tune(small + more + "--attn-tp 2 --save-histogram " + saved + " --json " + direct)
              .exit_code == 0);
  REQUIRE(tune("--histogram " + saved + more + "--save-histogram " + again + " --json " + loaded)
              .exit_code == 0);
  const Json json = json_of(direct);
  CHECK(json["shapes"] == json_of(loaded)["shapes"]);
  CHECK(json["tuned_steps"] == json_of(loaded)["tuned_steps"]);
  CHECK(text_of(saved) == text_of(again));
  for (const Json& shape : json["shapes"]) {
    CHECK(shape["local"].get<int>() % 2 == 0);
    CHECK(shape["global"].get<int>() % 2 == 0);
  }
}

TEST_CASE("a share of the steps is tuned on, the rest is judged, within a budget and a bound") {
  const Folder folder;
  const std::string all = folder.file("all"), part = folder.file("part");
  REQUIRE(tune(small + "--json " + all).exit_code == 0);
  REQUIRE(tune(small +
               "--train-share 0.25 --padding-percent 200 --skew-percent 300 --byte-budget "
               "20000 --graph-bytes 100 --global-bytes 1 --json " +
               part)
              .exit_code == 0);
  const int steps = json_of(all)["judged_steps"];
  CHECK(json_of(all)["tuned_steps"] == steps);
  const Json json = json_of(part);
  CHECK(json["tuned_steps"].get<int>() + json["judged_steps"].get<int>() == steps);
  int bytes = 0;
  for (const Json& shape : json["shapes"]) bytes += 100 + shape["global"].get<int>();
  CHECK(bytes <= 20000);
  CHECK(json["tuned"]["ffn_rows_per_row"] < 2.0);
}
