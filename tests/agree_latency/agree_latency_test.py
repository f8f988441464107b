#!/usr/bin/env python3
"""agree_latency_test.py AGREE_LATENCY: a short run's figures hang together, and bad input is refused by an error that names it."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = sys.argv.pop(1)


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False)


class Figures(unittest.TestCase):
    def test_of_threads_and_processes(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            done = run("--control", "thread", "shared_memory", "shared_memory_threads", "--ranks", 2, 3, "--steps", 100,
                       "--warm-up", 5, "--work", 20, "--work-steps", 100, "--runs", 3, "--json", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            results = json.loads(path.read_text(encoding="utf-8"))
        self.assertEqual([(r["control"], r["ranks"]) for r in results],
                         [(control, ranks) for control in ("thread", "shared_memory", "shared_memory_threads") for ranks in (2, 3)])
        for result in results:
            self.assertEqual(len(result["runs"]), 3)
            for one in result["runs"]:
                barriers = one["barriers"].values()
                for times in [one["agreement"], *barriers]:
                    self.assertGreater(times["p50_us"], 0)
                    self.assertLessEqual(times["p50_us"], times["p99_us"])
                    self.assertLessEqual(times["p50_us"], times["slowest_p50_us"])
                    self.assertLessEqual(times["p99_us"], times["slowest_p99_us"])
                for ratio, p50 in (("ratio", "p50_us"), ("slowest_ratio", "slowest_p50_us")):
                    self.assertAlmostEqual(one[ratio], one["agreement"][p50] / min(b[p50] for b in barriers))
                self.assertEqual([(w["us"], w["uneven"]) for w in one["work"]], [(20, False), (20, True)])
                for work in one["work"]:
                    self.assertGreaterEqual(work["exposed"]["p50_us"], work["wait"]["p50_us"])


class BadInput(unittest.TestCase):
    def test_is_refused_by_name(self):
        for arguments, said in (
            (("--ranks", 1), "Value 1 not in range 2 to 64"),
            (("--ranks", 2, 65), "Value 65 not in range 2 to 64"),
            (("--control", "carrier_pigeon"), "carrier_pigeon not in"),
            (("--steps", 99), "Value 99 not in range 100 to 100000"),
            (("--runs", 0), "Value 0 not in range 1 to 1000"),
            (("--work", 0.5), "Value 0.5 not in range 1"),
            (("--json", "/no/such/folder/x.json"), "cannot write /no/such/folder/x.json"),
            (("--control", "mpi", "thread"), "goes without other planes"),
            (("--control", "mpi", "--ranks", 2), "mpirun says how many"),
        ):
            with self.subTest(arguments=arguments):
                done = run(*arguments)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stdout, "")
                self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
