"""Campaign files: what is accepted, and the sentence where it is not."""

import json

import numpy as np
import pytest

from memflux.dataset import Dataset
from memflux.designs import DESIGNS
from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.platform.campaigns.campaign import CUDA_SHARD, PUBLISHED_COUNTS, Campaign, shard_size_for
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.own_space import OwnSpace
from memflux.platform.campaigns.runner import run
from memflux.space import PRESETS, Space

OWN = """
count: 10
seed: 3
design: latin-hypercube
engine: cuda
space:
  name: mine
  device: S2
  constants: {length: 15e-7, barrier_lowering: false}
  parameters:
    barrier_left: {low: 0.05, high: 0.17}
    mobility_vacancy: {low: 1e-15, high: 1e-13, log: true}
    amplitude: {low: 1, high: 10}
  period: 8.0
  cycles: 3
  rule: none
"""


def campaign_of(text, folder):
    path = folder / "c.yaml"
    path.write_text(text)
    return Campaign.from_yaml(path)


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
    assert shard_size_for(count) == shard_size_for(count, "compiled") == size
    assert shard_size_for(count, "cuda") == CUDA_SHARD


def test_petsc_is_the_engine_that_nobody_named():
    assert Campaign(space="9d", count=1).engine == "petsc"


@pytest.mark.parametrize("design", DESIGNS)
def test_a_campaign_draws_by_its_design_and_any_share(design):
    campaign = Campaign(space="9d", count=5, design=design, contact_density="lowered")
    devices, drive = campaign.sample(20)
    share, _ = campaign.sample(5, first=10)
    np.testing.assert_array_equal(share.barrier_left, devices.barrier_left[10:15])
    assert set(share.contact_density) == {"lowered"}
    assert len(drive) == 20


def test_designs_draw_different_devices():
    assert len({Campaign(space="9d", count=1, design=d).sample(1)[0].barrier_left[0] for d in DESIGNS}) == 3


def test_every_preset_has_its_published_count():
    assert PUBLISHED_COUNTS.keys() == PRESETS.keys()
    assert PUBLISHED_COUNTS["4d"] == 10_000
    assert PUBLISHED_COUNTS["5d-parametric"] == 20_000


def test_a_space_of_ones_own(tmp_path):
    campaign = campaign_of(OWN, tmp_path)
    space = campaign.design_space()
    assert space.name == "mine"
    assert space.device == Device.preset("S2").replace(length=1.5e-6, barrier_lowering=False)
    assert space.names == ("barrier_left", "mobility_vacancy", "amplitude")
    assert (space.parameters[1].low, space.parameters[1].log) == (1e-15, True)
    assert (space.period, space.cycles, space.rule) == (8.0, 3, "none")
    devices, drive = campaign.sample(50)
    assert space.contains(devices, drive).all()
    assert len(drive) == 50


@pytest.mark.parametrize("text", [OWN, "count: 3\nspace: {preset: 9d, parameters: {length: {low: 1e-6, high: 3e-6}}}"])
def test_a_space_of_ones_own_survives_its_file_and_the_manifest(tmp_path, text):
    campaign = campaign_of(text, tmp_path)
    assert campaign_of(campaign.to_yaml(), tmp_path) == campaign
    recipe = json.loads(json.dumps(campaign.recipe()))
    assert recipe == campaign.recipe()
    assert Campaign(**recipe) == campaign.model_copy(update={"workers": None})
    assert "rule" not in recipe["space"] or recipe["space"]["rule"] is not None


def test_a_preset_with_other_ranges():
    lines = {
        "preset": "9d",
        "parameters": {"length": {"low": 1e-6, "high": 3e-6}, "width": {"low": 1e-6, "high": 2e-6}},
    }
    space = Campaign(space=lines | {"constants": {"temperature": 350.0}, "cycles": 1}, count=1).design_space()
    nine = Space.preset("9d")
    assert space.names == (*nine.names, "width")
    assert space.parameters[2].high == 3e-6
    assert space.parameters[3:9] == nine.parameters[3:]
    assert space.device == nine.device.replace(temperature=350.0)
    assert (space.name, space.cycles) == ("9d", 1)


def test_a_preset_alone_is_the_preset():
    assert OwnSpace(preset="16d").build() == Space.preset("16d")


def test_without_a_preset_the_constants_are_those_of_the_seed():
    space = OwnSpace(parameters={"length": {"low": "1e-6", "high": 2e-6}}).build()
    assert space.device == Device.preset("seed")
    assert (space.name, space.amplitude, space.period, space.cycles, space.rule) == ("own", 10.0, 8.0, 2, "none")


