// The program as a person starts it.
#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "support/folder.hpp"

using namespace serve_trace;
using Json = nlohmann::json;

namespace {

using support::Folder;

Outcome serve(const std::string& arguments) {
  return run_command("'" + environment("SERVE_TRACE") + "' " + arguments);
}

Json json_of(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

const std::string small = " --requests 25 --rate 30 --chunk 512 --hidden 24 --ranks 3 ";

}  // namespace

TEST_CASE("bad input is one line that names it, and exit code 2") {
  const Folder folder;
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  const std::string missing = folder.file("missing.csv");
  const std::string no_column = folder.write("no_column.csv", "TIMESTAMP,ContextTokens\n");
  const std::string number =
      folder.write("number.csv", header + "2023-01-01 00:00:00,1,1\n2023-01-01 00:00:01,many,1\n");
  const std::string unsorted =
      folder.write("unsorted.csv", header + "2023-01-01 00:00:01,1,1\n2023-01-01 00:00:00,1,1\n");
  const std::string shapes = R"("attn_tp": 1, "largest": 256, "attention_percent": 25)";
  const std::string other_ranks =
      folder.write("other_ranks.json", R"({"ranks": 4, )" + shapes + "}");
  const std::string no_shapes = folder.write("no_shapes.json", R"({"ranks": 8, )" + shapes + "}");
  const std::string bad_shape =
      folder.write("bad_shape.json",
                   R"({"ranks": 8, )" + shapes + R"(, "shapes": [{"local": 0, "global": 1}]})");
  struct Case {
    std::string arguments, says;
  };
  for (const Case& bad :
       {Case{"--trace " + missing, missing + ": No such file"},
        Case{"--trace " + no_column, no_column + ":1: column GeneratedTokens is missing"},
        Case{"--trace " + number, number + ":3: ContextTokens is 'many'"},
        Case{"--trace " + unsorted, unsorted + ":3: "},
        Case{"--dry-run --trace " + unsorted, unsorted + ":3: "},
        Case{"--ranks 0", "--ranks"},
        Case{"--speedup -8", "'-8'"},
        Case{"--chunk many", "'many'"},
        Case{"--mode fastest", "'fastest' is unknown"},
        Case{"--hidden 4096", "24 to 1024"},
        Case{"--json " + folder.file("no/such/folder"), "no/such/folder"},
        Case{"--dry-run --counts " + folder.file("no/such/counts"), "no/such/counts: No such file"},
        Case{"--counts " + folder.file("counts"), "is written by --dry-run alone"},
        Case{"--hosts 3", "--hosts 3 must divide --ranks 8"},
        Case{"--shapes " + missing, missing + ": No such file"},
        Case{"--shapes " + unsorted, unsorted + ": is no JSON"},
        Case{"--shapes " + other_ranks, "was tuned for ranks 4, this run has 8"},
        Case{"--shapes " + no_shapes, "shapes is missing"},
        Case{"--shapes " + bad_shape, "local is 0, must be a whole number from 1 to 256"},
        Case{"--retune --graphs 3", "max_shapes is 3"}}) {
    CAPTURE(bad.arguments);
    check_refused(serve(bad.arguments), "serve_trace", bad.says);
  }
}

TEST_CASE("help is printed with exit code 0") {
  const Outcome outcome = serve("--help");
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.says("--max-running"));
}

TEST_CASE("a dry run and a run with data write the same figures, and all that are asked for") {
  const Folder folder;
  for (const std::string mode : {"max_len", "sum_len", "sum_len_v", "auto"})
    for (const std::string more : {"", " --attn-tp 2 --serve decode --retune"}) {
      const std::string arguments = small + "--mode " + mode + more;
      CAPTURE(arguments);
      const Outcome data = serve(arguments + " --json " + folder.file("data.json"));
      CAPTURE(data.output);
      REQUIRE(data.exit_code == 0);
      CHECK(data.says(": 0 wrong"));
      REQUIRE(serve(arguments + " --dry-run --json " + folder.file("dry.json")).exit_code == 0);
      Json with_data = json_of(folder.file("data.json")), dry = json_of(folder.file("dry.json"));
      for (const char* key : {"steps",
                              "idle_steps",
                              "live_steps",
                              "decode_only_steps",
                              "rows",
                              "max_len_steps",
                              "sum_len_steps",
                              "rows_moved",
                              "rows_moved_back",
                              "rows_computed",
                              "decode_rows",
                              "decode_rows_computed",
                              "decode_attention_rows",
                              "graph_keys",
                              "graph_captures",
                              "most_graph_keys",
                              "graphs_dropped",
                              "retunings",
                              "graph_replays",
                              "eager_steps",
                              "checked_rows",
                              "wrong_rows"}) {
        CAPTURE(key);
        REQUIRE(with_data.contains(key));
        CHECK(with_data.at(key).is_number_integer());
        CHECK(dry.contains(key));
      }
      CHECK(with_data.at("checked_rows").get<std::int64_t>() ==
            with_data.at("rows").get<std::int64_t>() *
                with_data.at("settings").at("attn_tp").get<std::int64_t>());
      // What a dry run cannot know.
      for (Json* figures : {&with_data, &dry}) {
        figures->erase("checked_rows");
        figures->erase("seconds");
        figures->at("settings").erase("dry_run");
      }
      CHECK(with_data.dump(1) == dry.dump(1));
    }
}

