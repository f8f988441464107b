#!/usr/bin/env python3
"""Runs a program and checks that it succeeds and prints a text."""
import subprocess
import sys

program, text = sys.argv[1:]
result = subprocess.run([program], capture_output=True, text=True, timeout=60)
sys.stdout.write(result.stdout)
sys.stderr.write(result.stderr)
if result.returncode != 0:
    sys.exit(f"exit code {result.returncode}")
if text not in result.stdout:
    sys.exit(f"'{text}' was not printed")
