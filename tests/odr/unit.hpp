// What each translation unit says of itself.
#pragma once

#include <typeinfo>

struct Unit {
  const void* shared_object;           // of an inline function: one in the whole program
  const std::type_info* communicator;  // its type holds the check level
  int (*gathered_sum)(int ranks);      // runs a gather over threads
};

Unit unit_one();
Unit unit_two();