TEST_CASE("the counts that a dry run writes are those of its figures") {
  const Folder folder;
  REQUIRE(serve(small + "--dry-run --counts " + folder.file("counts.csv") + " --json " +
                folder.file("dry.json"))
              .exit_code == 0);
  const Json figures = json_of(folder.file("dry.json"));
  std::ifstream file(folder.file("counts.csv"));
  std::string line;
  REQUIRE(std::getline(file, line));
  CHECK(line == "live,forward,0,1,2");
  std::int64_t steps = 0, live_steps = 0, decode_only = 0, idle = 0, rows = 0;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string live, forward, count;
    REQUIRE(std::getline(fields, live, ','));
    REQUIRE(std::getline(fields, forward, ','));
    std::int64_t of_step = 0;
    int ranks = 0;
    for (; std::getline(fields, count, ','); ++ranks) of_step += std::stoll(count);
    CHECK(ranks == 3);
    ++steps;
    live_steps += live == "1";
    decode_only += forward == "decode" || forward == "idle";
    idle += of_step == 0;
    rows += of_step;
  }
  CHECK(steps == figures.at("steps"));
  CHECK(live_steps == figures.at("live_steps"));
  CHECK(decode_only == figures.at("decode_only_steps"));
  CHECK(idle == figures.at("idle_steps"));
  CHECK(rows == figures.at("rows"));
  CHECK(rows > 0);
}

TEST_CASE("graphs are captured at the shapes of a file, and at those that traffic makes of them") {
  const Folder folder;
  const std::string shapes = folder.write(
      "shapes.json", R"({"ranks": 3, "attn_tp": 1, "largest": 256, "attention_percent": 25,)"
                     R"( "shapes": [{"local": 256, "global": 768}, {"local": 40, "global": 90}]})");
  const std::string arguments =
      small + "--serve decode --shapes " + shapes + " --json " + folder.file("figures.json");
  const Outcome fixed = serve(arguments);
  CAPTURE(fixed.output);
  REQUIRE(fixed.exit_code == 0);
  CHECK(fixed.says(": 0 wrong"));
  const Json figures = json_of(folder.file("figures.json"));
  CHECK(figures.at("graph_captures") == 1);  // all steps fit the smaller
  CHECK(figures.at("rows_computed").get<std::int64_t>() ==
        90 * figures.at("graph_replays").get<std::int64_t>());
  REQUIRE(serve(arguments + " --retune").exit_code == 0);
  const Json follows = json_of(folder.file("figures.json"));
  CHECK(follows.at("retunings").get<std::int64_t>() > 0);
  CHECK(follows.at("rows_computed") < figures.at("rows_computed"));
}

TEST_CASE("simulated GPUs serve, or the error says what this build lacks for them") {
  const Folder folder;
  for (const std::string comm : {"sim", "sim_thread"}) {
    const Outcome outcome = serve(small + "--steps 60 --schedule random --comm " + comm +
                                  " --json " + folder.file("simulated.json"));
    CAPTURE(outcome.output);
    if (environment("SERVE_TRACE_SIM") == "no") {
      CHECK(outcome.exit_code == 2);
      CHECK(outcome.says("--comm " + comm + ": this program was built without "));
      CHECK(outcome.says(".h"));
      continue;
    }
    REQUIRE(outcome.exit_code == 0);
    CHECK(outcome.says(": 0 wrong"));
    CHECK(outcome.says("equal to the plan"));
    CHECK(outcome.says("nothing was left behind"));
    const Json simulation = json_of(folder.file("simulated.json")).at("simulation");
    CHECK(simulation.at("schedule") == "random");
    CHECK(simulation.at("collectives").get<std::int64_t>() >= (comm == "sim" ? 1 : 0));
    CHECK(simulation.at("kernels").get<std::int64_t>() > 0);
    CHECK(simulation.at("leaks").empty());
  }
}

TEST_CASE("no progress bar is drawn where stderr is no terminal") {
  CHECK_FALSE(serve(small).says("\x1b["));
}
