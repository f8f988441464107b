#include "plot.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <stdexcept>

#include <fmt/format.h>

namespace tune_sizes {
namespace {

using dpgather::LoadEntry;
using dpgather::SizePair;

/// As gnuplot reads it between single quotes.
std::string quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("''") : std::string(1, c);
  return quoted + "'";
}

std::string script(const std::string& path, const Load& load, const Result& result) {
  std::map<SizePair, double> steps;
  SizePair most{1, 1};
  for (const LoadEntry& entry : load.judged) {
    steps[entry.step] += static_cast<double>(entry.weight) / LoadEntry::one_step;
    most = {std::max(most.local, entry.step.local), std::max(most.global, entry.step.global)};
  }
  std::string text = fmt::format(
      "set terminal png size 1200,800\nset output {}\n"
      "set title '{} shapes: {:.3f} FFN rows/row, {:.3f} attention rows/row; default sizes "
      "{:.3f}'\n"
      "set xlabel 'requests of all ranks: FFN'\nset ylabel 'requests of the longest rank: "
      "attention'\n"
      "set key top left\nset grid\nset logscale cb\nset cblabel 'steps'\n"
      "set xrange [0:{}]\nset yrange [0:{}]\n"
      "$steps << EOD\n",
      quoted(path), result.tuned.shapes.size(), result.own.ffn(), result.own.attention(),
      result.defaults.ffn(), most.global * 21 / 20 + 1, most.local * 6 / 5 + 1);
  const auto out = std::back_inserter(text);
  for (const auto& [step, weight] : steps)
    fmt::format_to(out, "{} {} {}\n", step.global, step.local, std::max(weight, 0.001));
  text += "EOD\n$shapes << EOD\n";
  for (const SizePair& shape : result.tuned.shapes)
    fmt::format_to(out, "{} {}\n", shape.global, shape.local);
  text += "EOD\n";
  fmt::format_to(
      out,
      "plot $steps using 1:2:3 with points pt 5 ps 0.6 palette title 'steps', "
      "$shapes using 1:2 with points pt 6 ps 2 lw 2 lc rgb 'black' title 'tuned shapes', "
      "x/{}.0 with lines lc rgb 'gray' title 'all ranks alike'\n",
      load.ranks);
  return text;
}

}  // namespace

void check_gnuplot() {
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0)
    throw BadInput("--plot: gnuplot is not installed (Debian package gnuplot-nox)");
}

void plot(const std::string& path, const Load& load, const Result& result) {
  const std::string text = script(path, load, result);
  std::signal(SIGPIPE, SIG_IGN);  // gnuplot may give up before it has read all
  FILE* const gnuplot = popen("gnuplot", "w");
  if (gnuplot == nullptr) throw std::runtime_error("--plot: gnuplot cannot be started");
  const bool written = std::fwrite(text.data(), 1, text.size(), gnuplot) == text.size();
  if (pclose(gnuplot) != 0 || !written)
    throw std::runtime_error(fmt::format("--plot: gnuplot did not draw {}", path));
}

}  // namespace tune_sizes
