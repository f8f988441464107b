"""Figures drawn by gnuplot."""

import shutil
import subprocess

from .bad_input import BadInput


def draw(path, lines, size):
    """`lines` are what gnuplot is told once the SVG `path` of (width, height) is its output."""
    if shutil.which("gnuplot") is None:
        raise BadInput("gnuplot is not installed (Debian package gnuplot-nox)")
    quoted = str(path).replace("'", "''")
    script = [f"set terminal svg size {size[0]},{size[1]} background 'white'", f"set output '{quoted}'", *lines]
    done = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, capture_output=True)
    if done.returncode:
        raise BadInput(f"gnuplot did not draw {path}: {done.stderr.strip()}")
