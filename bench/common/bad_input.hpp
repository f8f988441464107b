// Input that a bench cannot work with.
#pragma once

#include <stdexcept>

namespace bench {

/// One line for the user, exit code 2.
struct BadInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace bench
