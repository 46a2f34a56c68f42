"""The command line: thin. Exit codes: 0 done, 2 wrong input or a full disk, 3 a law or a plug-in
broke, 4 the run can make no further progress, 130 interrupted, 141 the output's reader has gone.

Everything heavy is imported by the command that needs it, so that the others start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from traceback import print_exc

from click import Abort, ClickException

from simfl.cli.help import command
from simfl.cli.shared import app as app
from simfl.errors import MOST_CHARACTERS, InputError, SimflError, first_line, is_full, shorten

# isort: off
# In the order in which `simfl --help` lists their commands.
from simfl.cli import runs as runs
from simfl.cli import studies as studies
from simfl.cli import catalogue as catalogue
from simfl.cli import results as results

INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells count SIGINT and SIGPIPE


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code. Errors are printed as one paragraph."""
    words = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that a console lacks must end no run
    try:
        return _run(words)
    except (Exception, SystemExit) as error:
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            _let_go()  # Click raises SystemExit(1) in its place
            return BROKEN_PIPE
        if "--traceback" in words:
            print_exc()
        return _complain(error)


def _run(words: list[str]) -> int:
    """The exit code of a command, whose output has been written."""
    try:
        code = command(app)(words, prog_name="simfl", standalone_mode=False)
    except ClickException as error:  # what is wrong with the words themselves
        error.show()
        code = error.exit_code
    except Abort:
        code = INTERRUPTED
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _let_go() -> None:
    """What is still to be written to a reader that has gone is written to nothing."""
    if sys.__stdout__ is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())


def _complain(error: BaseException) -> int:
    """Says what went wrong in one paragraph; returns the exit code."""
    if isinstance(error, SimflError):
        message, code = str(error), error.exit_code
    elif is_full(error):
        message, code = f"no room is left on the disk ({first_line(error)})", InputError.exit_code
    elif isinstance(error, OSError):  # a folder that may not be written to
        message, code = str(error), InputError.exit_code
    elif isinstance(error, MemoryError):
        message, code = f"not enough memory: {error}", SimflError.exit_code
    elif isinstance(error, SystemExit):
        message, code = f"code that is not simfl's ended it with exit code {error.code}", 3
    else:
        what = f"{type(error).__name__}: {error}"
        message = f"a bug, please report it ({what}); simfl --traceback shows where"
        code = SimflError.exit_code
    print(f"simfl: {shorten(message, MOST_CHARACTERS)}", file=sys.stderr)
    return code
