#!/usr/bin/env python3
"""check_captures.py INCLUDE: lambdas in headers say that they capture `this` before they call a member function by it.

Of `[&] { f(a, b); }` g++ keeps a, b, this; clang++ and nvcc keep this, a, b. A program with objects of both has one copy of a
template that takes such a closure, and it would read the other kind wrongly. `[&, this]` is the same for all."""

import re
import sys
from pathlib import Path

CALL = re.compile(r"(?<![\w.:>])(?<!->)([a-z_]\w*)\s*(?:<[\w, ]*>)?\(")
MEMBER = re.compile(r"^ {2,}(?!return\b|if\b|else\b|for\b|while\b|switch\b|throw\b|const auto\b|auto\b)(?P<before>[\w:<>,&*\[\] ]*?[\w>&*\]] )(?P<name>[a-z_]\w*)\((?P<rest>[^;]*)$",
                    re.MULTILINE)
KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "catch", "decltype", "requires", "alignas", "static_cast", "noexcept"}


def members(text):
    """Names of functions that are defined inside a class and are not static."""
    names = set()
    for match in MEMBER.finditer(text):
        if "static" not in match["before"].split() and "friend" not in match["before"].split():
            names.add(match["name"])
    return names


def body_after(text, at):
    """The text between the braces of the lambda whose introducer ends at `at`."""
    begin = text.index("{", at)
    depth = 0
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin:i + 1]
    return text[begin:]


def check(text):
    """(line, member) of each lambda that should say `this`."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    found, known = [], members(text)
    for match in re.finditer(r"\[&\]", text):
        body = body_after(text, match.end())
        local = set(re.findall(r"(?:auto|const auto)&?&? (\w+) =", text[:match.start()]))
        for call in CALL.finditer(body):
            name = call[1]
            if name in known and name not in KEYWORDS and name not in local:
                found.append((text.count("\n", 0, match.start()) + 1, name))
                break
    return found


def main():
    root = Path(sys.argv[1])
    wrong = [(path.relative_to(root), line, name) for path in sorted(root.rglob("*.hpp")) + sorted(root.rglob("*.cuh"))
             for line, name in check(path.read_text(encoding="utf-8"))]
    for path, line, name in wrong:
        print(f"{path}:{line}: calls the member function {name}: capture [&, this]")
    bad = "struct S {\n  void f(int a) {}\n  void g() {\n    int a;\n    h([&] { f(a); });\n  }\n};\n"
    if check(bad) != [(5, "f")] or check(bad.replace("[&]", "[&, this]")):
        sys.exit("this check finds nothing")
    print(f"{len(wrong)} lambdas to change")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
