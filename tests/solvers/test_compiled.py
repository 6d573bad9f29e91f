"""Where machine code is kept, and what the decorators do to a function."""

import math
from pathlib import Path
from typing import no_type_check

import numba
import numpy as np
import pytest

from memflux.solvers import compiled
from memflux.solvers.compiled import cache_folder, inlined, is_cold, kernel


@pytest.fixture(autouse=True)
def fresh():
    """Each test asks anew, and leaves the answer of the session as it was."""
    cache_folder.cache_clear()
    yield
    cache_folder.cache_clear()


def test_the_folder_lies_where_the_variable_says(tmp_path, monkeypatch):
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("MEMFLUX_KERNEL_CACHE", str(tmp_path / name))
        cache_folder.cache_clear()
        found.append(cache_folder())
    assert [f.parent for f in found] == [tmp_path / "one", tmp_path / "two"]
    assert all(f.is_dir() and list(f.iterdir()) == [] for f in found)
    assert found[0].name == found[1].name  # the same sources, compiler and processor
    assert len(found[0].name) == 16


def test_without_the_variable_it_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MEMFLUX_KERNEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().parent == tmp_path / "memflux" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache_folder.cache_clear()
    assert cache_folder().parent == tmp_path / "home" / ".cache" / "memflux" / "kernels"


def test_other_sources_another_compiler_or_another_processor_have_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMFLUX_KERNEL_CACHE", str(tmp_path / "cache"))
    sources = tmp_path / "solvers"
    sources.mkdir()
    monkeypatch.setattr(compiled, "__file__", str(sources / "compiled.py"))
    names = []

    def note():
        cache_folder.cache_clear()
        names.append(cache_folder().name)

    (sources / "a.py").write_text("x = 1\n")
    note()
    note()
    (sources / "a.py").write_text("x = 2\n")
    note()
    monkeypatch.setattr(numba, "__version__", "0.0.1")
    note()
    monkeypatch.setattr(compiled.llvmlite.binding, "get_host_cpu_name", lambda: "z80")
    note()
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_a_place_that_cannot_be_written_is_no_place(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEMFLUX_KERNEL_CACHE", str(tmp_path / "file"))
    assert cache_folder() is None


def test_a_folder_that_exists_and_refuses_files_is_no_place(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMFLUX_KERNEL_CACHE", str(tmp_path))

    def refuse(**_):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(compiled.tempfile, "TemporaryFile", refuse)
    assert cache_folder() is None


@no_type_check
def quotient(a, b):
    return math.sqrt(a) / b


@pytest.mark.parametrize("decorate", [kernel, inlined])
def test_kernels_compile_without_a_cache_and_divide_by_zero(decorate, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEMFLUX_KERNEL_CACHE", str(tmp_path / "file"))
    f = decorate(quotient)
    assert f(4.0, 8.0) == 0.25
    assert f(4.0, 0.0) == np.inf
    assert not list(Path(__file__).parent.glob("__pycache__/*quotient*.nbi"))


def test_machine_code_lands_in_the_folder_and_the_setting_of_numba_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMFLUX_KERNEL_CACHE", str(tmp_path))
    before = numba.config.CACHE_DIR
    assert is_cold()
    assert kernel(quotient)(9.0, 3.0) == 1.0
    assert not is_cold()
    assert before == numba.config.CACHE_DIR
    assert list(cache_folder().rglob("*.nbi"))
    assert list(cache_folder().rglob("*.nbc"))
