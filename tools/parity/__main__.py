"""python tools/parity RLAIF GGUF RUN... - one line per check, then the count; exit code 1 where one failed."""
import os
import sys

import adapters
import data
import families
import folders
import gguf_files
import hub
import smollm2
import soft_reward
import templates
import tokenizer
import tokens
from kit import Report, Rlaif


def main():
    program, gguf, runs = sys.argv[1], sys.argv[2], sys.argv[3:]
    report, rlaif = Report(), Rlaif(program)
    data.check(report, rlaif)
    templates.check(report, rlaif)
    if os.path.exists(gguf):
        tokens.check(report, rlaif, gguf)
        smollm2.check(report, rlaif, gguf)
    else:
        report.skip("SmolLM2", f"no {gguf} (make smollm2)")
    tokenizer.check(report, rlaif)
    gguf_files.check(report, rlaif)
    folders.check(report, rlaif, ["models"] + runs)
    soft_reward.check(report, rlaif, "models/s")
    hub.check(report, program, "models/s")
    families.check(report, os.path.join(os.path.dirname(program), "model_facts"))
    adapters.check(report, os.path.join(os.path.dirname(program), "model_facts"))
    return report.end()


sys.exit(main())
