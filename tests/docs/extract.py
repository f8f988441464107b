#!/usr/bin/env python3
"""Writes the C++ block that follows `<!-- compiled: NAME -->` in a Markdown file to a source file."""
import re
import sys


def extract(text, name):
    blocks = re.findall(r"<!-- compiled: (\w+) -->\s*```cpp\n(.*?)```", text, re.DOTALL)
    found = [body for label, body in blocks if label == name]
    if len(found) != 1:
        raise SystemExit(f"block '{name}' stands {len(found)} times, must stand once")
    return found[0]


if __name__ == "__main__":
    markdown, name, out = sys.argv[1:]
    with open(markdown, encoding="utf-8") as source:
        body = extract(source.read(), name)
    with open(out, "w", encoding="utf-8") as target:
        target.write(f'#line 1 "{name} in {markdown}"\n{body}')
