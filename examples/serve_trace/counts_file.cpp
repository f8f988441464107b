#include "counts_file.hpp"

#include <iterator>

#include <fmt/format.h>

#include "options.hpp"

namespace serve_trace {

CountsFile::CountsFile(const std::string& path, int ranks) : path_(path), file_(path) {
  std::string line = "live,forward";
  for (int rank = 0; rank < ranks; ++rank) fmt::format_to(std::back_inserter(line), ",{}", rank);
  file_ << line << '\n';
}

void CountsFile::add(const StepFacts& step) {
  std::string line = fmt::format("{:d},{}", step.live, name(step.forward));
  for (const std::int64_t count : step.counts)
    fmt::format_to(std::back_inserter(line), ",{}", count);
  file_ << line << '\n';
}

void CountsFile::close() {
  file_.close();
  if (!file_) throw BadInput(fmt::format("--counts: cannot write {}", path_));
}

}  // namespace serve_trace
