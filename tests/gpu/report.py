#!/usr/bin/env python3
"""Writes a section of docs/gpu.md from Meson's log of the GPU suite: card, driver, versions, results."""

import ctypes
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
import test_summary  # noqa: E402


def output(*command):
    """What a command prints; empty if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def first(pattern, text, otherwise="unknown"):
    found = re.search(pattern, text)
    return found.group(1) if found else otherwise


def nccl_version():
    for name in ("libnccl.so.2", "/usr/local/cuda/lib64/libnccl.so.2"):
        try:
            version = ctypes.c_int()
            if ctypes.CDLL(name).ncclGetVersion(ctypes.byref(version)) == 0:
                return f"{version.value // 10000}.{version.value // 100 % 100}.{version.value % 100}"
        except OSError:
            pass
    return "unknown"


def machine():
    cards = output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    names = ", ".join(f"{cards.count(name)} x {name}" for name in dict.fromkeys(cards)) or "no GPU"
    driver = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    nvcc = output("nvcc", "--version") or output("/usr/local/cuda/bin/nvcc", "--version")
    cuda = first(r"release ([\d.]+)", nvcc)
    return names, [f"driver {driver[0] if driver else 'unknown'}", f"CUDA {cuda}", f"NCCL {nccl_version()}"]


def section(log, names, versions):
    """Lines of the section."""
    lines = [f"### {names}", "", ", ".join(versions) + ".", "",
             "| test | result | passed | failed | skipped | for want of GPUs | seconds |", "|---|---|---|---|---|---|---|"]
    notes = []
    for test in log:
        counts = test_summary.count(test)
        text = test.get("stdout") or ""
        wants = len(re.findall(r"skipped: it takes \d+ GPUs", text))
        lines.append(f"| {test['name'].split(' / ')[-1]} | {test['result']} | {counts.passed} | {counts.failed} "
                     f"| {counts.skipped} | {wants} | {test['duration']:.1f} |")
        if test["result"] == "SKIP":
            notes += [line for line in text.splitlines() if line.startswith("skipped: ")]
        if test["name"].endswith("nccl_ffn"):
            notes += [line for line in text.splitlines() if line.startswith(("== ", "nccl_ffn: ", "  "))]
    return lines + (["", "```", *notes, "```"] if notes else [])


def main():
    with open(sys.argv[1], encoding="utf-8") as log:
        print("\n".join(section([json.loads(line) for line in log], *machine())))


if __name__ == "__main__":
    main()