VARIES = "parameters: {length: {low: 1e-6, high: 2e-6}}"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("{parametres: {}}", "'parametres' is not a key of a space; did you mean 'parameters'?"),
        (
            "{parameters: {lenght: {low: 1, high: 2}}}",
            "'lenght' is not a parameter that can vary; did you mean 'length'",
        ),
        (
            "{parameters: {length: {low: 1e-6, hihg: 2e-6}}}",
            "length: 'hihg' is not a key of a range; did you mean 'high'",
        ),
        (
            "{parameters: {length: {low: 1e-6}}}",
            "length: the range has no 'high'; add a line 'high: ...' (the largest value",
        ),
        ("{parameters: {length: 1e-6}}", "length: range = '1e-6' does not hold 'key: value' lines"),
        (
            "{parameters: {length: {low: x, high: 1}}}",
            "length: low = 'x' is not a number; write one, such as 0.15 or 1.5e-6",
        ),
        ("{parameters: {length: {low: 1e-6, high: 1}}}", "high of length = 1 m is out of range; give a number from"),
        ("{parameters: {length: {low: 2e-6, high: 1e-6}}}", "low of length = 2e-06 is not below high = 1e-06; swap"),
        ("{parameters: {barrier_left: {low: 0, high: 1, log: true}}}", "cannot be on a log scale"),
        ("{parameters: {length: {low: 1e-6, high: 2e-6, log: 1}}}", "log = 1 is not a truth value; give True or False"),
        ("{parameters: {vacancy_charge: {low: 1, high: 2}}}", "vacancy_charge takes whole numbers alone and cannot"),
        ("{parameters: []}", "parameters = [] does not hold 'key: value' lines"),
        ("{}", "the space has no parameters; name what varies"),
        (f"{{constants: {{with: 1}}, {VARIES}}}", "'with' is not a device field; did you mean 'width'?"),
        (f"{{constants: {{width: 1e9}}, {VARIES}}}", "width = 1e+09 m is out of range"),
        (f"{{constants: {{width: [1]}}, {VARIES}}}", "width = [1] is not a number"),
        (f"{{constants: {{length: 1e-6}}, {VARIES}}}", "length is a constant and varies as well; give it in one"),
        (f"{{constants: {{contact_density: lowered}}, {VARIES}}}", "contact_density is a line of the campaign"),
        (f"{{constants: 3, {VARIES}}}", "constants = 3 does not hold"),
        (f"{{preset: 9d, device: S2, {VARIES}}}", "device = 'S2' stands beside preset = '9d'; give one of the two"),
        ("{preset: 9d, amplitude: 5}", "amplitude is a constant and varies as well"),
        (f"{{preset: 9e, {VARIES}}}", "preset = '9e' is not known; choose one of 2d"),
        (f"{{device: S9, {VARIES}}}", "'S9' is not known; choose one of seed"),
        (f"{{name: 9, {VARIES}}}", "name of the space = 9 is not a text"),
        (f"{{cycles: 1e3, {VARIES}}}", "cycles = '1e3' is not a whole number"),
        (f"{{amplitude: 0, {VARIES}}}", "amplitude = 0 V is out of range"),
        (f"{{rule: within, {VARIES}}}", "rule = 'within' is not known; choose one of none, within_gap."),
        (
            "{constants: {mean_vacancy_density: 1e23}, parameters: {vacancy_offset: {low: 0.1, high: 0.2}}}",
            "vacancy_offset has no effect where mean_vacancy_density is given; vary one of the two",
        ),
        (
            "{constants: {mean_vacancy_density: 1e23, vacancy_offset: 0.3}, " + VARIES + "}",
            "vacancy_offset has no effect where mean_vacancy_density is given",
        ),
        (
            "{parameters: {mean_vacancy_density: {low: 1e24, high: 1e29, log: true}}}",
            "mean_vacancy_density = 1e+29 m^-3 is out of range; give a number from 1e+10 m^-3 to below vacancy_site",
        ),
        ("[9d]", "space = ['9d'] is not known; choose one of 2d"),
    ],
)
def test_a_space_that_cannot_be_is_one_sentence(tmp_path, lines, sentence):
    with pytest.raises(InvalidValue) as error:
        campaign_of(f"count: 3\nspace: {lines}\n", tmp_path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_space_is_not_taken_for_another_because_of_a_mistyped_key(tmp_path):
    with pytest.raises(InvalidValue, match="does not hold 'key: value' lines"):
        campaign_of("count: 3\nspace: {1: 2}\n", tmp_path)


def test_a_campaign_of_ones_own_space_is_resumed_and_grows(tmp_path):
    campaign = campaign_of(OWN, tmp_path).model_copy(update={"engine": "compact", "samples": 8, "shard_size": 4})
    url = str(tmp_path / "data")
    assert run(campaign, url, SerialExecutor()).made == 10
    assert run(campaign, url, SerialExecutor()).made == 0
    few = Dataset.open(url)
    run(campaign.model_copy(update={"count": 21}), url, SerialExecutor())
    many = Dataset.open(url)
    np.testing.assert_array_equal(many.traces.current[:10], few.traces.current)
    assert many.space == campaign.design_space()
    other = campaign_of(OWN.replace("high: 0.17", "high: 0.18"), tmp_path).model_copy(
        update={"engine": "compact", "samples": 8, "shard_size": 4}
    )
    with pytest.raises(InvalidValue, match=r"space = .* differs from"):
        run(other, url, SerialExecutor())
