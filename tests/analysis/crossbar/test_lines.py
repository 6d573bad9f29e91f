import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from memflux.analysis.crossbar.lines import LineNetwork, Lines, dot, nested_dissection
from memflux.errors import InvalidValue

DECADES = st.floats(-9.0, -1.0)


def random_array(rows, columns, seed=0):
    random = np.random.default_rng(seed)
    return 10.0 ** random.uniform(-7, -2, (rows, columns)), random.uniform(0.01, 0.2, rows)


def exact(conductances, lines, voltages, digits=50):
    """Currents by Kirchhoff's law with 50 digits: dense, node by node, from an edge list."""
    rows, columns = conductances.shape
    with mpmath.workdps(digits):
        row, column = (1 / mpmath.mpf(1 / r) for r in (lines.row, lines.column))  # as the floats 1/r have it
        matrix, right = mpmath.zeros(2 * rows * columns), mpmath.zeros(2 * rows * columns, 1)

        def join(a, b, g):
            for one, other in ((a, b), (b, a)):
                matrix[one, one] += g
                matrix[one, other] -= g

        for i in range(rows):
            for j in range(columns):
                x, y = i * columns + j, (rows + i) * columns + j
                join(x, y, mpmath.mpf(float(conductances[i, j])))
                if j:
                    join(x - 1, x, 1 / row)
                if i:
                    join(y - columns, y, 1 / column)
            first = i * columns
            matrix[first, first] += 1 / row
            right[first] += mpmath.mpf(float(voltages[i])) / row
        for j in range(columns):
            last = (2 * rows - 1) * columns + j
            matrix[last, last] += 1 / column
        potential = mpmath.lu_solve(matrix, right)
        ends = [potential[(2 * rows - 1) * columns + j] / column for j in range(columns)]
        return np.array([float(p) for p in potential]), np.array([float(i) for i in ends])


@pytest.mark.parametrize("ohms", [1e-3, 1.0, 1e4])
def test_small_arrays_against_fifty_digits(ohms):
    conductances, voltages = random_array(4, 5)
    lines = Lines(row=ohms, column=2 * ohms)
    found = LineNetwork(conductances, lines).solve(voltages[None])
    potential, currents = exact(conductances, lines, voltages)
    ours = np.concatenate([found.rows[0].ravel(), found.columns[0].ravel()])
    assert np.abs(ours - potential).max() <= 4e-16 * voltages.max()
    assert np.abs(found.currents[0] / currents - 1).max() < 4e-15
    assert np.abs(ours - potential).max() / voltages.max() <= found.bound[0] + 1e-16 < 1e-13
    assert found.current_bound[0] < 1e-10


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=DECADES), DECADES)
@settings(max_examples=60, deadline=None)
def test_no_current_is_lost(exponents, line):
    conductances = 10.0**exponents
    lines = Lines(row=10.0 ** (line + 4), column=10.0 ** (line + 3))
    voltages = np.random.default_rng(0).uniform(-1, 1, (2, len(conductances)))
    found = LineNetwork(conductances, lines).solve(voltages)
    rounding = 1e-18 / min(lines.row, lines.column)  # A: a digit of a potential, times the conductance of a segment
    size = np.abs(found.cells).sum(axis=(1, 2)) + 1e12 * rounding
    for left, right in (
        (found.cells.sum(axis=2), found.sources),
        (found.cells.sum(axis=1), found.currents),
        (found.sources.sum(axis=1), found.currents.sum(axis=1)),
    ):
        assert (np.abs(left - right).max(axis=-1) <= 1e-12 * size).all()


def test_one_cell_is_three_resistors_in_series():
    found = LineNetwork(np.array([[1 / 500.0]]), Lines(row=3.0, column=7.0)).solve(np.array([[0.1]]))
    assert found.currents[0, 0] == pytest.approx(0.1 / 510.0, rel=1e-15)


def test_lines_without_much_resistance_are_the_dot_product():
    conductances, voltages = random_array(20, 30)
    with_lines = dot(conductances, voltages[None], Lines(row=1e-6, column=1e-6))
    assert with_lines == pytest.approx(voltages[None] @ conductances, rel=1e-4)
    assert np.array_equal(dot(conductances, voltages[None]), voltages[None] @ conductances)


@pytest.mark.parametrize(("rows", "columns"), [(3, 40), (40, 3), (8, 8)])
def test_the_transfer_matrix_is_what_the_solutions_say(rows, columns):
    conductances, _ = random_array(rows, columns)
    network = LineNetwork(conductances, Lines(row=5.0, column=2.0))
    for count in (1, 50):
        voltages = np.random.default_rng(1).uniform(0, 1, (count, rows))
        solved = network.solve(voltages)
        assert network.currents(voltages) == pytest.approx(solved.currents, rel=1e-11)
        assert (solved.bound < 1e-10).all()


def test_the_residual_of_the_solution_vanishes():
    conductances, voltages = random_array(30, 20)
    network = LineNetwork(conductances, Lines())
    found = network.solve(voltages[None])
    potential = np.concatenate([found.rows[0].ravel(), found.columns[0].ravel()])
    left = network.residual(potential, voltages)
    assert np.abs(left).max() < 1e-15  # A, of some mA; rounding of the potentials to doubles
    assert np.abs(network.residual(np.zeros_like(potential), voltages)).max() == pytest.approx(
        voltages.max(), rel=1e-12
    )


def test_open_cells_carry_nothing():
    conductances, voltages = random_array(6, 6)
    conductances[2] = 0.0
    conductances[:, 3] = 0.0
    found = LineNetwork(conductances, Lines()).solve(voltages[None])
    assert found.currents[0, 3] == 0.0
    assert found.sources[0, 2] == pytest.approx(0.0, abs=1e-18)
    assert found.bound[0] < 1e-12


@given(st.integers(1, 30), st.integers(1, 30))
def test_the_order_is_a_permutation(rows, columns):
    assert np.array_equal(np.sort(nested_dissection(rows, columns)), np.arange(2 * rows * columns))


def test_misuse_is_one_sentence():
    with pytest.raises(InvalidValue, match="leave the lines out"):
        Lines(row=0.0)
    with pytest.raises(InvalidValue, match="column"):
        Lines(column=-1.0)
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(InvalidValue, match=r"conductances\[0, 0\]"):
            LineNetwork(np.full((2, 2), bad), Lines())
    with pytest.raises(InvalidValue, match="give 1 to"):
        LineNetwork(np.zeros((0, 4)), Lines())
    with pytest.raises(InvalidValue, match="each of 2 rows"):
        LineNetwork(np.ones((2, 3)), Lines()).solve(np.ones((1, 3)))
    with pytest.raises(InvalidValue, match="each of 2 rows"):
        dot(np.ones((2, 3)), np.ones((0, 2)))
