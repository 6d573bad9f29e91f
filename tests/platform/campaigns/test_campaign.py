"""Campaign files: what is accepted, and the sentence where it is not."""

import pytest

from memflux.errors import InvalidValue
from memflux.platform.campaigns.campaign import Campaign, shard_size_for
from memflux.space import Space


def test_a_campaign_survives_its_file(tmp_path):
    campaign = Campaign(space="9d", count=1000, seed=7, contact_density="lowered", engine="compact", workers=3)
    path = tmp_path / "c.yaml"
    path.write_text(campaign.to_yaml())
    assert Campaign.from_yaml(path) == campaign
    assert all("#" in line for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sampels: 3", "'sampels' is not a key of a campaign; did you mean 'samples'"),
        ("seed: -1", "seed = -1 is out of range; give a whole number from 0"),
        ("seed: 1e3", "seed = '1e3' is not a whole number"),
        ("seed: true", "seed = True is not a whole number"),
        ("samples: 4", "samples = 4 is out of range"),
        ("control: acurate", "control = 'acurate' is not known; choose one of accurate, fast. Did you mean 'accurate'"),
        ("control: reference", "control = 'reference' is not known"),
        ("workers: 0", "workers = 0 is out of range"),
        ("space: 10d", "space = '10d' is not known"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, line, sentence):
    fields = {"space": "space: 9d", "count": "count: 10"} | {line.split(":")[0]: line}
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(fields.values()))
    with pytest.raises(InvalidValue) as error:
        Campaign.from_yaml(path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("space: 9d", "has no 'count'; add a line"),
        ("- 1", "does not hold 'key: value' lines"),
        ("1: 2", "does not hold 'key: value' lines"),
        ("a: b: c", "is not YAML"),
    ],
)
def test_a_file_that_is_no_campaign(tmp_path, text, sentence):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InvalidValue, match=sentence):
        Campaign.from_yaml(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidValue, match="cannot be read: No such file"):
        Campaign.from_yaml(tmp_path / "none.yaml")


def test_the_contact_density_is_part_of_the_devices_but_draws_the_same():
    campaign = Campaign(space="5d", count=3, contact_density="lowered")
    devices, drive = campaign.design_space().sample(3, seed=0)
    published, _ = Space.preset("5d").sample(3, seed=0)
    assert set(devices.contact_density) == {"lowered"}
    assert (devices.vacancy_offset == published.vacancy_offset).all()
    assert campaign.design_space().contains(devices, drive).all()


def test_the_recipe_leaves_out_how_it_is_run():
    assert "workers" not in Campaign(space="5d", count=3, workers=2).recipe()


@pytest.mark.parametrize(("count", "size"), [(1, 16), (300, 16), (175_000, 88), (10**8, 1024)])
def test_shards_are_small_but_not_too_many(count, size):
    assert shard_size_for(count) == size
