"""The draw is stable: a record decides who was drawn, whatever is there today."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas import files
from iliopsoas.reporting import summary
from iliopsoas.sampling import record as records
from iliopsoas.stages.cohort import cohort
from iliopsoas.status import InputError

GROUPS = [(44, 53), (54, 63), (64, 72), (73, 82)]


class Study:
    """300 people with a zip each, a table, and a results folder."""

    def __init__(self, folder):
        self.folder, self.results = folder, folder / "results"
        rng = np.random.default_rng(1)
        self.table = pd.DataFrame(
            {
                "eid": 1_000_001 + 17 * np.arange(300),
                "31-0.0": rng.integers(0, 2, 300),
                "21003-2.0": rng.integers(44, 83, 300),
                "21001-2.0": rng.normal(27, 4, 300).round(2),
                "21003-3.0": np.nan,
            }
        )
        self.zips = {str(eid): folder / f"zips/{eid}_20201_2_0.zip" for eid in self.table["eid"]}
        (folder / "zips").mkdir()
        for path in self.zips.values():
            path.touch()
        self.release = {
            "name": "main",
            "zips": str(folder / "zips"),
            "phenotypes": [str(folder / "table.csv")],
        }
        self.settings = {"size": 100, "seed": 1, "age_groups": GROUPS, "shard_size": 20}
        self.withdrawals = []

    def draw(self, **settings):
        """As Snakemake runs the stage: its outputs are deleted before, its memory is not."""
        self.table.to_csv(self.folder / "table.csv", index=False)
        plan = cohort(
            [self.release], self.withdrawals, results=self.results, **self.settings | settings
        )
        return plan.visits.set_index("eid")

    def hide(self, eids):
        (self.folder / "away").mkdir(exist_ok=True)
        for eid in eids:
            self.zips[eid].rename(self.folder / "away" / self.zips[eid].name)

    def show(self):
        for path in (self.folder / "away").iterdir():
            path.rename(self.folder / "zips" / path.name)

    def record(self):
        return records.read(self.results)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def same(one, two):
    columns = ["shard", "sampled", "scan", "stamp"]
    pd.testing.assert_frame_equal(one[columns].sort_index(), two[columns].sort_index())


def test_absent_zips_neither_lose_nor_replace_anybody(study):
    first = study.draw()
    study.hide(first.index[:20])
    same(study.draw(max_missing_share=0.2), first)
    study.show()
    same(study.draw(), first)
    assert len(study.record()) == 100


def test_too_many_absent_zips_stop_the_run_and_change_nothing(study):
    study.draw()
    before = {path: path.read_bytes() for path in study.results.rglob("*.tsv")}
    study.hide(study.record()["eid"][:20])
    with pytest.raises(InputError, match=r"20 of 100 zips .* \(20 of main\).*max_missing_share"):
        study.draw()
    assert {path: path.read_bytes() for path in study.results.rglob("*.tsv")} == before


def test_an_absent_folder_of_zips_is_told_as_missing_zips(study):
    first = study.draw()
    (study.folder / "zips").rename(study.folder / "unmounted")
    with pytest.raises(InputError, match="100 of 100 zips"):
        study.draw()
    same(study.draw(max_missing_share=1), first)


def test_what_matches_nobody_is_reported_and_summarised(study):
    (study.folder / "zips/1999999_20201_2_0.zip").touch()
    (study.folder / "zips/copy of 1999999_20201_2_0.zip").touch()
    study.table.to_csv(study.folder / "table.csv", index=False)
    plan = cohort([study.release], [], results=study.results, **study.settings)
    report = plan.table_report.set_index("problem")["count"]
    assert report["zip_of_nobody_in_the_tables"] == 1
    assert report["unmatched_zip: copy of #######_#####_#_#.zip"] == 1
    empty = pd.DataFrame({"eid": [], "status": [], "stopped_at": [], "flag": []})
    text = summary.page(empty, empty, empty, empty, table_report=plan.table_report)
    assert "copy of #######_#####_#_#.zip" in text
    assert "1999999" not in text


def test_an_absent_folder_is_an_error_before_the_first_draw(study):
    (study.folder / "zips").rename(study.folder / "unmounted")
    with pytest.raises(InputError, match="does not exist"):
        study.draw()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, r"cohort.seed is 2, and the draw was made with 1"),
        ({"size": 99}, r"cohort.size is 99, and 100 participants are drawn already"),
        ({"age_groups": GROUPS[:3]}, r"lack 73-82"),
        ({"age_groups": [(44, 63), (64, 82)]}, r"lack 44-53, 54-63, 64-72, 73-82"),
        ({"instances": [3]}, r"cohort.instances lack the visit by which 100 participants"),
        ({"seed": 2, "size": 50}, r"cohort.size is 50.*cohort.seed is 2"),
    ],
)
def test_settings_that_contradict_the_record_are_refused(study, change, message):
    study.draw()
    before = (study.results / records.RECORD).read_bytes()
    with pytest.raises(InputError, match=message) as error:
        study.draw(**change)
    assert "another results folder" in str(error.value)
    assert "draws.tsv" in str(error.value)
    assert (study.results / records.RECORD).read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"size": 150}, {"size": "everyone"}, {"age_groups": [*GROUPS, (83, 90)]}]
)
def test_what_only_adds_is_a_top_up(study, change):
    first = study.draw()
    study.draw(**change)
    record = study.record().set_index("eid")
    assert set(first.index) <= set(record.index)
    assert (record.loc[first.index, "shard"] == first["shard"]).all()
    assert set(record.loc[first.index, "size"]) == {"100"}
    new = record.drop(index=first.index)
    assert len(new) == {150: 50, "everyone": 200}.get(change.get("size"), 0)
    assert set(new["size"]) <= {str(change.get("size"))}


def test_of_everyone_the_seed_is_free(study):
    study.draw(size="everyone")
    assert len(study.draw(size="everyone", seed=5)) == 300
    with pytest.raises(InputError, match="300 participants are drawn already"):
        study.draw(size=100)


def test_the_record_is_only_appended_to(study):
    study.draw()
    text = (study.results / records.RECORD).read_text()
    study.draw(size=120)
    longer = (study.results / records.RECORD).read_text()
    assert longer.startswith(text)
    assert len(longer.splitlines()) == 121


def test_a_withdrawal_is_the_only_removal(study):
    first = study.draw()
    gone = first.index[5]
    study.withdrawals = [study.folder / "w1_20260101.csv"]
    study.withdrawals[0].write_text(f"{gone}\n")
    second = study.draw()
    assert gone not in second.index
    assert gone not in set(study.record()["eid"])
    traces = [path for path in study.results.rglob("*.tsv") if gone in path.read_text()]
    assert traces == []
    stayed = first.index.drop(gone)
    assert (second.loc[stayed, "shard"] == first.loc[stayed, "shard"]).all()
    (replacement,) = set(second.index) - set(first.index)
    assert second.loc[replacement, "shard"] not in set(first["shard"])


def test_results_from_before_the_record_are_taken_over_once(study):
    first = study.draw()
    plan = cohort([study.release], [], results=study.results, **study.settings)
    for shard, rows in plan.manifests.groupby("shard"):
        files.write_tsv(study.results / "shards" / shard / "manifest.tsv", rows)
    for name in ("draws.tsv", "seen.tsv", "listings.json"):
        (study.results / "cohort" / name).unlink()
    study.hide(first.index[:3])
    second = study.draw()
    same(second.drop(columns="stamp").assign(stamp=""), first.assign(stamp=""))
    assert set(study.record()["seed"]) == {"1"}
    with pytest.raises(InputError, match=r"cohort\.seed is 2"):
        study.draw(seed=2)


def test_the_drawn_stay_when_the_table_is_corrected(study):
    first = study.draw()
    drawn = first.index[:4].astype(int)
    study.table.loc[study.table["eid"] == drawn[0], "21003-2.0"] = 43
    study.table.loc[study.table["eid"] == drawn[1], "31-0.0"] = np.nan
    twice = study.table[study.table["eid"] == drawn[2]].assign(**{"31-0.0": [5]})
    study.table = pd.concat([study.table, twice])
    assert set(study.draw().index) == set(first.index)


def test_an_annotated_visit_with_an_absent_zip_stays_annotated(study):
    masks = study.folder / "masks"
    masks.mkdir()
    eid = next(iter(study.zips))
    (masks / f"{eid}_2.nii.gz").touch()
    study.release["annotations"] = str(masks)
    first = study.draw(size=10)
    study.hide([eid])
    second = study.draw(size=10, max_missing_share=0.2)
    same(first, second)
    assert second.loc[eid, "annotated"]
    (masks / f"{eid}_2.nii.gz").unlink()
    with pytest.raises(InputError, match="is it mounted"):
        study.draw(size=10, max_missing_share=0.2)


# --- who has left the tables --------------------------------------------------------------------


def measured(study, eid):
    """What image stages leave of a visit."""
    folder = files.subject_folder(study.results, eid, 2)
    files.write_text(folder / "iliopsoas.nii.gz", "mask")
    return folder


def without(study, eids):
    study.table = study.table[~study.table["eid"].astype(str).isin(set(eids))]


def test_who_is_in_no_table_any_more_is_forgotten_with_a_record(study):
    first = study.draw()
    gone, stays = first.index[:2]
    folders = [measured(study, eid) for eid in (gone, stays)]
    without(study, [gone])
    second = study.draw()
    assert [folder.exists() for folder in folders] == [False, True]
    assert gone not in second.index
    assert [p for p in study.results.rglob("*.tsv") if gone in p.read_text()] == []
    (row,) = files.read_tsv(study.results / "cohort/removed.tsv").to_dict("records")
    assert (row["reason"], row["scans_removed"]) == ("in no phenotype table any more", 1)
    study.draw()
    assert len(files.read_tsv(study.results / "cohort/removed.tsv")) == 1, "nothing is left to do"


def test_a_table_that_lacks_too_many_stops_the_run_and_removes_nothing(study):
    first = study.draw()
    gone = first.index[:2]
    folders = [measured(study, eid) for eid in gone]
    before = {path: path.read_bytes() for path in study.results.rglob("*.tsv")}
    without(study, gone)
    with pytest.raises(InputError, match=r"2 of 100 participants on record.*max_absent_share"):
        study.draw()
    assert all(folder.exists() for folder in folders)
    assert {path: path.read_bytes() for path in study.results.rglob("*.tsv")} == before
    study.draw(max_absent_share=0.02)
    assert not any(folder.exists() for folder in folders)


def test_without_purging_they_only_leave_the_sample(study):
    first = study.draw()
    gone = first.index[0]
    folder = measured(study, gone)
    without(study, [gone])
    assert gone not in study.draw(purge_absent=False).index
    assert folder.exists()
    assert gone in set(study.record()["eid"])


def test_a_row_without_a_visit_is_no_departure(study):
    """A participant whose visit's cells were emptied is still in the table."""
    first = study.draw()
    eid = first.index[0]
    folder = measured(study, eid)
    row = study.table["eid"].astype(str) == eid
    study.table.loc[row, ["21003-2.0", "21001-2.0"]] = np.nan
    assert eid in study.draw().index
    assert folder.exists()


