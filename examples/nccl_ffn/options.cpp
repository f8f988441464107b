#include "options.hpp"

#include <CLI/CLI.hpp>

#include <dpgather/core/error.hpp>

#include "command_line/option_kinds.hpp"

namespace nccl_ffn {

using command_line::add_choice;
using command_line::add_whole;
using dpgather::concat;

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
  add_whole(app, "--attn-tp", options.attn_tp, 1, 1024, "attention tensor-parallel size A");
  add_whole(app, "--hidden", options.hidden, 8, 32768, "hidden size H");
  add_whole(app, "--inner", options.inner, 8, 1 << 20, "inner size of the FFN, over all ranks");
  add_whole(app, "--layers", options.layers, 1, 128, "layers, all in one graph");
  add_whole(app, "--steps", options.steps, 1, 1 << 30, "decode steps");
  add_whole(app, "--requests", options.requests, 1, 4096, "most requests of one DP rank");
  add_whole(app, "--graph-size", options.graph_size, 1, 4096, "largest captured size, in requests");
  add_choice(app, "--mode", options.mode, {"auto", "max_len", "sum_len"}, "how rows travel");
  add_choice(app, "--type", options.type, {"bf16", "float"}, "of rows and weights");
  add_whole(app, "--check", options.check, 0, 1 << 30,
            "check every output row of each Nth step; 0: none");
  add_whole(app, "--seed", options.seed, 0, std::int64_t{1} << 62, "of weights and requests");
  add_whole(app, "--deadline", options.deadline, 1, 86400,
            "seconds that a rank waits for its peers");
  if (!command_line::parse(app, argc, argv, help)) return std::nullopt;
  // Every capture size is a multiple of A, so there is none below it.
  if (options.graph_size < options.attn_tp)
    throw BadInput(
        concat("--graph-size ", options.graph_size, " is below --attn-tp ", options.attn_tp));
  return options;
}

}  // namespace nccl_ffn
