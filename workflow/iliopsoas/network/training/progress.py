"""What a training shows: a bar on a terminal, lines in a log, the figure of the loss."""

import sys
import time

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from iliopsoas import files, machine
from iliopsoas.logs import log


class EpochProgress:
    """Progress over the steps of all epochs with loss, Dice and the time left.

    A bar where standard error is a terminal; otherwise a log line at most every
    `every_s` seconds.

    Parameters
    ----------
    what : str
    epochs, done : int
        All epochs, and those done in an earlier run.
    steps : int
        Steps per epoch.
    """

    def __init__(self, what: str, epochs: int, done: int, steps: int, every_s: float = 15.0):
        self.what, self.epochs, self.steps, self.every_s = what, epochs, steps, every_s
        self.total, self.count, self.before = epochs * steps, done * steps, done * steps
        self.start = self.last = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(what, total=self.total, completed=self.count, state="")

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.stop()

    def step(self, epoch: int, logs: dict) -> None:
        """One step is done; `logs` are the epoch's running means."""
        self.count += 1
        state = f"epoch {epoch} of {self.epochs}, loss {logs['loss']:.4f}, Dice {logs['dice']:.4f}"
        if self.bar:
            self.bar.update(self.task, completed=self.count, state=state)
            return
        now = time.monotonic()
        if now - self.last >= self.every_s or self.count == self.total:
            self.last = now
            each = (now - self.start) / (self.count - self.before)
            left = each * (self.total - self.count) / 60
            log.info("%s: %s, %.2f s per step, %.1f min left", self.what, state, each, left)

    def epoch(self, row: dict) -> None:
        """One epoch is done; `row` is its line of the log."""
        if self.bar and "validation_dice" in row:
            text = (
                f"{self.what}: epoch {row['epoch']}, validation Dice {row['validation_dice']:.4f}"
            )
            self.bar.console.print(text)


def loss_figure(path, history: pd.DataFrame, what: str) -> None:
    """Loss and Dice over the epochs.

    Parameters
    ----------
    path : path
        PNG.
    history : DataFrame
        epoch, loss, dice and, if followed, validation_loss and validation_dice.
    what : str
        Title.
    """
    with machine.drawing({}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3), layout="constrained")
        for axis, name in zip(figure.subplots(1, 2), ("loss", "dice"), strict=True):
            axis.plot(history["epoch"], history[name], label="training")
            if f"validation_{name}" in history:
                axis.plot(history["epoch"], history[f"validation_{name}"], label="validation")
                axis.legend(frameon=False)
            axis.set_xlabel("epoch")
            axis.set_ylabel({"loss": "loss", "dice": "Dice"}[name])
        figure.suptitle(what)
        with files.atomic(path) as temporary:
            figure.savefig(temporary, dpi=150)
