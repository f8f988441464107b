// What examples/nccl_ffn computes with, on the host: its weights, its reference, its requests, its options,
// its choice of GPUs.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "gpu_choice.hpp"
#include "numbers.hpp"
#include "options.hpp"
#include "reference.hpp"
#include "requests.hpp"
#include "weights.hpp"

using namespace nccl_ffn;

namespace {

/// One layer over dense shards, as GPUs do it: the sum over ranks of relu(row * in) * out.
std::vector<float> dense_layer(const Options& options, int layer, int ranks,
                               const std::vector<float>& row, float& largest) {
  const auto hidden = static_cast<std::size_t>(options.hidden);
  const std::size_t columns = static_cast<std::size_t>(options.inner / ranks);
  std::vector<float> sum(hidden);
  for (int rank = 0; rank < ranks; ++rank) {
    const Shard shard = make_shard(options, layer, rank, ranks);
    for (std::size_t f = 0; f < columns; ++f) {
      float inner = 0;
      for (std::size_t j = 0; j < hidden; ++j) inner += row[j] * shard.in[j * columns + f];
      largest = std::max(largest, std::abs(inner));
      for (std::size_t j = 0; j < hidden; ++j)
        sum[j] += std::max(inner, 0.0f) * shard.out[f * hidden + j];
    }
    for (const float partial : sum) largest = std::max(largest, std::abs(partial));
  }
  return sum;
}

std::vector<float> dense_row(const Options& options, int ranks, std::int32_t id,
                             std::int64_t position, float& largest) {
  std::vector<float> row(static_cast<std::size_t>(options.hidden));
  for (std::size_t j = 0; j < row.size(); ++j)
    row[j] = static_cast<float>(embed(id, position, static_cast<std::int64_t>(j)));
  for (int layer = 0; layer < options.layers; ++layer) {
    if (layer > 0)
      for (std::size_t j = 0; j < row.size(); ++j)
        row[j] = static_cast<float>(mix(row[j], layer, static_cast<std::int64_t>(j)));
    row = dense_layer(options, layer, ranks, row, largest);
  }
  return row;
}

std::optional<Options> parse(std::vector<const char*> words, std::string& help) {
  words.insert(words.begin(), "nccl_ffn");
  return parse_options(static_cast<int>(words.size()), words.data(), help);
}

using Seen = std::vector<std::vector<Uuid>>;

/// GPUs that are named by letters.
Seen seen_as(const std::vector<std::string>& of_processes) {
  Seen seen;
  for (const std::string& letters : of_processes) {
    seen.emplace_back();
    for (const char letter : letters) seen.back().push_back(Uuid{letter});
  }
  return seen;
}

/// Most processes from `process` on that can have a GPU each beside those `taken`: all ways tried.
int most_with_gpu(const Seen& seen, std::size_t process, std::set<Uuid>& taken) {
  if (process == seen.size()) return 0;
  int most = most_with_gpu(seen, process + 1, taken);
  for (const Uuid& gpu : seen[process])
    if (taken.insert(gpu).second) {
      most = std::max(most, 1 + most_with_gpu(seen, process + 1, taken));
      taken.erase(gpu);
    }
  return most;
}

}  // namespace

TEST_CASE("the shards of any number of ranks add up to the reference, in numbers bf16 holds") {
  Options options;
  options.hidden = 40;
  options.inner = 96;
  options.layers = 3;
  Reference reference(options);
  std::set<float> seen;
  for (const int ranks : {1, 2, 3, 4})
    for (std::int32_t id = 0; id < 6; ++id) {
      float largest = 0;
      const std::vector<float> dense = dense_row(options, ranks, id, 7 * id, largest);
      CHECK(dense == reference.row(id, 7 * id));
      CHECK(largest <= 256);
      seen.insert(dense.begin(), dense.end());
    }
  CHECK(seen.size() > 20);  // a check of nothing but zeros would find nothing
}

TEST_CASE("rows differ by request, by position and by seed") {
  Options options;
  options.hidden = 32;
  options.inner = 64;
  const auto row = [&](std::int32_t id, std::int64_t position) {
    return Reference(options).row(id, position);
  };
  const auto first = row(1, 1);
  CHECK(first == row(1, 1));
  CHECK(first != row(2, 1));
  CHECK(first != row(1, 2));
  options.seed = 2;
  CHECK(first != row(1, 1));
}

