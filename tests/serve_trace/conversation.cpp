#define DOCTEST_CONFIG_IMPLEMENT
#include "conversation.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

namespace serve_trace {
namespace {

/// In $DPGATHER_SHARED, or beside the project.
std::string trace_path() {
  const char* const shared = std::getenv("DPGATHER_SHARED");
  const char* const project = std::getenv("DPGATHER_SOURCE_ROOT");
  const std::string folder =
      shared != nullptr ? shared : std::string(project != nullptr ? project : ".") + "/../shared";
  return folder + "/data/azure_llm_2023_conv.csv";
}

}  // namespace

const Trace& conversation() {
  static const Trace trace = read_trace(trace_path());
  return trace;
}

}  // namespace serve_trace

int main(int argc, char** argv) {
  if (!std::filesystem::exists(serve_trace::trace_path())) {
    std::printf("skipped: %s is not there\n", serve_trace::trace_path().c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
