#!/usr/bin/env python3
"""The table of rules in docs/simulation.md: rule_table.py DOC RULES_DIR [--write].

Without --write, fails if the table misses a rule or lists one that is gone. With it, writes the table anew; what stands
in the last column ("on a GPU") of a rule stays."""

import pathlib
import re
import sys

BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"
TEST = re.compile(r'((?:[ \t]*//[^\n]*\n)*)[ \t]*TEST_CASE(?:_TEMPLATE)?\(\s*"((?:[^"\\]|\\.)*)"((?:\s*"(?:[^"\\]|\\.)*")*)')
ROW = re.compile(r"^\| (.+?) \| (.+?) \| `(.+?)` \| (.+?) \|$", re.MULTILINE)


def rules(folder):
    """(name, document, file) of each test, in order."""
    for path in sorted(pathlib.Path(folder).glob("*.cpp")):
        above = ""
        for comment, first, rest in TEST.findall(path.read_text(encoding="utf-8")):
            name = first + "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', rest))
            text = " ".join(line.strip().lstrip("/").strip() for line in comment.splitlines())
            text = re.split(r"[:;]| \(|\. ", text)[0].strip().rstrip(".")
            above = above if text.startswith("The same") else text
            yield name, (above or "-").replace("|", "/"), path.name


def main(doc, folder, write=False):
    path = pathlib.Path(doc)
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    table, tail = rest.split(END)
    verified = {(file, name): state for name, _, file, state in ROW.findall(table)}
    wanted = list(rules(folder))
    if write:
        lines = ["| rule | document | test | on a GPU |", "|---|---|---|---|"]
        lines += [f"| {n} | {d} | `{f}` | {verified.get((f, n), 'not yet')} |" for n, d, f in wanted]
        path.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail, encoding="utf-8")
        return 0
    names = {(f, n) for n, _, f in wanted}
    problems = [f"{f}: not in {doc}: {n}" for f, n in sorted(names - verified.keys())]
    problems += [f"{f}: no such rule any more: {n}" for f, n in sorted(verified.keys() - names)]
    print("\n".join(problems) or f"{len(names)} rules, all in {doc}")
    if problems:
        print("write the table anew with: tests/sim/rule_table.py docs/simulation.md tests/sim/rules --write")
    return 1 if problems or not names else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3], write="--write" in sys.argv))
