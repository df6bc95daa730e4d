"""What no section can judge by itself: folders that lie in each other, visits nobody measures."""

from itertools import combinations
from pathlib import Path


def complaints(config) -> list[str]:
    """A sentence for everything that does not fit together.

    Parameters
    ----------
    config : Config
        Its sections are valid.
    """
    return [
        *_names(config),
        *_zips(config),
        *_folders(config),
        *_phantom(config),
        *_visits(config),
        *_contrasts(config),
    ]


def _names(config):
    for key, items in (("releases", config.releases), ("other_methods", config.other_methods)):
        names = [item.name for item in items]
        if len({name.lower().replace("_", "") for name in names}) < len(names):
            yield (
                f"{key}: expected different names, upper and lower case and underscores apart, "
                f"found {names}"
            )


def _zips(config):
    """A zip belongs to one release, and a release's subfolders are searched."""
    for one, other in combinations(config.releases, 2):
        if _same(one.zips, other.zips):
            yield (
                f"releases: expected a folder of zips for each, found {one.zips} for {one.name} "
                f"and {other.name}"
            )
        elif _inside(one.zips, other.zips) or _inside(other.zips, one.zips):
            yield (
                f"releases: the zips of {one.name} ({one.zips}) and {other.name} ({other.zips}) "
                "lie in each other; subfolders are searched too, so expected folders side by side"
            )


def _folders(config):
    """Inputs, results and what leaves are apart: results are replaced and removed."""
    read = {"landmarks.atlas": config.landmarks.atlas}
    mine = {}
    for release in config.releases:
        mine[f"the zips of {release.name}"] = release.zips
        mine |= {f"phenotypes of {release.name}": path for path in release.phenotypes}
        read[f"the annotations of {release.name}"] = release.annotations
    read |= {f"the masks of {method.name}": method.folder for method in config.other_methods}
    if config.vertebrae:
        read["vertebrae.folder"] = config.vertebrae.folder
    for key, paths in (
        ("withdrawals", config.withdrawals),
        ("cohort.exclusions", config.cohort.exclusions),
    ):
        mine |= {f"{key}, {path},": path for path in paths}
    if config.phantom:
        mine["phantom.folder"] = config.phantom.folder
    read = {name: path for name, path in (mine | read).items() if path}

    working = Path.cwd()
    for key, folder in (("results", config.results), ("egress.folder", config.egress.folder)):
        if folder is None:
            continue
        if _inside(str(working), folder) or _same(str(working), folder):
            yield (
                f"{key}: expected a folder of its own, found {folder}, which holds the working "
                "folder"
            )
        for name, path in read.items():
            if _same(folder, path) or _inside(folder, path):
                yield f"{key}: {folder} is an input, or inside one: {name} ({path})"
        inputs = mine if key == "results" else read
        for name, path in inputs.items():
            if _inside(path, folder):
                yield f"{key}: {folder} is written to, but {name} lies in it ({path})"
    egress = config.egress.folder
    if egress and (_same(egress, config.results) or _inside(config.results, egress)):
        yield (
            f"egress.folder: expected a folder that does not hold the results, found {egress} "
            f"with results {config.results}"
        )


def _phantom(config):
    """A synthetic cohort and real participants never mix: their EIDs may be equal."""
    if config.phantom is None:
        return
    made = f"{config.phantom.folder}/zips"
    if not any(_same(release.zips, made) for release in config.releases):
        yield (
            f"phantom: makes synthetic participants in {made}, but no release has its zips there; "
            "for real data leave the section phantom out"
        )
        return
    for release in config.releases:
        if not _inside(release.zips, config.phantom.folder):
            yield (
                f"phantom: release {release.name} has its zips in {release.zips}, outside "
                f"phantom.folder ({config.phantom.folder}): synthetic and real participants do "
                "not mix; leave one of them out"
            )


def _visits(config):
    if config.statistics.instance not in config.cohort.instances:
        yield (
            f"statistics.instance: expected one of cohort.instances {config.cohort.instances}, "
            f"found {config.statistics.instance}, a visit that nobody measures"
        )


def _contrasts(config):
    for method in config.other_methods:
        needed = method.contrast if method.command else "water"
        if needed not in ("water", "fat", *config.dixon.contrasts):
            yield (
                f"other_methods: the command of {method.name} gets {needed}, which is not made: "
                f"add it to dixon.contrasts, found {config.dixon.contrasts}"
            )


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _inside(inner: str, outer: str) -> bool:
    return Path(outer).resolve() in Path(inner).resolve().parents
