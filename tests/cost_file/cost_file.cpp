// Costs in files: what is saved comes back to the last bit, and nothing else is taken for it.
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include <dpgather/cost_file.hpp>
#include <dpgather/dpgather.hpp>

#include "support/ranks.hpp"
#include "support/seed.hpp"

using namespace dpgather;
namespace fs = std::filesystem;

namespace {

const CostSetup setup{.layout = {.dp = 4, .attn_tp = 2},
                      .hidden = 64,
                      .dtype = "bf16",
                      .hosts = 2,
                      .peers_in_reach = true,
                      .communicator = "threads",
                      .machine = "\"one\" \\ two\n"};

CostCurve draw(support::Random& random) {
  const auto any = [&random](double scale) {
    return std::ldexp(static_cast<double>(random.bits() >> 11), -53) * scale;
  };
  CostCurve curve{any(1e-4), any(1e-9)};
  if (random.chance(50)) {
    const double bytes = any(1e6);
    curve.after = CostCurve::Break{
        bytes, (curve.latency + bytes * curve.seconds_per_byte) * (1 + any(1)), any(1e-9)};
  }
  return curve;
}
CostTable draw_table(support::Random& random) {
  CostTable table{.row_bytes = random.between(1, 1 << 20),
                  .group_dp = static_cast<int>(random.between(0, 8)),
                  .seconds_per_row = 1e-7 / 3};
  for (auto& cost : table.costs)
    if (random.chance(60)) cost = {draw(random), draw(random)};
  table.of(Transport::max_len) = {draw(random), draw(random)};
  return table;
}
CostTable simple() {
  CostTable table{.row_bytes = 128, .group_dp = 4};
  table.of(Transport::max_len) = {{2e-6, 1e-10}, {3e-6, 1e-10, CostCurve::Break{4096, 1e-5, 0}}};
  table.of(Transport::sum_len_all_gather_v) = {{2e-6, 1e-10}, {3e-6, 2e-10}};
  return table;
}

/// A folder of the test's own, gone with it.
struct Folder {
  fs::path path;
  Folder() : path(fs::temp_directory_path() / concat("dpgather_costs_", std::random_device{}())) {
    fs::create_directory(path);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path); }
  [[nodiscard]] std::int64_t entries() const {
    return std::distance(fs::directory_iterator(path), fs::directory_iterator{});
  }
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const auto at = text.find(what);
  REQUIRE_MESSAGE(at != std::string::npos, what, " is not in ", text);
  return text.replace(at, what.size(), by);
}
/// The error of loading `text`; the fingerprint is taken out, so that the values themselves are judged.
std::string error_of(std::string text, const CostSetup& expected = setup) {
  if (const auto at = text.find(",\n  \"fingerprint\""); at != std::string::npos)
    text.erase(at, text.find('\n', at + 2) - at);
  try {
    (void)costs_from_json(text, expected);
  } catch (const InvalidArgument& error) {
    return error.detail();
  }
  return "no error";
}

}  // namespace

TEST_CASE("every table comes back to the last bit") {
  support::Random random(support::seed("tables in files", 91));
  const Folder folder;
  for (int round = 0; round < 200; ++round) {
    const CostTable table = draw_table(random);
    save_costs(table, setup, folder.path / "costs.json");
    const CostTable back = load_costs(folder.path / "costs.json", setup);
    REQUIRE(back == table);
    REQUIRE(back.fingerprint() == table.fingerprint());
  }
  CHECK(folder.entries() == 1);  // nothing is left beside it
}

TEST_CASE("a table of another set-up is refused, and the error says in what") {
  const std::string text = costs_to_json(simple(), setup);
  CHECK(error_of(text) == "no error");
  const auto other = [&](auto change) {
    CostSetup expected = setup;
    change(expected);
    return error_of(text, expected);
  };
  CHECK(other([](CostSetup& s) { s.layout.dp = 8; }) == "setup.dp is 4, must be 8");
  CHECK(other([](CostSetup& s) { s.layout.attn_tp = 1; }) == "setup.attn_tp is 2, must be 1");
  CHECK(other([](CostSetup& s) { s.layout.ffn_dp = 2; }) == "setup.group_dp is 4, must be 2");
  CHECK(other([](CostSetup& s) { s.layout.ffn_dp = 4; }) == "no error");  // 0 means all 4
  CHECK(other([](CostSetup& s) { s.hidden = 65; }) == "setup.hidden is 64, must be 65");
  CHECK(other([](CostSetup& s) { s.dtype = "float"; }) ==
        "setup.dtype is \"bf16\", must be \"float\"");
  CHECK(other([](CostSetup& s) { s.hosts = 1; }) == "setup.hosts is 2, must be 1");
  CHECK(other([](CostSetup& s) { s.peers_in_reach = false; }) ==
        "setup.peers_in_reach is true, must be false");
  CHECK(other([](CostSetup& s) { s.communicator = "mpi"; }) ==
        "setup.communicator is \"threads\", must be \"mpi\"");
  CHECK(other([](CostSetup& s) { s.machine.clear(); }).starts_with("setup.machine is "));
}

