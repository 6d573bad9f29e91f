"""Compact models as text: ngspice runs what is written for it, and finds what our march finds."""

import dataclasses
import re

import numpy as np
import pytest

from memflux.analysis.memristor_march import march
from memflux.compact import KEYS
from memflux.errors import InvalidValue
from memflux.netlist import UNTRIED, _equations, export, spice, verilog_a
from memristors import EXAMPLES
from ngspice import run_sine

every_model = pytest.mark.parametrize("model", EXAMPLES, ids=KEYS)
RESISTANCE, FREQUENCY, PERIODS, SAMPLES = 5110.0, 5.0, 2, 4000
AGREEMENT = 1e-3  # of the peaks, between ngspice and our march


@every_model
@pytest.mark.parametrize("polarity", [1, -1])
def test_ngspice_runs_the_subcircuit_and_finds_our_march(model, polarity, tmp_path):
    model = dataclasses.replace(model, polarity=polarity)
    time, voltage, current = run_sine(tmp_path, spice(model, start=0.3), RESISTANCE, 1.0, FREQUENCY, PERIODS)
    step = 1.0 / (FREQUENCY * SAMPLES)
    ours_time = step * np.arange(PERIODS * SAMPLES)
    ours = march(model, np.sin(2 * np.pi * FREQUENCY * ours_time)[None], step, RESISTANCE, 0.3)
    for theirs, mine in ((voltage, ours.voltage[0]), (current, ours.current[0])):
        inside = time <= ours_time[-1]
        off = theirs[inside] - np.interp(time[inside], ours_time, mine)
        assert np.abs(off).max() < AGREEMENT * np.abs(mine).max()


@every_model
def test_the_text_is_the_equations(model):
    """Python reads the expressions of Verilog-A too, once V(state) has another name."""
    names = {p.name: value for p, value in zip(model.parameters(), model.values, strict=True)}
    functions = {"exp": np.exp, "ln": np.log, "sinh": np.sinh, "min": np.minimum, "max": np.maximum}
    x, v = np.linspace(0, 1, 7)[:, None], np.linspace(-1, 1, 9)
    rate, current = _equations(model, "x", "v", str)
    for text, exact in ((rate, model.rate(x, v)), (current, model.current(x, v))):
        found = eval(text, {"__builtins__": {}}, names | functions | {"x": x, "v": v})
        np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-25)


@every_model
@pytest.mark.parametrize("language", [".sp", ".va"])
def test_the_header_says_what_the_model_is(model, language):
    text = export(model, language, ["fitted to loops.", "L_b 0.02"], 0.25)
    mark = {".sp": "*", ".va": "//"}[language]
    header = [line for line in text.splitlines() if line.startswith(mark)]
    assert "doi" in header[0]
    assert f"{mark} L_b 0.02" in header
    for parameter in model.parameters():
        assert any(re.search(rf" {parameter.name} = .* {re.escape(parameter.unit)}$", line) for line in header)
    assert "start=0.25" in text.replace("real start = ", "start=")
    assert (UNTRIED in text) == (language == ".va")


@every_model
def test_verilog_a_is_balanced(model):
    text = verilog_a(model)
    assert text.count("(") == text.count(")")
    for opening, closing in (("module", "endmodule"), ("begin", "end")):
        words = re.findall(r"\w+", re.sub(r"//.*", "", text))
        assert words.count(opening) == words.count(closing) == 1
    assert "polarity" in text


def test_a_mistake_is_one_sentence():
    with pytest.raises(InvalidValue, match=r"choose one of .sp, .va"):
        export(EXAMPLES[0], ".cir")
    with pytest.raises(InvalidValue, match="start"):
        spice(EXAMPLES[0], start=2.0)
    with pytest.raises(InvalidValue, match="several lines"):
        spice(EXAMPLES[0], ["a\n.end"])


@every_model
def test_a_verilog_a_compiler_reads_the_equations(model, tmp_path):
    verilogae = pytest.importorskip("verilogae", reason="VerilogAE compiles Verilog-A: pip install verilogae")
    text = verilog_a(model)
    for name in ("rate", "current"):
        text = text.replace(f"    real {name};", f"    (*retrieve*) real {name};")
    (tmp_path / "model.va").write_text(text)
    functions = verilogae.load(str(tmp_path / "model.va")).functions
    for name, exact in (("rate", model.rate), ("current", model.current)):
        for x, v in ((0.3, 0.4), (0.8, -0.6)):
            places = {"br_state": x, "br_plusminus": v}
            given = {key: float(getattr(model, key)) for key in functions[name].parameters}
            found = functions[name].eval(temperature=300.0, voltages=places, **given)
            assert found == pytest.approx(float(exact(x, v)), rel=1e-12)
