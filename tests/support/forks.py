"""A Python process that imports heavy libraries once, and then runs each piece of code in a fork of its own.

A fork is what a fresh process is to the code that it runs, where the libraries hold no state of it. To import torch and
transformers takes ten times as long as most of what a test does with them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.conftest import ROOT

RunInFork = Callable[..., list[str]]
END = "the fork ended with exit code "
LOOP = f"""
import importlib, json, os, sys, traceback
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    code, arguments = json.loads(line)
    if not (child := os.fork()):
        sys.argv[1:] = arguments
        try:
            exec(code, {{"__name__": "__main__"}})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    print({END!r} + str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
"""


@contextmanager
def forks_with(modules: Sequence[str], environment: Mapping[str, str]) -> Iterator[RunInFork]:
    """Import ``modules`` in a process with this ``environment``; yield what runs code in forks of it.

    What is yielded takes the code and its ``sys.argv[1:]``, and returns the lines that the code prints.
    """
    with (
        tempfile.TemporaryFile("w+") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", LOOP, *modules], cwd=ROOT, env=dict(environment), text=True, stderr=stderr,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process,
    ):  # fmt: skip

        def run(code: str, *arguments: str) -> list[str]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps([code, arguments]) + "\n")
            process.stdin.flush()
            lines = []
            while (line := process.stdout.readline()) and not line.startswith(END):
                lines.append(line.rstrip("\n"))
            stderr.seek(0)
            assert line == f"{END}0\n", f"{line or 'the process ended'}: {stderr.read()[-2000:]}"
            return lines

        yield run
        process.kill()  # to end by itself takes seconds, in which the libraries are taken down
