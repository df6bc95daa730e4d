"""What a run will cost, from a pilot: CPU-hours, GPU-hours, disk and files.

A pilot is a finished run of a few shards with the settings of the large one. Image stages and
the network's masks cost the same for every scan, training the same for every sample it takes;
what the pilot cannot tell is missing with the reason, never 0.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy import stats

from iliopsoas import files
from iliopsoas.stages.images import CONTRASTS, LARGE
from iliopsoas.status import InputError
from iliopsoas.versions import IMAGE_STAGES

OF_FOLDS = ("train", "validate", "quality_rows")
OPINION = "opinion"  # of each shard, where it is asked for
GPU_STAGES = ("segment", OPINION, *OF_FOLDS)
COHORT_STAGES = ("cohort", "qc", "statistics", "figures")
COLUMNS = ["stage", "jobs", "cpu_hours", "gpu_hours", "disk_gb", "files", "memory_gb", "note"]
KINDS = ("image", "subject", "shard", "model", "other")  # of files, by what their number grows with
NETWORK_SETTINGS = {"crops": ("coarsen",), "network": ("base_filters", "variant")}


@dataclass(frozen=True)
class Pilot:
    """What a finished run measured.

    Parameters
    ----------
    jobs : DataFrame
        A row per benchmark: stage, name (shard or model), seconds, cpu_s, memory_mb.
    done_s : dict of (str, str) to float
        Seconds of all participants of a stage and shard, from its ledger.
    shards : dict of str to int
        Scans of each shard.
    annotated : int
        Annotated visits that were trained on.
    configuration : dict
        Of the pilot, from its run.json.
    image_bytes, image_files : int
        Size on disk and number of the stitched water and fat images.
    subject_bytes, subject_files, shard_bytes, shard_files, model_bytes, model_files : int
        The same of all else in the folders of participants, of those of shards (logs and
        benchmarks with them), and of models.
    other_bytes, other_files : int
        Everything else.
    """

    jobs: pd.DataFrame
    done_s: dict
    shards: dict
    annotated: int
    configuration: dict
    image_bytes: int
    image_files: int
    subject_bytes: int
    subject_files: int
    shard_bytes: int
    shard_files: int
    model_bytes: int
    model_files: int
    other_bytes: int
    other_files: int

    @property
    def scans(self) -> int:
        """Of all shards."""
        return sum(self.shards.values())


def read_pilot(results) -> Pilot:
    """Read a pilot's benchmarks, ledgers and sizes.

    Parameters
    ----------
    results : path
        The pilot's results folder.

    Raises
    ------
    InputError
        There is no finished pilot: no benchmarks, no run.json, or an image stage without any.
    """
    results = Path(results)
    advice = "run a small cohort (cohort.size) to its end first, then plan from its results"
    jobs = _benchmarks(results / "benchmarks")
    missing = sorted(set(IMAGE_STAGES) - set(jobs["stage"]))
    if missing:
        raise InputError(
            f"pilot {results}: no benchmark of {', '.join(missing)} under benchmarks/; {advice}"
        )
    if not (results / "run.json").is_file():
        raise InputError(f"pilot {results}: no run.json, so it is not finished; {advice}")
    sample = files.read_tsv(results / "cohort" / "sample.tsv")
    shards = sample["shard"].value_counts().to_dict()
    # a shard that is no more, by a withdrawal, is no measure of anything
    of_shards = jobs["stage"].isin((*IMAGE_STAGES, OPINION))
    jobs = jobs[~of_shards | jobs["name"].isin(shards)].reset_index(drop=True)
    done_s = {}
    for stage in IMAGE_STAGES:
        for shard in shards:
            ledger = files.read_tsv(results / "shards" / shard / f"{stage}.tsv")
            done_s[stage, shard] = float(ledger["seconds"].sum())
    trained = results / "model" / "final" / "participants.tsv"
    sizes = _sizes(results)
    return Pilot(
        jobs=jobs,
        done_s=done_s,
        shards=shards,
        annotated=len(files.read_tsv(trained)) if trained.exists() else 0,
        configuration=files.read_json(results / "run.json")["configuration"],
        **sizes,
    )


def _benchmarks(folder: Path) -> pd.DataFrame:
    """Snakemake's benchmark files; columns of `Pilot.jobs`."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        row = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]
        inside = path.parent != folder
        rows.append(
            {
                "stage": path.parent.name if inside else path.stem,
                "name": path.stem if inside else "",
                "seconds": float(row["s"]),
                "cpu_s": float(row["cpu_time"]),
                "memory_mb": float(row["max_rss"]),
            }
        )
    return pd.DataFrame(rows, columns=["stage", "name", "seconds", "cpu_s", "memory_mb"])