TEST_CASE("numbers that cannot be are refused, with the value and where it stands") {
  const std::string text = costs_to_json(simple(), setup);
  const auto with = [&](const char* what, const char* by) {
    return error_of(replaced(text, what, by));
  };
  CHECK(with("\"latency\": 2e-06", "\"latency\": -2e-06") ==
        "file.transports.max_len.even.latency is -2e-06, must be a finite number that is not "
        "negative");
  CHECK(with("\"latency\": 2e-06", "\"latency\": null") ==
        "file.transports.max_len.even.latency is null, must be a number");
  CHECK(with("\"latency\": 2e-06", "\"latency\": NaN").find("is no JSON") != std::string::npos);
  // Too large for a double: the reader says infinity or that it is no number.
  CHECK(with("\"latency\": 2e-06", "\"latency\": 2e999") != "no error");
  CHECK(with("\"seconds\": 1e-05", "\"seconds\": 1e-06") ==
        "the break's seconds is 1e-06, must not be below the 3.4096e-06 that the first line comes "
        "to");
  CHECK(with("\"row_bytes\": 128", "\"row_bytes\": 0") ==
        "file.row_bytes is 0, must be a whole number of 1 to 1099511627776");
  CHECK(with("\"row_bytes\": 128", "\"row_bytes\": 1.5") ==
        "file.row_bytes is 1.5, must be a whole number of 1 to 1099511627776");
  CHECK(with("\"even\"", "\"odd\"") == "file.transports.max_len has no even");
  CHECK(with("\"max_len\"", "\"min_len\"") == "transports has min_len, which is no transport");
  CHECK(with("\"version\": 1", "\"version\": 2") == "version is 2, must be 1");
  CHECK(with("\"format\": \"dpgather costs\"", "\"format\": \"x\"") ==
        "format is \"x\", must be \"dpgather costs\"");
  CHECK(error_of("[1]") == "file is [1], must be an object");
  CHECK(error_of("{}") == "file has no format");
}

TEST_CASE(
    "a file that was cut off or changed anywhere gives the table or an error, never another") {
  support::Random random(support::seed("damaged files", 92));
  const CostTable table = draw_table(random);
  const std::string text = costs_to_json(table, setup);
  const auto harmless = [&](const std::string& damaged) {
    try {
      return costs_from_json(damaged, setup) == table;  // a changed space is none
    } catch (const InvalidArgument&) {
      return true;
    }
  };
  for (std::size_t length = 0; length + 2 < text.size(); ++length)
    REQUIRE_THROWS_AS((void)costs_from_json(text.substr(0, length), setup), InvalidArgument);
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = text;
    const auto at =
        static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(text.size()) - 1));
    damaged[at] = static_cast<char>(random.between(0, 255));
    INFO("byte ", at, ": ", damaged);
    REQUIRE(harmless(damaged));
  }
}

TEST_CASE("errors name the file, and one that cannot be written leaves nothing behind") {
  const Folder folder;
  const fs::path missing = folder.path / "none.json", inside = folder.path / "no" / "costs.json";
  CHECK_THROWS_WITH_AS((void)load_costs(missing, setup),
                       concat("[load_costs] ", missing.string(), " cannot be read").c_str(),
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(save_costs(simple(), setup, inside),
                       concat("[save_costs] ", inside.string(), " cannot be written").c_str(),
                       InvalidArgument);
  fs::create_directory(folder.path / "taken");  // a folder where the file is to be
  fs::create_directory(folder.path / "taken" / "x");
  CHECK_THROWS_AS(save_costs(simple(), setup, folder.path / "taken"), InvalidArgument);
  CHECK(folder.entries() == 1);
  CostTable wrong = simple();
  wrong.seconds_per_row = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(save_costs(wrong, setup, folder.path / "nan.json"), InvalidArgument);
  CHECK(folder.entries() == 1);
  const fs::path cut = folder.path / "cut.json";
  std::ofstream(cut) << costs_to_json(simple(), setup).substr(0, 40);
  CHECK_THROWS_WITH_AS((void)load_costs(cut, setup),
                       concat("[load_costs] ", cut.string(),
                              ": the text of 40 bytes is no JSON: damaged, or cut off")
                           .c_str(),
                       InvalidArgument);
}

TEST_CASE(
    "costs of one start serve the next; a rank that measured anew is found at the agreement") {
  const Folder folder;
  const fs::path path = folder.path / "costs.json";
  const DpLayout layout{.dp = 2};
  const GatherConfig config{.layout = layout, .hidden = 8, .max_local_rows = 16};
  CostTable first;
  test::on_ranks(layout, [&](test::Rank& rank) {
    const Measurement measured =
        measure_transports(rank.comm, rank.control, config, {}, {.budget = {.seconds = 0.05}});
    if (rank.rank() != 0) return;
    save_costs(measured.table, cost_setup<float>(rank.comm, config, "threads"), path);
    first = measured.table;
  });
  for (const bool all_load : {true, false})
    test::on_ranks(layout, [&](test::Rank& rank) {
      CostTable table = load_costs(path, cost_setup<float>(rank.comm, config, "threads"));
      test::expect(table == first, "another table came back");
      if (!all_load && rank.rank() == 1) table.seconds_per_row += 1e-9;
      DpGather<Auto<MeasuredRule>> gather(rank.comm, config, {MeasuredRule(table)});
      rank.agreement.set_policy(gather.fingerprint());
      const bool diverged = rank.diverges();
      test::expect(diverged != all_load, "rank ", rank.rank(), " diverged: ", diverged);
    });
}
