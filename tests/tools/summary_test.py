"""summary_test.py TOOLS_DIR: what tests/run says in the end."""

import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, sys.argv.pop(1))
from test_summary import Counts, count, summarise  # noqa: E402


def doctest(passed, failed, skipped):
    return (f"[doctest] test cases: {passed + failed:3} | {passed} passed | {failed} failed | {skipped} skipped\n"
            "[doctest] assertions: 99 | 99 passed | 0 failed |\n")


def result(verdict, stdout="", command=("test",)):
    return {"name": "a test", "result": verdict, "stdout": stdout, "command": list(command)}


class Summary(unittest.TestCase):
    def summary(self, tests, broken=(), left_out=()):
        with tempfile.TemporaryDirectory() as folder:
            log = os.path.join(folder, "testlog.json")
            with open(log, "w", encoding="utf-8") as out:
                out.writelines(json.dumps(test) + "\n" for test in tests)
            return summarise([("plain", log)], list(broken), list(left_out))

    def test_a_doctest_program_counts_as_its_cases(self):
        self.assertEqual(count(result("OK", doctest(7, 0, 2))), Counts(7, 0, 2))
        self.assertEqual(count(result("FAIL", doctest(5, 2, 0))), Counts(5, 2, 0))

    def test_any_other_test_counts_as_one(self):
        self.assertEqual(count(result("OK", "fine")), Counts(1, 0, 0))
        self.assertEqual(count(result("FAIL")), Counts(0, 1, 0))
        self.assertEqual(count(result("TIMEOUT")), Counts(0, 1, 0))
        self.assertEqual(count(result("SKIP")), Counts(0, 0, 1))

    def test_a_program_that_fails_after_its_cases_passed_is_a_failure(self):
        self.assertEqual(count(result("FAIL", doctest(7, 0, 0))), Counts(7, 1, 0))
        self.assertEqual(count(result("ERROR", doctest(7, 0, 0))), Counts(7, 1, 0))

    def test_of_several_ranks_the_worst_counts(self):
        self.assertEqual(count(result("FAIL", doctest(7, 0, 0) + doctest(5, 2, 0))), Counts(5, 2, 0))

    def test_cases_that_the_command_line_left_out_are_not_skipped(self):
        self.assertEqual(count(result("OK", doctest(2, 0, 5), ["test", "--test-case=a*"])), Counts(2, 0, 0))
        self.assertEqual(count(result("OK", doctest(2, 0, 5), ["test", "-ts=a*"])), Counts(2, 0, 0))

    def test_the_last_line_adds_up(self):
        lines, well = self.summary([result("OK", doctest(7, 0, 2)), result("OK"), result("SKIP")])
        self.assertEqual(lines[-1], "8 passed, 0 failed, 3 skipped")
        self.assertTrue(well)

    def test_one_failure_fails_all(self):
        lines, well = self.summary([result("OK"), result("FAIL")])
        self.assertEqual(lines[-1], "1 passed, 1 failed, 0 skipped")
        self.assertIn("FAILED: plain: a test", lines)
        self.assertFalse(well)

    def test_a_build_that_breaks_is_a_failure_and_a_stage_left_out_is_skipped(self):
        lines, well = self.summary([result("OK")], broken=["asan build"])
        self.assertEqual(lines[-1], "1 passed, 1 failed, 0 skipped")
        self.assertFalse(well)
        lines, well = self.summary([result("OK")], left_out=["tsan"])
        self.assertEqual(lines[-1], "1 passed, 0 failed, 1 skipped")
        self.assertTrue(well)

    def test_a_stage_that_ran_nothing_is_a_failure(self):
        lines, well = summarise([("plain", "/nonexistent/testlog.json")], [], [])
        self.assertEqual(lines[-1], "0 passed, 1 failed, 0 skipped")
        self.assertFalse(well)


if __name__ == "__main__":
    unittest.main()
