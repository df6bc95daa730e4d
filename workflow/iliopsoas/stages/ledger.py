"""The ledger of one stage of one shard: what became of every participant there.

The finished ledger, ``<stage>.tsv``, is what a rule declares and the next stage reads. While the
stage works, every participant who is finished adds a line to ``<stage>.unfinished.jsonl`` beside
it, so that a job killed at any moment loses those in work and nobody else; at the end the lines
become the new ledger. There is no other record.
"""

import json
import os
from pathlib import Path

import pandas as pd

from iliopsoas import files, tables
from iliopsoas.status import InputError

COLUMNS = list(tables.LEDGER)


class Ledger:
    """One stage's record of one shard.

    Parameters
    ----------
    path : path
        The finished ledger; it need not exist.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.unfinished = self.path.with_name(f"{self.path.stem}.unfinished.jsonl")

    def rows(self) -> dict[tuple[str, str], dict]:
        """Rows by (eid, instance): the finished ledger's, then those of a job that was stopped.

        A line that a killed job left half written is no row.
        """
        found = {}
        if self.path.exists():
            table = pd.read_csv(self.path, sep="\t", dtype=str, keep_default_na=False)
            found = {(row["eid"], row["instance"]): row for row in table.to_dict("records")}
        if self.unfinished.exists():
            for line in self.unfinished.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    found[row["eid"], row["instance"]] = row
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def append(self, row: dict) -> None:
        """Add a finished participant; the line is on the disk when this returns.

        The file is opened anew each time: a second job on the same shard may have made a ledger
        of it meanwhile.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.unfinished, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"  # a killed job's half line must not spoil this one
                file.write(b"\n" if torn else b"")
            file.write(json.dumps(files.plain(row)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, keys, own: dict) -> pd.DataFrame:
        """Write the ledger: one row per participant of the shard, in the manifest's order.

        Parameters
        ----------
        keys : list of (eid, instance)
        own : dict
            This job's rows by (eid, instance); other rows come from `rows`.

        Raises
        ------
        InputError
            A participant has no row: a ledger with a hole is never written; nor is one with a
            column that nobody declared.
        """
        known = self.rows() | own
        missing = [key for key in keys if key not in known]
        if missing:
            raise InputError(
                f"{self.path.stem}: {len(missing)} of {len(keys)} participants of the shard have "
                "no verdict"
            )
        # as objects: a missing cell must not turn a column of counts into floats
        table = pd.DataFrame([_flat(known[key]) for key in keys], dtype=object)
        extra = [name for name in table.columns if name not in COLUMNS]
        table = table.reindex(columns=[*COLUMNS, *extra])
        self._check(table.columns)
        files.write_tsv(self.path, table)
        self.unfinished.unlink(missing_ok=True)
        return read(self.path)

    def _check(self, columns) -> None:
        """A misspelt column would silence the quality checks that read it."""
        deeper = self.path.parent.name in ("other", "tool")  # a ledger for each method
        place = self.path.parts[-4 if deeper else -3 :]
        declared = tables.table_of("/".join(place))
        if declared and (undeclared := declared.undeclared(columns)):
            raise InputError(
                f"{self.path.stem}: columns that iliopsoas/tables/*.yaml does not declare: "
                f"{', '.join(undeclared)}"
            )

    def reopen(self) -> None:
        """Turn the ledger back into an unfinished one, so that its stage runs again."""
        lines = [json.dumps(files.plain(row)) + "\n" for row in self.rows().values()]
        if lines:
            files.write_text(self.unfinished, "".join(lines))
        self.path.unlink(missing_ok=True)


def _flat(row: dict) -> dict:
    """Lists become text, so that every cell is a scalar."""
    return {
        key: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        for key, value in row.items()
    }


def read(path) -> pd.DataFrame:
    """A finished ledger as a table."""
    return files.read_tsv(path)


def read_all(paths_by_stage: dict) -> dict[str, pd.DataFrame]:
    """The ledgers of all shards, one table per stage.

    Parameters
    ----------
    paths_by_stage : dict of str to list of path
    """
    return {
        stage: pd.concat([read(path) for path in paths], ignore_index=True)
        for stage, paths in paths_by_stage.items()
    }
