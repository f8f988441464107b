// What ends a program with one line.
#pragma once

#include <stdexcept>

namespace command_line {

/// What the user asked for and cannot be done: one line for the user, exit code 2.
struct BadInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace command_line
