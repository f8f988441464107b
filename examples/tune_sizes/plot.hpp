// Steps and shapes as a picture.
#pragma once

#include <string>

#include "load.hpp"
#include "result.hpp"

namespace tune_sizes {

/// Throws BadInput where gnuplot is not installed.
void check_gnuplot();
/// A PNG of the steps judged and the shapes found. Throws std::runtime_error if gnuplot fails.
void plot(const std::string& path, const Load& load, const Result& result);

}  // namespace tune_sizes
