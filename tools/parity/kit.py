"""What the checks share: calling the program, and counting."""
import json
import os
import subprocess
import tempfile


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, detail):
        self.passed += bool(ok)
        self.failed += not ok
        print(f"{'ok' if ok else 'not ok'} {name}: {detail}", flush=True)

    def skip(self, name, why):
        print(f"skip {name}: {why}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


class Rlaif:
    """The program, told only what its command line takes."""

    def __init__(self, program):
        self.program = program

    def run(self, *args, stdin=b""):
        r = subprocess.run([self.program, *map(str, args)], input=stdin, capture_output=True)
        if r.returncode:
            raise RuntimeError(f"rlaif {' '.join(map(str, args))}: {r.stderr.decode(errors='replace')}")
        return r.stdout

    def rows(self, command, model, rows, *flags):
        """Rows in, rows out, through files."""
        with tempfile.TemporaryDirectory() as d:
            source, result = os.path.join(d, "in.jsonl"), os.path.join(d, "out.jsonl")
            with open(source, "w") as f:
                f.writelines(json.dumps(row) + "\n" for row in rows)
            self.run(command, "-m", model, "--input", source, "--output", result, *flags)
            with open(result) as f:
                return [json.loads(line) for line in f]

    def ids(self, model, lines, *flags):
        """Token ids of texts without line ends."""
        out = self.run("tokenize", "-m", model, *flags, stdin="".join(s + "\n" for s in lines).encode())
        return [json.loads(line) for line in out.splitlines()]
