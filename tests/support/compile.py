"""What the tests that compile share: which headers a text reaches, and results kept until one changes."""

import hashlib
import pathlib
import re
import subprocess

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)


class Compiler:
    """One compiler and the headers under `root`; `work` keeps sources and what passed."""

    def __init__(self, command, root, work):
        self.command = command
        self.root = pathlib.Path(root)
        self.work = pathlib.Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
        self.texts = {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8")
                      for p in sorted(self.root.rglob("*")) if p.suffix in (".hpp", ".cuh")}
        self.includes = {h: INCLUDE.findall(t) for h, t in self.texts.items()}

    def reach(self, text):
        """Names of all headers that `text` includes, system ones too."""
        seen, queue = set(), INCLUDE.findall(text)
        while queue:
            at = queue.pop()
            if at not in seen:
                seen.add(at)
                queue += self.includes.get(at, [])
        return seen

    def compile(self, name, suffix, text, flags, judge, judged_by=""):
        """Compiles `text`. `judge(returncode, output)` gives None, or what is wrong; `judged_by` is what else its
        verdict depends on. Returns (what is wrong, whether it is known to be right already)."""
        parts = [self.version, self.command, *flags, judged_by, text]
        parts += sorted(self.texts.get(h, h) for h in self.reach(text))
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        source = self.work / (re.sub(r"\W", "_", name) + suffix)
        stamp = source.with_suffix(".passed")
        if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
            return None, True
        source.write_text(text, encoding="utf-8")
        done = subprocess.run([self.command, *flags, "-I", str(self.root), str(source)],
                              capture_output=True, text=True, check=False)
        wrong = judge(done.returncode, done.stdout + done.stderr)
        if wrong is None:
            stamp.write_text(key, encoding="utf-8")
        return wrong, False