TEST_CASE("requests are the same on the ranks of one DP rank, and their number changes") {
  Requests one(3, 0, 24), twin(3, 0, 24), other(3, 1, 24);
  std::set<std::size_t> sizes;
  bool differ = false;
  for (int step = 0; step < 400; ++step) {
    const auto a = one.next(), b = twin.next(), c = other.next();
    CHECK(
        std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Request& x, const Request& y) {
          return x.id == y.id && x.position == y.position;
        }));
    differ = differ || a.size() != c.size();
    CHECK(a.size() <= 24);
    sizes.insert(a.size());
  }
  CHECK(differ);
  CHECK(sizes.size() > 10);
  CHECK(sizes.contains(0));
}

TEST_CASE("options that cannot be run are refused, and name value and limit") {
  std::string help;
  const auto refused = [&](std::vector<const char*> words, const char* part) {
    try {
      const auto options = parse(std::move(words), help);
      REQUIRE(options.has_value());
      static_cast<void>(options->layout(4));
      FAIL_CHECK("accepted, should say ", part);
    } catch (const BadInput& error) {
      CHECK_MESSAGE(std::string(error.what()).find(part) != std::string::npos, error.what());
    }
  };
  refused({"--hidden", "7"}, "'7' is not a whole number from 8 to 32768");
  refused({"--mode", "fast"}, "'fast' is unknown, must be one of auto, max_len, sum_len");
  refused({"--type", "fp8"}, "'fp8' is unknown");
  refused({"--attn-tp", "3"}, "--attn-tp 3 does not divide the 4 processes");
  refused({"--inner", "100"}, "--inner 100 is no multiple of 32");
  refused({"--attn-tp", "4", "--graph-size", "2"}, "--graph-size 2 is below --attn-tp 4");
  CHECK_FALSE(parse({"--help"}, help).has_value());
  CHECK(help.find("--layers") != std::string::npos);
  const auto options = parse({"--attn-tp", "2", "--type", "float", "--mode", "sum_len"}, help);
  REQUIRE(options.has_value());
  CHECK(options->layout(4) == dpgather::DpLayout{.dp = 2, .attn_tp = 2});
  CHECK(options->type == Type::float32);
  CHECK(options->mode == Mode::sum_len);
}

TEST_CASE("each process takes a GPU of its own, however its launcher shows them") {
  using Numbers = std::vector<int>;
  CHECK(choose_gpus(seen_as({"ABCD", "ABCD", "ABCD", "ABCD"})) == Numbers{0, 1, 2, 3});
  CHECK(choose_gpus(seen_as({"A", "B", "C"})) == Numbers{0, 0, 0});
  CHECK(choose_gpus(seen_as({"AB", "AB", "CD", "CD"})) == Numbers{0, 1, 0, 1});
  // In turn, and each in its own order: a number alone would give one GPU to two.
  CHECK(choose_gpus(seen_as({"AB", "CD", "AB", "CD"})) == Numbers{0, 1, 1, 0});
  CHECK(choose_gpus(seen_as({"AB", "BA"})) == Numbers{0, 0});
  // The first must give up what it took.
  CHECK(choose_gpus(seen_as({"AB", "A"})) == Numbers{1, 0});
  CHECK(choose_gpus(seen_as({"AB", "AB", "AB"})) == Numbers{0, 1, -1});
  CHECK(choose_gpus(seen_as({"", "A"})) == Numbers{-1, 0});
  CHECK(choose_gpus({}).empty());
}

TEST_CASE("no choice of GPUs serves more processes") {
  const unsigned seed = 5;
  INFO("seed ", seed);
  std::mt19937 random(seed);
  int short_of = 0;
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> letters(1 + random() % 5);
    for (std::string& of_process : letters) {
      of_process = "ABCDE";
      std::shuffle(of_process.begin(), of_process.end(), random);
      of_process.resize(random() % 4);
    }
    const Seen seen = seen_as(letters);
    const std::vector<int> taken = choose_gpus(seen);
    std::set<Uuid> used, none;
    int with_gpu = 0;
    REQUIRE(taken.size() == seen.size());
    for (std::size_t process = 0; process < taken.size(); ++process)
      if (taken[process] >= 0) {
        ++with_gpu;
        REQUIRE(taken[process] < static_cast<int>(seen[process].size()));
        CHECK(used.insert(seen[process][static_cast<std::size_t>(taken[process])]).second);
      }
    CHECK(with_gpu == most_with_gpu(seen, 0, none));
    short_of += with_gpu < static_cast<int>(seen.size()) ? 1 : 0;
  }
  CHECK(short_of > 50);
  CHECK(short_of < 450);
}
