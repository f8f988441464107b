#!/usr/bin/env python3
"""Wrong code must not compile, and for the right reason.

A case is a file whose first line is `// message: REGEX`. Lines that end in `// wrong` are the mistake: with them
the compiler must fail with a message that the expression finds; without them the file must compile.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from compile import Compiler  # noqa: E402

FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-pthread"]


def check(compiler, case):
    """What is wrong with a case (a list of texts), and how many of its two compilations were not needed."""
    text = case.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    message = re.fullmatch(r"// message: (.+)", first)
    lines = rest.splitlines(keepends=True)
    right = "".join("\n" if line.rstrip().endswith("// wrong") else line for line in lines)
    if message is None or right == rest:
        return ["a case starts with '// message: REGEX' and has lines that end in '// wrong'"], 0

    def control(code, output):
        return f"does not compile without the mistake:\n{output}" if code else None

    def mistake(code, output):
        if code == 0:
            return "compiles with the mistake"
        if re.search(message[1], output) is None:
            return f"no '{message[1]}' in the compiler's message:\n{output}"
        return None

    results = [compiler.compile(case.stem + "_right", ".cpp", right, FLAGS, control),
               compiler.compile(case.stem, ".cpp", rest, FLAGS, mistake, judged_by=message[1])]
    return [wrong for wrong, _ in results if wrong], sum(cached for _, cached in results)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--include", required=True, type=pathlib.Path)
    parser.add_argument("--cases", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder for sources and what passed")
    args = parser.parse_args()

    compiler = Compiler(args.compiler, args.include, args.work)
    cases = sorted(args.cases.glob("*.cpp"))
    failed = unchanged = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for case, (wrong, cached) in zip(cases, pool.map(lambda c: check(compiler, c), cases)):
            unchanged += cached == 2
            if wrong:
                failed += 1
                print(f"FAILED: {case.name}: " + "\n".join(wrong))
    print(f"{len(cases)} cases: {failed} failed, {unchanged} unchanged since they passed")
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
