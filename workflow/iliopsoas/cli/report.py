"""What a command says when it is done."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """A command's answer.

    Attributes
    ----------
    text : str
        For people, standard output.
    content : object
        The same for programs (``--json``).
    good : bool
        False gives the exit code of refused input.
    """

    text: str
    content: object
    good: bool = True
