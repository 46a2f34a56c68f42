"""The command line: thin. Exit codes: 0 done, 2 wrong input, 3 a law or a plug-in broke, 4 the
run can make no further progress, 130 interrupted.

Everything heavy is imported by the command that needs it, so that the others start at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from traceback import print_exc

from simfl.cli.common import app as app
from simfl.cli.help import command
from simfl.errors import InputError, SimflError

# isort: off
# In the order in which `simfl --help` lists their commands.
from simfl.cli import runs as runs
from simfl.cli import studies as studies
from simfl.cli import catalogue as catalogue
from simfl.cli import results as results


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code. Mistakes are told in one paragraph."""
    words = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that a console lacks must end no run
    try:
        command(app)(words, prog_name="simfl")
    except SystemExit as done:
        return int(done.code or 0)
    except Exception as error:
        if "--traceback" in words:
            print_exc()
        return _complain(error)
    return 0


def _complain(error: Exception) -> int:
    """Says what went wrong in one paragraph; returns the exit code."""
    if isinstance(error, SimflError):
        print(f"simfl: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError):  # a disk that is full, a folder that may not be written to
        print(f"simfl: {error}", file=sys.stderr)
        return InputError.exit_code
    if isinstance(error, MemoryError):
        print(f"simfl: not enough memory: {error}", file=sys.stderr)
        return SimflError.exit_code
    said = f"{type(error).__name__}: {error}"
    print(
        f"simfl: a bug, please report it ({said}); simfl --traceback shows where", file=sys.stderr
    )
    return SimflError.exit_code
