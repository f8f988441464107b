// What came out, as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include <dpgather/tune/size_tuner.hpp>

#include "judge.hpp"
#include "load.hpp"
#include "options.hpp"

namespace tune_sizes {

struct Result {
  dpgather::TunedShapes tuned;
  Cost own = {};       ///< of the steps judged
  Cost defaults = {};  ///< the same at SGLang's default sizes, MAX_LEN
  std::int64_t default_shapes = 0;
  double seconds = 0;  ///< of the tuner
};

[[nodiscard]] Result tune(const Options& options, const Load& load);
[[nodiscard]] std::string report(const Options& options, const Load& load, const Result& result);
[[nodiscard]] std::string to_json(const Options& options, const Load& load, const Result& result);

}  // namespace tune_sizes
