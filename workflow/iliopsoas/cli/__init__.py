"""The command line: ``iliopsoas COMMAND``, listed in `iliopsoas.cli.arguments`.

Only the standard library is imported here: ``--help`` answers at once, and every command
imports what it needs when it runs.
"""

import logging
import os
import sys
import traceback
import warnings

from iliopsoas.cli.arguments import parser
from iliopsoas.logs import log
from iliopsoas.status import InputError, Refused

OK, UNEXPECTED, USAGE, REFUSED, SYSTEM, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main(argv=None) -> int:
    """Run one command; returns the exit code (docs/command-line.md lists them).

    Parameters
    ----------
    argv : list of str, optional
        Default: the process's arguments.
    """
    options = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # a locale that lacks a character stops nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    handler = _log_to_stderr(options)
    try:
        return _run(options)
    finally:
        log.removeHandler(handler)


def _run(options) -> int:
    from importlib import import_module

    command = import_module(f"iliopsoas.cli.{options.module}")
    try:
        with warnings.catch_warnings():
            if not options.verbose:
                warnings.simplefilter("ignore")
            report = command.run(options)
    except Refused as refused:
        return _fail(options, REFUSED, refused.message, str(refused.verdict))
    except InputError as error:
        return _fail(options, REFUSED, str(error), "input_error")
    except (OSError, MemoryError) as error:
        reason = str(error) or "not enough memory"
        return _fail(options, SYSTEM, reason, "system_error")
    except KeyboardInterrupt:
        return _fail(options, INTERRUPTED, "interrupted", "interrupted")
    except Exception as error:
        message = f"{type(error).__name__}: {error} (a bug; -v shows where)"
        return _fail(options, UNEXPECTED, message, "unexpected_error")
    try:
        print(_json(report.content) if options.json else report.text, flush=True)
    except BrokenPipeError:  # the reader, head for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK if report.good else REFUSED


def _fail(options, code: int, message: str, status: str) -> int:
    if options.verbose:
        traceback.print_exc()
    print(f"iliopsoas {options.command}: {message}", file=sys.stderr)
    if options.json:
        print(_json({"status": status, "message": message}))
    return code


def _json(content) -> str:
    from iliopsoas.files import as_json

    return as_json(content)


def _log_to_stderr(options):
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.WARNING if options.quiet else logging.INFO)
    if not options.verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    return handler
