"""The recipes of the published data sets, in datasets/."""

import subprocess
from pathlib import Path

import pytest

from memflux.dataset import Dataset, verify
from memflux.platform.campaigns.campaign import PUBLISHED_COUNTS, Campaign
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from memflux.space import Space

NAMES = ("2d", "4d", "5d", "7d", "9d", "5d-parametric", "16d", "5d-any-drive")


def recipe(repository: Path, name: str) -> Campaign:
    return Campaign.from_yaml(repository / "datasets" / f"{name}.yaml")


def test_there_is_a_recipe_for_each_published_set(repository: Path) -> None:
    assert {path.stem for path in (repository / "datasets").iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_published_space_and_size(repository: Path, name: str) -> None:
    campaign = recipe(repository, name)
    assert campaign.design_space() == Space.preset(name)
    assert campaign.count == PUBLISHED_COUNTS[name]
    assert (campaign.design, campaign.engine, campaign.contact_density) == ("published", "petsc", "equilibrium")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_can_be_made(repository: Path, name: str, tmp_path: Path) -> None:
    campaign = recipe(repository, name).model_copy(update={"count": 2, "engine": "compiled"})
    state = run(campaign, str(tmp_path / name), SerialExecutor())
    assert (state.done, state.failed) == (2, 0)
    made = Dataset.open(tmp_path / name)
    assert made.space is not None
    assert made.space.contains(made.devices, made.drive).all()
    assert verify(tmp_path / name).damaged == ()


def test_make_datasets_runs_the_recipes_that_are_named(repository: Path) -> None:
    for names, shown in (((), NAMES), (("NAMES=9d 2d",), ("9d", "2d"))):
        command = ["make", "--no-print-directory", "-n", "datasets", "DATASETS=/data", *names]
        text = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
        line = next(line for line in text.splitlines() if "campaign run" in line)
        assert '--out "/data/$name"' in line
        assert set(line.partition("for name in ")[2].partition(";")[0].split()) == set(shown)
