#include "options.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace serve_trace;

namespace {

Options parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "serve_trace");
  std::string help;
  return parse_options(static_cast<int>(arguments.size()), arguments.data(), help).value();
}

std::string error_of(const std::vector<const char*>& arguments) {
  try {
    (void)parse(arguments);
  } catch (const BadInput& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("the defaults are those of the replay") {
  const Options options = parse({});
  CHECK(options.serve == Serve::mixed);
  CHECK(options.ranks == 8);
  CHECK(options.attn_tp == 1);
  CHECK(options.chunk == 2048);
  CHECK(options.max_running == 256);
  CHECK(options.step_ms == 25);
  CHECK(options.speedup == 8);
  CHECK(options.mode == ModeChoice::auto_rule);
  CHECK(options.volume_rule().fingerprint() == dpgather::VolumeRule::sglang_8280().fingerprint());
  CHECK(options.steps == 0);
  CHECK(options.comm == CommChoice::thread);
  CHECK(options.schedule == ScheduleChoice::late);
  CHECK_FALSE(options.dry_run);
  CHECK(options.peers);
  CHECK(options.hosts == 1);
  CHECK(options.shapes.empty());
  CHECK_FALSE(options.retune);
  CHECK(options.graphs == 36);
}

TEST_CASE("each option sets its own value") {
  const Options options =
      parse({"--serve",    "decode", "--ranks",       "3",         "--attn-tp", "2",
             "--chunk",    "4",      "--max-running", "5",         "--step-ms", "6",
             "--speedup",  "7",      "--mode",        "sum_len_v", "--rule",    "volume_tie_max",
             "--hidden",   "32",     "--steps",       "8",         "--seed",    "0",
             "--requests", "9",      "--rate",        "0.5",       "--comm",    "mpi",
             "--trace",    "file"});
  CHECK(options.serve == Serve::decode);
  CHECK(options.ranks == 3);
  CHECK(options.attn_tp == 2);
  CHECK(options.chunk == 4);
  CHECK(options.max_running == 5);
  CHECK(options.step_ms == 6);
  CHECK(options.speedup == 7);
  CHECK(options.mode == ModeChoice::sum_len_v);
  CHECK(options.volume_rule().tie == dpgather::LenMode::max_len);
  CHECK(options.volume_rule().prefill == dpgather::VolumeRule::Prefill::by_volume);
  CHECK(options.hidden == 32);
  CHECK(options.steps == 8);
  CHECK(options.seed == 0);
  CHECK(options.requests == 9);
  CHECK(options.rate == 0.5);
  CHECK(options.comm == CommChoice::mpi);
  CHECK(options.trace == "file");
  CHECK(name(parse({"--mode", "sum_len"}).mode) == "sum_len");
  CHECK(parse({"--dry-run"}).dry_run);
  CHECK_FALSE(parse({"--no-peers"}).peers);
  CHECK(parse({"--hosts", "4"}).hosts == 4);
  CHECK(parse({"--retune"}).retune);
  CHECK(parse({"--graphs", "0"}).graphs == 0);
  CHECK(parse({"--mode", "sum_len_peer"}).mode == ModeChoice::sum_len_peer);
  CHECK(parse({"--mode", "sum_len_hier", "--hosts", "2"}).mode == ModeChoice::sum_len_hier);
  CHECK(parse({"--comm", "sim"}).comm == CommChoice::sim);
  const Options simulated = parse({"--comm", "sim_thread", "--schedule", "random"});
  CHECK(simulated.comm == CommChoice::sim_thread);
  CHECK(simulated.schedule == ScheduleChoice::random);
  CHECK(parse({"--schedule", "eager", "--comm", "sim"}).schedule == ScheduleChoice::eager);
}

TEST_CASE("help is given and is no error") {
  std::string help;
  const char* arguments[] = {"serve_trace", "--help"};
  CHECK_FALSE(parse_options(2, arguments, help).has_value());
  for (const char* option : {"--trace",       "--serve",    "--ranks",   "--attn-tp",  "--chunk",
                             "--max-running", "--step-ms",  "--speedup", "--mode",     "--rule",
                             "--hidden",      "--steps",    "--dry-run", "--json",     "--comm",
                             "--seed",        "--requests", "--rate",    "--schedule", "--no-peers",
                             "--hosts",       "--shapes",   "--retune",  "--graphs",   "--counts"})
    CHECK_MESSAGE(help.find(option) != std::string::npos, option);
}

TEST_CASE("zero, negative and non-numeric options are one clear error each") {
  for (const std::string option : {"--ranks", "--attn-tp", "--chunk", "--max-running", "--step-ms",
                                   "--speedup", "--hidden", "--steps", "--requests", "--rate"})
    for (const std::string value : {"0", "-1", "-3.5", "x", "1x", "", " 1", "+1", "0x8", "1e99",
                                    "nan", "inf", "99999999999999999999"}) {
      const std::string error = error_of({option.c_str(), value.c_str()});
      CAPTURE(option);
      CAPTURE(value);
      CAPTURE(error);
      CHECK(error.find(option) != std::string::npos);
      CHECK(error.find("'" + value + "'") != std::string::npos);
      CHECK(error.find('\n') == std::string::npos);
    }
  CHECK(error_of({"--ranks", "1.5"}).find("'1.5'") != std::string::npos);
  CHECK(error_of({"--seed", "-1"}).find("--seed") != std::string::npos);
}

TEST_CASE("unknown names list what there is") {
  CHECK(error_of({"--mode", "max"})
            .find("'max' is unknown, must be one of max_len, sum_len, "
                  "sum_len_v, sum_len_peer, sum_len_hier, auto") != std::string::npos);
  CHECK(error_of({"--mode", "3"}).find("'3' is unknown") != std::string::npos);
  CHECK(error_of({"--rule", "x"}).find("volume, volume_tie_max") != std::string::npos);
  CHECK(error_of({"--serve", "prefill"}).find("mixed, decode") != std::string::npos);
  CHECK(error_of({"--comm", "nccl"}).find("thread, mpi, sim, sim_thread") != std::string::npos);
  CHECK(error_of({"--schedule", "soon"}).find("late, random, eager") != std::string::npos);
}

TEST_CASE("options that do not go together are errors") {
  CHECK(error_of({"--ranks", "1024", "--attn-tp", "2"}).find("2048 ranks, at most 1024") !=
        std::string::npos);
  CHECK(parse({"--ranks", "4096", "--dry-run"}).ranks == 4096);
  CHECK(error_of({"--ranks", "4096", "--attn-tp", "2", "--dry-run"})
            .find("8192 ranks, at most 4096 can be planned") != std::string::npos);
  CHECK(error_of({"--ranks", "4097", "--dry-run"}).find("4096") != std::string::npos);
  CHECK(error_of({"--counts", "a.csv"}) == "--counts a.csv is written by --dry-run alone");
  CHECK(error_of({"--dry-run", "--counts", "/nonexistent/file"})
            .find("--counts: cannot write /nonexistent/file: No such file") == 0);
  for (const char* comm : {"mpi", "sim", "sim_thread"}) {
    const std::string error = error_of({"--dry-run", "--comm", comm});
    CAPTURE(error);
    CHECK(error.find(std::string("takes no --comm ") + comm) != std::string::npos);
  }
  CHECK(error_of({"--schedule", "late"}).find("not of --comm thread") != std::string::npos);
  CHECK(error_of({"--schedule", "eager", "--comm", "mpi"}).find("not of --comm mpi") !=
        std::string::npos);
  CHECK(error_of({"--comm", "sim_thread", "--ranks", "33", "--attn-tp", "2"})
            .find("at most 64 ranks, these are 66") != std::string::npos);
  CHECK(error_of({"--hosts", "3"}) == "--hosts 3 must divide --ranks 8");
  CHECK(error_of({"--mode", "sum_len_peer", "--comm", "mpi"})
            .find("--mode sum_len_peer needs ranks that reach each other's memory, those of --comm "
                  "mpi do not") == 0);
  CHECK(error_of({"--mode", "sum_len_peer", "--hosts", "2"}).find("--hosts is 2") !=
        std::string::npos);
  CHECK(error_of({"--graphs", "-1"}).find("0 to 1024") != std::string::npos);
  CHECK(error_of({"--json", "/nonexistent/file"}).find("/nonexistent/file") != std::string::npos);
  CHECK(error_of({"--hidden", "23"}).find("24 to 1024") != std::string::npos);
  CHECK(error_of({"--hidden", "1025"}).find("24 to 1024") != std::string::npos);
  CHECK(error_of({"--unknown"}).find("--unknown") != std::string::npos);
  CHECK(error_of({"stray"}).find("stray") != std::string::npos);
  CHECK(error_of({"--ranks"}).find("--ranks") != std::string::npos);
  CHECK(error_of({"--ranks", "2", "--ranks", "3"}).find("--ranks") != std::string::npos);
}
