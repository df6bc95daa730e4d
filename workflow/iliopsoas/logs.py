"""What a long stage tells its user: a log file per rule, and progress that names nobody."""

import contextlib
import logging
import sys
import time
from pathlib import Path

log = logging.getLogger("iliopsoas")


@contextlib.contextmanager
def to_file(path):
    """Send the package's log to `path` and to standard error; an uncaught error goes there too.

    Parameters
    ----------
    path : path or None
        Log file; None logs to standard error alone.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers = handlers[1:]
    try:
        yield log
    except BaseException as error:
        if not isinstance(error, SystemExit):
            log.exception("stopped by %s", type(error).__name__)
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


class Progress:
    """Counts finished items and logs a line at most every `every_s` seconds.

    Lines, not a bar: several jobs share the terminal, and the log file reads the same.
    """

    def __init__(self, what: str, total: int, every_s: float = 10.0):
        self.what, self.total, self.every_s = what, total, every_s
        self.done = 0
        self.counts: dict[str, int] = {}
        self.start = self.last = time.monotonic()
        log.info("%s: %d to do", what, total)

    def step(self, verdict: str) -> None:
        """Count one item with its verdict."""
        self.done += 1
        self.counts[verdict] = self.counts.get(verdict, 0) + 1
        now = time.monotonic()
        if now - self.last >= self.every_s or self.done == self.total:
            self.last = now
            each = (now - self.start) / self.done
            verdicts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
            left = each * (self.total - self.done) / 60
            log.info(
                "%s: %d of %d (%s), %.1f s each, %.1f min left",
                self.what,
                self.done,
                self.total,
                verdicts,
                each,
                left,
            )
