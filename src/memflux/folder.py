"""A folder on any file system: list, read, and files that appear whole or not at all."""

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Self

import fsspec
from fsspec.implementations.local import LocalFileSystem

from memflux.errors import DataError, InvalidValue, MissingDependency

TEMPORARY = ".tmp-"  # prefix of files that are still being written


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folder:
    """One flat folder: a local path, or a URL of any file system that fsspec knows."""

    url: str
    fs: fsspec.AbstractFileSystem
    root: str

    @classmethod
    def at(cls, url: "str | os.PathLike[str]") -> Self:
        """The folder at `url`; it need not exist yet.

        Raises InvalidValue for an unknown protocol, MissingDependency where its package is absent.
        """
        text = os.fspath(url)
        try:
            fs, root = fsspec.core.url_to_fs(text)
        except ImportError as error:
            raise MissingDependency(f"{text} needs a package that is not installed: {error}") from None
        except (ValueError, OSError) as error:
            raise InvalidValue(f"{text!r} is not a folder that can be opened: {error}; give a path or a URL.") from None
        return cls(url=text, fs=fs, root=root.rstrip("/") or "/")

    @property
    def local(self) -> bool:
        """Whether the folder lies on a mounted file system."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """Where the file `name` lies, as its file system writes it."""
        return f"{self.root}/{name}"

    def create(self) -> None:
        """Make the folder if it is missing."""
        try:
            self.fs.makedirs(self.root, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.url} cannot be made: {error.strerror or error}; give another folder.") from None

    def names(self) -> list[str]:
        """Names of the entries, sorted; none where there is no folder."""
        self.fs.invalidate_cache(self.root)
        try:
            return sorted(PurePosixPath(entry).name for entry in self.fs.ls(self.root, detail=False))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise DataError(f"{self.url} is a file; give a folder.") from None
        except OSError as error:
            raise DataError(f"{self.url} cannot be listed: {error.strerror or error}.") from None

    def size(self, names: Iterable[str]) -> int | None:
        """Bytes that the files take together; None where the file system does not say."""
        sizes = {PurePosixPath(entry["name"]).name: entry.get("size") for entry in self.fs.ls(self.root, detail=True)}
        found = [sizes.get(name) for name in names]
        return None if None in found else sum(found)  # type: ignore[arg-type]

    def exists(self, name: str) -> bool:
        """Whether the file `name` is there; DataError where that cannot be said."""
        self.fs.invalidate_cache(self.root)
        try:
            self.fs.info(self.path(name))  # `exists` of fsspec takes every error for a no
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise DataError(f"{self.path(name)} cannot be looked at: {error.strerror or error}.") from None
        return True

    def read(self, name: str) -> bytes:
        """The content of `name`; DataError where it cannot be read."""
        try:
            return bytes(self.fs.cat_file(self.path(name)))
        except OSError as error:
            raise DataError(f"{self.path(name)} cannot be read: {error.strerror or error}.") from None

    def tail(self, name: str, size: int) -> bytes:
        """The last `size` bytes of `name`, or all where it has fewer; DataError where it cannot be read."""
        try:
            return bytes(self.fs.tail(self.path(name), size))
        except OSError as error:
            raise DataError(f"{self.path(name)} cannot be read: {error.strerror or error}.") from None

    def write(self, name: str, content: bytes) -> None:
        """Make `name` hold `content`, in one step: nobody ever sees a part of it.

        Locally a temporary file is synced and renamed; an object store stores in one request.
        """
        try:
            if self.local:
                self._replace(name, content)
            else:
                self.fs.pipe_file(self.path(name), content)
        except OSError as error:
            raise DataError(
                f"{self.path(name)} cannot be written: {error.strerror or error}; make room and run again."
            ) from None

    def remove(self, name: str) -> None:
        """Remove `name`; no complaint where it is gone already, DataError where it cannot be removed."""
        try:
            self.fs.rm_file(self.path(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{self.path(name)} cannot be removed: {error.strerror or error}.") from None

    def _replace(self, name: str, content: bytes) -> None:
        temporary = self.path(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path(name))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        handle = os.open(self.root, os.O_RDONLY)  # the rename itself must survive a power cut
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
