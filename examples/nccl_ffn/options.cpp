#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>

#include <dpgather/core/error.hpp>

namespace nccl_ffn {
namespace {

using dpgather::concat;

/// CLI11 cuts fractions and accepts other bases; a whole decimal number within limits is all that
/// is meant here.
CLI::Validator whole(std::int64_t low, std::int64_t high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        std::int64_t value = 0;
        const char* end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        if (error == std::errc{} && stop == end && value >= low && value <= high)
          return std::string{};
        return concat("'", text, "' is not a whole number from ", low, " to ", high);
      },
      concat(low, "..", high));
}

/// `names` in the order of the enumerators.
template <class Enum>
void choice(CLI::App& app, const std::string& option, Enum& value,
            const std::vector<std::string>& names, const std::string& about) {
  std::string joined;
  for (const std::string& one : names) joined += (joined.empty() ? "" : "|") + one;
  const auto known = [names, joined](std::string& text) {
    if (std::find(names.begin(), names.end(), text) != names.end()) return std::string{};
    return concat("'", text, "' is unknown, must be one of ", joined);
  };
  const auto set = [&value, names](const std::string& text) {
    value = static_cast<Enum>(std::find(names.begin(), names.end(), text) - names.begin());
  };
  app.add_option_function<std::string>(option, set, about)
      ->check(CLI::Validator(known, joined))
      ->default_str(names[static_cast<std::size_t>(value)]);
}

}  // namespace

dpgather::DpLayout Options::layout(int processes) const {
  if (processes % attn_tp != 0)
    throw BadInput(concat("--attn-tp ", attn_tp, " does not divide the ", processes, " processes"));
  // Shards of whole 16-byte pieces, so that cuBLAS takes its fast kernels.
  const std::int64_t piece = std::int64_t{8} * processes;
  if (inner % piece != 0)
    throw BadInput(concat("--inner ", inner, " is no multiple of ", piece,
                          ": 8 columns for each of ", processes, " processes"));
  return {.dp = processes / attn_tp, .attn_tp = attn_tp};
}

std::optional<Options> parse_options(int argc, const char* const* argv, std::string& help) {
  Options options;
  CLI::App app{
      "Decodes made-up requests on GPUs, one a process: a tensor-parallel FFN under data-parallel "
      "attention, all layers in one CUDA graph a shape. Start it with mpirun.",
      "nccl_ffn"};
  app.get_formatter()->column_width(34);
  const auto number = [&app](const std::string& option, auto& value, std::int64_t low,
                             std::int64_t high, const std::string& about) {
    app.add_option(option, value, about)->check(whole(low, high))->capture_default_str();
  };
  number("--attn-tp", options.attn_tp, 1, 1024, "attention tensor-parallel size A");
  number("--hidden", options.hidden, 8, 32768, "hidden size H");
  number("--inner", options.inner, 8, 1 << 20, "inner size of the FFN, over all ranks");
  number("--layers", options.layers, 1, 128, "layers, all in one graph");
  number("--steps", options.steps, 1, 1 << 30, "decode steps");
  number("--requests", options.requests, 1, 4096, "most requests of one DP rank");
  number("--graph-size", options.graph_size, 1, 4096, "largest captured size, in requests");
  choice(app, "--mode", options.mode, {"auto", "max_len", "sum_len"}, "how rows travel");
  choice(app, "--type", options.type, {"bf16", "float"}, "of rows and weights");
  number("--check", options.check, 0, 1 << 30, "check every output row of each Nth step; 0: none");
  number("--seed", options.seed, 0, std::int64_t{1} << 62, "of weights and requests");
  number("--deadline", options.deadline, 1, 86400, "seconds that a rank waits for its peers");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    help = app.help();
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw BadInput(error.what());
  }
  // Every capture size is a multiple of A, so there is none below it.
  if (options.graph_size < options.attn_tp)
    throw BadInput(
        concat("--graph-size ", options.graph_size, " is below --attn-tp ", options.attn_tp));
  return options;
}

}  // namespace nccl_ffn