def test_an_annotated_participant_who_never_was_in_a_table_is_not_removed(study):
    masks = study.folder / "masks"
    masks.mkdir()
    stranger = "5999999"
    (masks / f"{stranger}_2.nii.gz").touch()
    (study.folder / f"zips/{stranger}_20201_2_0.zip").touch()
    study.release["annotations"] = str(masks)
    assert stranger in study.draw().index
    folder = measured(study, stranger)
    assert stranger in study.draw().index
    assert folder.exists()


# --- tables of shards ---------------------------------------------------------------------------


def digests(study, **settings):
    table = cohort([study.release], [], results=study.results, **study.settings | settings).shards
    return table.set_index("shard")["digest"]


def test_a_shards_digest_changes_with_its_own_scans_and_masks_alone(study):
    first = study.draw()
    before = digests(study)
    eid = first.index[0]
    study.zips[eid].write_text("downloaded again")
    after = digests(study)
    assert before.index[before != after].tolist() == [first.loc[eid, "shard"]]
    study.hide([first.index[30]])
    assert (digests(study) == after).all(), "what is not there today is no change"


def test_a_new_table_of_phenotypes_changes_no_digest(study):
    study.draw()
    before = digests(study)
    study.table["21001-2.0"] += 1
    study.draw()
    assert (digests(study) == before).all()
