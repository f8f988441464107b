#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <doctest/doctest.h>

#include "command.hpp"
#include "support/folder.hpp"

TEST_CASE("the plot is a PNG, whatever its name") {
  const support::Folder folder;
  for (const std::string name : {"plot.png", "it's a plot.png"}) {
    const std::string path = folder.file(name);
    const auto outcome = serve_trace::run_command("'" + serve_trace::environment("TUNE_SIZES") +
                                                  "' --requests 100 --plot \"" + path + "\"");
    CAPTURE(outcome.output);
    CHECK(outcome.exit_code == 0);
    std::string start(8, ' ');
    std::ifstream(path, std::ios::binary).read(start.data(), 8);
    CHECK(start == "\x89PNG\r\n\x1a\n");
  }
}

int main(int argc, char** argv) {
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) {
    std::printf("skipped: gnuplot is not there\n");
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
