// Reading a bench's command line.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "bad_input.hpp"

namespace bench {

/// False if help was asked for, which is then in `help`. Throws BadInput.
inline bool parse(CLI::App& app, int argc, const char* const* argv, std::string& help) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::CallForHelp&) {
    help = app.help();
    return false;
  } catch (const CLI::ParseError& error) {
    throw BadInput(error.what());
  }
}

}  // namespace bench
