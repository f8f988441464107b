// The rows of every DP rank in every step, for other programs: what a scheduler makes of a trace.
#pragma once

#include <fstream>
#include <string>

#include "figures.hpp"

namespace serve_trace {

/// CSV: a header `live,forward,0,1,...,W-1`, then a line for each step: 1 while requests are yet to
/// be admitted, else 0; what it runs (`dpgather::name(Forward)`); the token rows of each DP rank.
class CountsFile {
 public:
  CountsFile(const std::string& path, int ranks);

  void add(const StepFacts& step);
  /// Throws BadInput if not all of it could be written.
  void close();

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace serve_trace