def _sizes(results: Path) -> dict[str, int]:
    """Bytes on disk and files of a results folder by what they grow with."""
    found = {f"{kind}_{what}": 0 for kind in KINDS for what in ("bytes", "files")}
    for path in results.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        parts = path.relative_to(results).parts
        kind = {"subjects": "subject", "model": "model"}.get(parts[0], "other")
        if kind == "subject" and path.name in (*LARGE, *CONTRASTS.values()):
            kind = "image"
        of_shard = parts[0] == "shards" and len(parts) > 2
        if of_shard or (parts[0] in {"logs", "benchmarks"} and parts[1] in IMAGE_STAGES):
            kind = "shard"
        found[f"{kind}_bytes"] += path.stat().st_blocks * 512
        found[f"{kind}_files"] += 1
    return found


def estimate(
    pilot: Pilot, configuration: dict, *, scans: int, annotated: int | None = None
) -> pd.DataFrame:
    """What a configuration costs for a number of scans, at the pilot's speed.

    Parameters
    ----------
    pilot : Pilot
    configuration : dict
        Of the large run: sections cohort, crops, network, training, segmentation, qc, run are read.
    scans : int
        Visits to process.
    annotated : int, optional
        Annotated visits to train on; default: as many as the pilot had.

    Returns
    -------
    DataFrame
        A row per stage, then the sum. stage; jobs; cpu_hours; gpu_hours: hours that jobs which
        ask for a GPU run, on whatever the pilot ran them; disk_gb (10^9 bytes) and files that
        stay; memory_gb: the pilot's largest job; note: why a value is missing.
    """
    shards = -(-scans // configuration["cohort"]["shard_size"])
    other_network = _differences(pilot.configuration, configuration, NETWORK_SETTINGS)
    if pilot.scans == 0:
        raise InputError("pilot: its cohort holds no scan")
    rows = [
        _image_row(pilot, stage, scans, shards, other_network if stage == "segment" else "")
        for stage in IMAGE_STAGES
    ]
    if configuration["qc"]["second_opinion"]:
        asked = pilot.configuration["qc"].get("second_opinion")  # older pilots know no such key
        unknown = "" if asked else "no second opinion"
        rows.append(_image_row(pilot, OPINION, scans, shards, unknown))
    if not configuration["segmentation"]["weights"]:
        annotated = pilot.annotated if annotated is None else annotated
        rows += [
            _fold_row(pilot, stage, configuration, annotated, other_network) for stage in OF_FOLDS
        ]
    rows += [_cohort_row(pilot, stage) for stage in COHORT_STAGES]
    per_scan, per_shard = scans / pilot.scans, shards / len(pilot.shards)
    kept = configuration["run"]["keep"] == "everything"
    note = "unknown: images, of which the pilot kept none" if kept and not pilot.image_files else ""
    if not kept:
        note = f"and {pilot.image_bytes / pilot.scans / 1e6:.0f} MB for each scan in work"
    rows.append(
        {
            "stage": "results on disk",
            "note": note,
            "disk_gb": (
                (kept * pilot.image_bytes + pilot.subject_bytes + pilot.shard_bytes) * per_scan
                + pilot.model_bytes
                + pilot.other_bytes
            )
            / 1e9,
            "files": round(
                (kept * pilot.image_files + pilot.subject_files) * per_scan
                + pilot.shard_files * per_shard
                + pilot.model_files
                + pilot.other_files
            ),
        }
    )
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    numbers = ["jobs", "cpu_hours", "gpu_hours", "disk_gb", "files"]
    total = {"stage": "all", **table[numbers].sum(), "memory_gb": table["memory_gb"].max()}
    unknown = table.loc[table["note"].astype(object).fillna("").str.startswith("unknown"), "stage"]
    if len(unknown):
        total["note"] = f"without {', '.join(unknown)}"
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    return table.assign(note=table["note"].astype(object).fillna(""))


def scan_costs(pilot: Pilot) -> pd.DataFrame:
    """What one scan cost on average, a row per image stage and shard.

    Returns
    -------
    DataFrame
        stage, shard; cpu_s, seconds: of one scan; memory_mb: of the whole job.
    """
    jobs = pilot.jobs[pilot.jobs["stage"].isin((*IMAGE_STAGES, OPINION))]
    table = jobs.rename(columns={"name": "shard"}).reset_index(drop=True)
    for column in ("cpu_s", "seconds"):
        whole = _whole(pilot, jobs, column).to_numpy()
        table[column] = whole / table["shard"].map(pilot.shards)
    return table


def uncertainty(pilot: Pilot) -> float | None:
    """Relative half-width (0.1 is 10 %) of the 95 % interval, Student's t, of a scan's CPU-hours.

    From the spread of the image stages' cost per scan between the pilot's shards; None for a
    pilot of one shard, which cannot tell. What the pilot's scans all share, an easier cohort or a
    faster disk than the large run's, is not in it.
    """
    rates = scan_costs(pilot).groupby("shard")["cpu_s"].sum()
    if len(rates) < 2:
        return None
    half = stats.t.ppf(0.975, len(rates) - 1) * rates.std(ddof=1) / len(rates) ** 0.5
    return float(half / rates.mean())


@dataclass(frozen=True)
class Machine:
    """What a run has, and what an hour of it costs in any currency.

    Parameters
    ----------
    cores, gpus : int
        Without a GPU the network runs on the cores.
    core_hour, gpu_hour : float, optional
        Price of an hour of one; unknown without.
    """

    cores: int
    gpus: int = 0
    core_hour: float | None = None
    gpu_hour: float | None = None

    def hours(self, table: pd.DataFrame) -> float:
        """Wall time at the least: all cores busy, GPU stages beside the others.

        Parameters
        ----------
        table : DataFrame
            See `estimate`; what it does not know is not in the hours.
        """
        cpu, gpu = self._loads(table)
        return max(cpu / self.cores, gpu / self.gpus if self.gpus else 0.0)

    def cost(self, table: pd.DataFrame) -> float | None:
        """Hours times their rates; None where a rate that is needed is not given."""
        cpu, gpu = self._loads(table)
        if self.core_hour is None or (gpu and self.gpu_hour is None):
            return None
        return cpu * self.core_hour + (gpu * self.gpu_hour if gpu else 0.0)

    def _loads(self, table):
        stages = table[table["stage"] != "all"]
        of_gpu = stages["stage"].isin(GPU_STAGES) & (self.gpus > 0)
        return stages.loc[~of_gpu, "cpu_hours"].sum(), stages.loc[of_gpu, "gpu_hours"].sum()


def _image_row(pilot: Pilot, stage: str, scans: int, shards: int, unknown: str) -> dict:
    jobs = pilot.jobs[pilot.jobs["stage"] == stage]
    row = {"stage": stage, "jobs": shards}
    if unknown:
        return row | {"note": f"unknown: the pilot had {unknown}"}
    scale = scans / pilot.scans / 3600
    row["cpu_hours"] = float(_whole(pilot, jobs, "cpu_s").sum()) * scale
    if stage in GPU_STAGES:
        row["gpu_hours"] = float(_whole(pilot, jobs, "seconds").sum()) * scale
    return row | {"memory_gb": jobs["memory_mb"].max() / 1024}


def _whole(pilot: Pilot, jobs, column: str) -> pd.Series:
    """A column of jobs; the benchmark of a resumed one misses what the ledger knows was done."""
    done = [pilot.done_s.get(key, 0.0) for key in zip(jobs["stage"], jobs["name"], strict=True)]
    return jobs[column].clip(lower=done)


def _fold_row(pilot: Pilot, stage: str, configuration: dict, annotated: int, unknown: str) -> dict:
    """Training and what follows it per fold; work is counted in samples."""
    jobs = pilot.jobs[pilot.jobs["stage"] == stage]
    folds = configuration["training"]["folds"]
    models = folds + (stage == "train" and not configuration["segmentation"]["ensemble"])
    row = {"stage": stage, "jobs": models}
    if jobs.empty or not pilot.annotated:
        unknown = "no training"
    if unknown:
        return row | {"note": f"unknown: the pilot had {unknown}"}
    wanted = _samples(stage, configuration, annotated)
    scale = wanted / _samples(stage, pilot.configuration, pilot.annotated) / 3600
    return row | {
        "cpu_hours": float(jobs["cpu_s"].sum()) * scale,
        "gpu_hours": float(jobs["seconds"].sum()) * scale,
        "memory_gb": jobs["memory_mb"].max() / 1024,
    }


def _samples(stage: str, configuration: dict, annotated: int) -> float:
    """Samples that all models of a run take in training, or crops that all folds predict."""
    if stage != "train":
        return annotated
    training = configuration["training"]
    folds = training["folds"]
    # a fold's model leaves its fold out; the final one takes everybody
    people = annotated * (folds - 1)
    if not configuration["segmentation"]["ensemble"]:
        people += annotated
    return people * training["samples_per_muscle"] * training["epochs"]


def _cohort_row(pilot: Pilot, stage: str) -> dict:
    jobs = pilot.jobs[pilot.jobs["stage"] == stage]
    row = {"stage": stage, "jobs": 1}
    if jobs.empty:
        return row | {"note": "unknown: no benchmark in the pilot"}
    return row | {
        "cpu_hours": float(jobs["cpu_s"].sum()) / 3600,
        "memory_gb": jobs["memory_mb"].max() / 1024,
        "note": "at least: as in the pilot",
    }


def _differences(pilot: dict, configuration: dict, settings: dict) -> str:
    """Settings in which a pilot differs, as ``network.base_filters 4, not 8``; empty if none."""
    return ", ".join(
        f"{section}.{key} {pilot[section][key]}, not {configuration[section][key]}"
        for section, keys in settings.items()
        for key in keys
        if pilot[section][key] != configuration[section][key]
    )
