"""A surrogate as one file: another runtime answers as the surrogate does, from physical quantities."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

from memflux import __version__
from memflux.errors import DataError, InvalidValue, MissingDependency
from memflux.space import Space
from memflux.training import export as module_under_test
from memflux.training.export import METADATA, Physical, check_target, export
from memflux.training.hybrid import HybridConfig
from memflux.training.lstm import LstmConfig
from memflux.training.models import build
from memflux.training.neural_ode import NeuralOdeConfig

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def with_model(surrogate, config, weights=None):
    """The surrogate with another model, its weights random where none are given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(config, inputs=len(surrogate.parameters), times=33)
    if weights is not None:
        model.load_state_dict(weights)
    return dataclasses.replace(surrogate, module=model.double().requires_grad_(False))


@pytest.fixture(scope="module")
def whole(surrogate):
    """One trained surrogate of each model, of few steps, since torch goes through each of them."""
    match config := surrogate.module.config:
        case NeuralOdeConfig():
            return with_model(surrogate, dataclasses.replace(config, stride=16), surrogate.module.state_dict())
        case LstmConfig() | HybridConfig():
            return dataclasses.replace(surrogate, samples=8)  # the weights know no number of samples
    return surrogate


@pytest.fixture(scope="module", params=[pytest.param(".onnx", marks=pytest.mark.slow), ".pt2"])
def written(request, whole, tmp_path_factory):
    """The surrogate in each form: file and what `export` says of it."""
    if request.param == ".onnx":
        for name in PACKAGES:
            pytest.importorskip(name)
    path = tmp_path_factory.mktemp("export") / f"surrogate{request.param}"
    return path, export(whole, path)


def ask(path, inputs):
    """Currents [B, T] by the runtime of the file alone."""
    if path.suffix == ".onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["current"], inputs)[0]
    return torch.export.load(path).module()(*(torch.from_numpy(x) for x in inputs.values())).numpy()


def properties(path):
    """What the file says about itself."""
    if path.suffix == ".onnx":
        import onnx

        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    extra = {METADATA: ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra[METADATA])


def compare(surrogate, path, told):
    """The runtime of the file answers as the surrogate, for one device and for several."""
    for count in (1, 7):
        devices, drive = surrogate.space.sample(count, seed=5)
        wanted = surrogate(devices, drive)
        columns = {"parameters": surrogate.inputs.values(devices, drive), "voltage": wanted.voltage}
        current = ask(path, {name: columns[name].copy() for name in told.inputs})
        assert current.shape == wanted.current.shape
        assert current.dtype == np.float64
        peak = np.abs(wanted.current).max(axis=1, keepdims=True)
        assert (np.abs(current - wanted.current) / peak).max() < 1e-12
    assert told.difference < 1e-12


def test_the_spectral_model_as_onnx(spectral, tmp_path):
    """The others in the suite of minutes: torch needs ten seconds to write each."""
    for name in PACKAGES:
        pytest.importorskip(name)
    compare(spectral, tmp_path / "s.onnx", export(spectral, tmp_path / "s.onnx"))


def test_a_file_answers_as_the_surrogate_for_any_batch(whole, written):
    path, told = written
    compare(whole, path, told)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_says_what_it_is(whole, written):
    path, told = written
    assert told.form == {".onnx": "onnx", ".pt2": "torch"}[path.suffix]
    assert told.inputs[0] == "parameters"
    said = properties(path)
    assert said["memflux"] == __version__
    assert Space.from_dict(json.loads(said["space"])) == whole.space
    parameters = json.loads(said["parameters"])
    assert [p["name"] for p in parameters] == list(whole.parameters)
    assert [p["unit"] for p in parameters] == ["eV", "m^2/(V s)", "m^2/(V s)", "eV", "eV"]
    assert (said["samples"], said["cycles"]) == (str(whole.samples), "2")


def test_an_onnx_file_is_of_standard_operators_alone(written):
    path, told = written
    if path.suffix != ".onnx":
        pytest.skip("of ONNX files only")
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [o.domain for o in model.opset_import] == [""]
    assert not model.functions
    assert tuple(i.name for i in model.graph.input) == told.inputs
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert b"/training/" not in path.read_bytes()  # where the code lay that it was made from


def test_only_models_that_look_at_it_take_a_voltage(spectral):
    assert Physical(spectral).names == ("parameters",)
    assert Physical(with_model(spectral, LstmConfig(units=3))).names == ("parameters", "voltage")
    assert Physical(with_model(spectral, LstmConfig(units=3, sees_voltage=False))).names == ("parameters",)


def test_parameters_are_scaled_as_the_surrogate_does(spectral):
    devices, drive = spectral.space.sample(5, seed=2)
    function = Physical(spectral.on())
    current = function(torch.from_numpy(spectral.inputs.values(devices, drive)))
    np.testing.assert_allclose(current, spectral(devices, drive).current, rtol=1e-13)


def test_steps_that_depend_on_the_numbers_are_refused_in_a_sentence(spectral, tmp_path):
    pytest.importorskip("torchdiffeq")
    surrogate = with_model(spectral, NeuralOdeConfig(latent=2, width=4, integrator="dopri5"))
    with pytest.raises(InvalidValue, match="the model neural_ode cannot be written in the form torch"):
        export(surrogate, tmp_path / "s.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["surrogate.h5", "surrogate"])
def test_an_unknown_suffix_is_refused(spectral, tmp_path, name):
    with pytest.raises(InvalidValue, match=r"ends with none of \.onnx, \.pt2"):
        export(spectral, tmp_path / name)


def test_an_unknown_form_is_refused(tmp_path):
    assert check_target(tmp_path / "surrogate", "torch") == "torch"
    with pytest.raises(InvalidValue, match="form = 'onxn' is not known"):
        check_target(tmp_path / "s.onnx", "onxn")


def test_what_is_there_stays(spectral, tmp_path):
    (tmp_path / "s.pt2").write_text("mine")
    with pytest.raises(InvalidValue, match="there already"):
        export(spectral, tmp_path / "s.pt2")
    assert (tmp_path / "s.pt2").read_text() == "mine"
    assert check_target(tmp_path / "s.pt2", overwrite=True) == "torch"
    with pytest.raises(InvalidValue, match="is a folder"):
        check_target(tmp_path, "torch")
    with pytest.raises(InvalidValue, match="make it"):
        check_target(tmp_path / "none" / "s.pt2")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_with_the_remedy(spectral, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=r"memflux\[onnx\].*\.pt2"):
        export(spectral, tmp_path / "s.onnx")


@pytest.mark.parametrize("wrong", [1.0 + 1e-5, np.nan])
def test_a_file_that_answers_otherwise_is_not_kept(spectral, tmp_path, monkeypatch, wrong):
    right = module_under_test._ask
    monkeypatch.setattr(module_under_test, "_ask", lambda *words: wrong * right(*words))
    (tmp_path / "s.pt2").write_text("older")
    with pytest.raises(DataError, match="was not written"):
        export(spectral, tmp_path / "s.pt2", overwrite=True)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["older"]
