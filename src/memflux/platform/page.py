"""A self-contained HTML page: tiles, and sections of text, figures and tables."""

import dataclasses
import importlib.resources
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page; absent parts say which command makes them."""

    title: str
    text: str
    images: tuple[tuple[str, str], ...] = ()  # address, alternative text
    table: tuple[tuple[str, ...], ...] = ()  # first row: header
    missing: str = ""


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    tiles: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    about: Mapping[str, object],
) -> None:
    """Write or replace the page as a whole; `tiles` are figures and what they are, `about` what it was made with."""
    source = importlib.resources.files("memflux.platform").joinpath("page.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    text = template.render(title=title, space=subtitle, tiles=tiles, sections=sections, about=about)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
