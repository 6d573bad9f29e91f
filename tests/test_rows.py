"""Rows: the round trip through Arrow, and what the content hash covers."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from memflux import waveform
from memflux.device import FIELDS
from memflux.errors import DataError, InvalidValue
from memflux.rows import Method, Rows, build_drive, drive_columns, drive_family, keys_of, rows_of
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.traces import History

METHOD = Method(engine="compact")


def rows_from(space="9d", count=5):
    devices, drive = Space.preset(space).sample(count, seed=3)
    return rows_of(np.arange(count), devices, drive, StandIn(samples=8)(devices, drive), METHOD)


def keyed(rows):
    """The rows with the keys of what their columns say."""
    family = {"kind": "triangle", "cycles": 2}
    return dataclasses.replace(rows, key=keys_of(rows.devices, family, rows.drive, 8, METHOD))


def test_table_has_the_documented_columns_and_nulls_where_a_field_follows():
    table = rows_from().to_table()
    documented = {"index", "key", *FIELDS, "amplitude", "period", "voltage", "current", "status_class", "status"}
    assert documented <= set(table.column_names)
    assert table["mobility_hole"].null_count == 5
    assert table.schema.field("current").type == pa.list_(pa.float64())


def test_round_trip_through_chunks_of_any_size():
    rows = rows_from()
    table = rows.to_table()
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2, 0), table.slice(2)])
    back = Rows.from_table(chunked, ("amplitude", "period"))
    assert back.content().tobytes() == rows.content().tobytes()
    assert np.isnan(back.devices.mobility_hole).all()
    assert list(back.biography["engine"]) == ["compact"] * 5


def test_a_shard_without_conduction_joins_one_with_it():
    plain = rows_from()
    rich = dataclasses.replace(plain, conduction=plain.current)
    table = pa.concat_tables([rich.to_table(), plain.to_table()], promote_options="default")
    conduction = Rows.from_table(table, ("amplitude", "period")).conduction
    assert np.array_equal(conduction[:5], plain.current)
    assert np.isnan(conduction[5:]).all()


def test_parts_of_rows_make_the_whole():
    rows = rows_from()
    again = Rows.concatenate([rows[:2], rows[2:2], rows[2:]])
    assert again.content().tobytes() == rows.content().tobytes()
    assert list(again.biography) == list(rows.biography)
    np.testing.assert_array_equal(again.devices.barrier_left, rows.devices.barrier_left)
    rich = dataclasses.replace(rows, conduction=rows.current)
    conduction = Rows.concatenate([rows, rich]).conduction
    assert np.isnan(conduction[:5]).all()
    assert np.array_equal(conduction[5:], rows.current)
    with pytest.raises(InvalidValue, match="parts has no entries"):
        Rows.concatenate([])


@pytest.mark.parametrize("change", ["current", "voltage", "status_class", "index", "drive", "devices"])
def test_content_covers_keys_classes_and_traces(change):
    rows = rows_from()
    changed = {
        "current": lambda: np.nextafter(rows.current, np.inf),
        "voltage": lambda: -rows.voltage,
        "status_class": lambda: np.array(["diverged"] * 5, dtype=object),
        "index": lambda: rows.index + 1,
        "drive": lambda: rows.drive | {"period": rows.drive["period"] * 2},
        "devices": lambda: rows.devices.replace(contact_density="lowered"),
    }
    other = keyed(dataclasses.replace(rows, **{change: changed[change]()}))
    assert other.content().tobytes() != rows.content().tobytes()


def test_content_leaves_out_the_biography_and_the_kind_of_nan():
    rows = rows_from()
    failed = dataclasses.replace(rows, current=np.full_like(rows.current, np.nan))
    negative = dataclasses.replace(
        failed,
        current=-np.full_like(rows.current, np.nan),
        biography=rows.biography | {"host": np.array(["elsewhere"] * 5, dtype=object)},
    )
    assert negative.content().tobytes() == failed.content().tobytes()


def test_content_resolves_fields_that_follow():
    rows = rows_from()
    written_out = keyed(dataclasses.replace(rows, devices=rows.devices.resolved()))
    assert written_out.content().tobytes() == rows.content().tobytes()


def test_a_key_is_the_address_of_device_drive_samples_and_method():
    devices, drive = Space.preset("5d-parametric").sample(3, seed=3)
    traces = StandIn(samples=8)(devices, drive)
    one = rows_of(np.arange(3), devices, drive, traces, METHOD)
    assert len(set(one.key)) == 3
    assert {len(key) for key in one.key} == {32}
    each = type(drive)(amplitude=np.full(3, drive.amplitude), period=np.full(3, drive.period), cycles=drive.cycles)
    assert list(rows_of(np.arange(5, 8), devices, each, traces, METHOD).key) == list(one.key)
    for change in ({"control": "fast"}, {"engine": "petsc"}, {"solver_version": "9"}):
        other = rows_of(np.arange(3), devices, drive, traces, dataclasses.replace(METHOD, **change))
        assert not set(other.key) & set(one.key)
    finer = rows_of(np.arange(3), devices, drive, StandIn(samples=16)(devices, drive), METHOD)
    assert not set(finer.key) & set(one.key)


def test_missing_and_ragged_columns_are_data_errors():
    table = rows_from().to_table()
    with pytest.raises(DataError, match="no column current"):
        Rows.from_table(table.drop_columns(["current"]), ("amplitude", "period"))
    ragged = table.set_column(
        table.schema.get_field_index("current"), "current", pa.array([[1.0]] * 4 + [[1.0, 2.0]], pa.list_(pa.float64()))
    )
    with pytest.raises(DataError, match="must be equal"):
        Rows.from_table(ragged, ("amplitude", "period"))


def test_traces_off_the_phase_grid_are_refused():
    devices, drive = Space.preset("5d").sample(2, seed=0)
    traces = StandIn(samples=8)(devices, drive)
    with pytest.raises(InvalidValue, match="phase grid"):
        rows_of(np.arange(2), devices, drive, dataclasses.replace(traces, time=traces.time * 1.01), METHOD)


def test_the_history_becomes_the_biography():
    devices, drive = Space.preset("5d").sample(1, seed=0)
    history = History(
        newton=np.array([2, 3]),
        rejected=np.array([0.1]),
        equilibrium_newton=7,
        rescues=1,
        wall_time=0.5,
        barrier_change_left=np.zeros(2),
        barrier_change_right=np.zeros(2),
    )
    traces = dataclasses.replace(StandIn(samples=8)(devices, drive), history=(history,))
    told = rows_of(np.arange(1), devices, drive, traces, METHOD).biography
    assert (told["newton_steps"][0], told["rejected_steps"][0], told["rescues"][0]) == (12, 1, 1)
    assert told["wall_time_s"][0] == 0.5
    assert told["pid"][0] > 0


@pytest.mark.parametrize(
    "drive",
    [
        waveform.Triangle(amplitude=np.array([1.0, 2.0]), period=8.0),
        waveform.Sine(amplitude=3.0, period=2.0, cycles=1),
        waveform.PulseTrain(amplitude=np.array([1.0, -2.0]), width=1e-3, ramp=1e-4, rest=1e-3),
        waveform.PiecewiseLinear(times=np.array([0.0, 1.0, 3.0]), voltages=np.array([0.0, 2.0, 0.0])),
    ],
)
def test_every_drive_comes_back_from_family_and_columns(drive):
    devices, _ = Space.preset("5d").sample(2, seed=0)
    traces = StandIn(samples=8)(devices, drive)
    rows = rows_of(np.arange(2), devices, drive, traces, METHOD)
    family = drive_family(drive)
    assert tuple(rows.drive) == drive_columns(family)
    back = build_drive(family, rows.drive)
    assert back.batch == drive.batch
    assert np.array_equal(back.grid(8)[1], drive.grid(8)[1])
    table = rows.to_table()  # "width" of a pulse does not collide with the device's
    assert len(set(table.column_names)) == len(table.column_names)


def test_a_vacancy_density_is_kept_and_takes_the_offset_s_place_in_the_content():
    rows = rows_from()
    given = rows.devices.replace(mean_vacancy_density=[np.nan, 1e22, 1e23, 1e24, np.nan])
    changed = keyed(dataclasses.replace(rows, devices=given))
    back = Rows.from_table(changed.to_table(), ("amplitude", "period"))
    np.testing.assert_array_equal(back.devices.mean_vacancy_density, given.mean_vacancy_density)
    assert back.content().tobytes() == changed.content().tobytes()
    assert changed.content()[0].tobytes() == rows.content()[0].tobytes()
    assert changed.content()[1].tobytes() != rows.content()[1].tobytes()
