#!/usr/bin/env python3
"""Rows moved and computed on a request trace, for each mode and kind of sizes: dry runs of serve_trace, as a table.

usage: bench/trace_cost.py --serve-trace PROGRAM --trace FILE [--json FILE]

Counted in rows, so the machine does not matter.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODES = [["--mode", "max_len"], ["--mode", "sum_len"], ["--mode", "sum_len_v"], ["--mode", "auto", "--no-peers"],
         ["--mode", "auto", "--hosts", "4"], ["--mode", "auto"], ["--mode", "auto", "--retune"]]


def figures(options, arguments, folder):
    path = Path(folder) / "figures.json"
    done = subprocess.run([options.serve_trace, "--dry-run", "--trace", options.trace, "--json", str(path), *arguments],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"trace_cost: {' '.join(arguments)}: {done.stderr.strip()}")
    told = json.loads(path.read_text())
    told["settings"]["traffic"] = Path(options.trace).name  # kept in docs, where a path says nothing
    return told


def ratio(part, whole):
    return f"{part / whole:.3f}" if whole else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve-trace", required=True)
    parser.add_argument("--trace", required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    print("per row that exists; FFN and attention rows in live decode steps\n")
    print("| serve | ranks | mode | moved out | back | FFN | attention | graphs held / captures | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for serve in ["mixed", "decode"]:
            for ranks in ["8", "32"]:
                for mode in MODES:
                    arguments = ["--serve", serve, "--ranks", ranks, "--speedup", ranks, *mode]
                    run = figures(options, arguments, folder)
                    results.append({"arguments": arguments, "figures": run})
                    print(f"| {serve} | {ranks} | `{' '.join(mode[1:])}` | {ratio(run['rows_moved'], run['rows'])} "
                          f"| {ratio(run['rows_moved_back'], run['rows'])} "
                          f"| {ratio(run['decode_rows_computed'], run['decode_rows'])} "
                          f"| {ratio(run['decode_attention_rows'], run['decode_rows'])} "
                          f"| {run['most_graph_keys']} / {run['graph_captures']} | {run['seconds']:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
