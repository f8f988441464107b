#!/usr/bin/env python3
"""Draws what gather_perf measured: microseconds of a collective by the bytes of a rank, a panel for each number of ranks.

usage: bench/plot_gather_perf.py --svg FILE.svg RESULTS.json...    what gather_perf --json wrote

Even counts, out of place; gathers by mode are left out.
"""

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from common.bad_input import BadInput  # noqa: E402
from common.gnuplot import draw  # noqa: E402


def read(path):
    """{(what, ranks): {comm: [(bytes of a rank, us)]}}"""
    try:
        panels = {}
        for result in json.loads(Path(path).read_text(encoding="utf-8"))["results"]:
            if "mode" in result or result["counts"] != "even" or result["in_place"] or result["bytes"] == 0:
                continue
            curves = panels.setdefault((result["what"], result["ranks"]), {})
            curves.setdefault(result["comm"], []).append((result["bytes"] / result["ranks"], result["time_us"]))
        return panels
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise BadInput(f"{path}: is not what gather_perf --json writes ({error!r})") from error


def plot(path, panels):
    whats = list(dict.fromkeys(what for what, _ in panels))
    ranks = sorted({ranks for _, ranks in panels})
    script = [f"set multiplot layout {len(whats)},{len(ranks)}", "set logscale xy", "set grid", "set xlabel 'bytes of a rank'",
              "set ylabel 'us'", "set format x '10^{%T}'", "set key top left font ',9'", "set pointsize 0.6"]
    for what in whats:
        for number in ranks:
            curves = panels.get((what, number), {})
            for at, points in enumerate(curves.values()):
                script += [f"undefine $curve{at}", f"$curve{at} << EOD"]
                script += [f"{x} {y}" for x, y in sorted(points)] + ["EOD"]
            script += [f"set title '{what}, {number} ranks' noenhanced", "plot " + ", ".join(
                [f"$curve{at} with linespoints lw 2 title '{name}' noenhanced" for at, name in enumerate(curves)]
                or ["NaN title 'not measured'"])]
    draw(path, script + ["unset multiplot"], (420 * len(ranks), 330 * len(whats)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", type=Path, required=True)
    parser.add_argument("results", nargs="+")
    options = parser.parse_args()
    try:
        panels = {}
        for path in options.results:
            for key, curves in read(path).items():
                panels.setdefault(key, {}).update(curves)
        if not panels:
            raise BadInput(f"no collective of even counts out of place in {', '.join(options.results)}")
        plot(options.svg, panels)
    except BadInput as error:
        sys.exit(f"plot_gather_perf: {error}")


if __name__ == "__main__":
    main()
