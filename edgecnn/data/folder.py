"""Pictures in folders, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgecnn.data.dataset import Dataset
from edgecnn.data.picture import EXTENSIONS, read_picture
from edgecnn.data.transforms import Transform
from edgecnn.errors import DataError
from edgecnn.preprocessing import Preprocessing


class ImageFolder(Dataset):
    """A directory that holds one sub-folder per class with that class's pictures.

    Pictures are recognised by their extension, in any case; hidden files and folders (.name) are skipped;
    folders inside a class folder are not searched. Nothing is decoded before it is asked for.

    Args:
        directory: the directory.
        preprocessing: of the network the pictures are for.
        classes: the folder names in the order of the class indices, such as a model's; all folders by name if
            None.
        transforms: random changes for training, see edgecnn.data.transforms.

    Raises:
        DataError: no such directory, no class folder, a class without pictures, or folders that differ from
            `classes`.
    """

    def __init__(self, directory: str | os.PathLike, preprocessing: Preprocessing,
                 classes: Sequence[str] | None = None, transforms: Sequence[Transform] = ()):
        self.directory = Path(directory)
        self.preprocessing = preprocessing
        self.transforms = tuple(transforms)
        self.classes = _class_names(self.directory, classes)
        files = [_pictures(self.directory / name) for name in self.classes]
        self.paths = [path for members in files for path in members]
        self.labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(members) for members in files])

    def path(self, i: int) -> Path:
        """The file of sample i."""
        return self.paths[i]

    def load(self, i: int) -> np.ndarray:
        path = self.paths[i]
        picture = read_picture(path, self.preprocessing.size)
        try:
            return self.preprocessing.pixels(picture)
        except DataError as error:
            raise DataError(f"cannot use picture {path}: {error}") from error

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        return self.preprocessing.normalise(pixels)

    def verify(self, workers: int = 2, progress: bool = True) -> None:
        """Reads every picture once, so that a training through the night does not stop at the 400th.

        Args:
            workers: threads that decode.
            progress: show a progress bar, if standard error is a terminal.

        Raises:
            DataError: names every picture that cannot be used, and why.
        """
        with ThreadPoolExecutor(workers, "edgecnn-verify") as pool:
            problems = list(tqdm(pool.map(self._problem, range(len(self))), "reading pictures", len(self),
                                 unit="picture", disable=None if progress else True))
        found = [problem for problem in problems if problem is not None]
        if found:
            lines = "\n".join(f"  {problem}" for problem in found)
            raise DataError(f"{len(found)} of {len(self)} pictures in {self.directory} cannot be used:\n"
                            + lines)

    def _problem(self, i: int) -> str | None:
        try:
            self.load(i)
        except DataError as error:
            return str(error)
        return None


def _visible(directory: Path) -> list[Path]:
    try:
        return sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        raise DataError(f"no such directory: {directory}") from None
    except OSError as error:
        raise DataError(f"cannot read directory {directory}: {error.strerror}; it must be a readable "
                        "directory") from error


def _class_names(directory: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
    names = [entry.name for entry in _visible(directory) if entry.is_dir()]
    if not names:
        raise DataError(f"no class folders in {directory}; it must hold one folder per class, with pictures "
                        "in each")
    if classes is None:
        return tuple(names)
    if len(set(classes)) != len(classes):
        raise DataError(f"a class is named twice: {list(classes)}")
    missing, extra = sorted(set(classes) - set(names)), sorted(set(names) - set(classes))
    if missing or extra:
        raise DataError(f"the folders of {directory} differ from the classes {list(classes)}: without a "
                        f"folder {missing}, folders of no class {extra}; rename or move folders so that "
                        "there is one per class")
    return tuple(classes)


def _pictures(folder: Path) -> list[Path]:
    files = [entry for entry in _visible(folder) if entry.is_file()]
    pictures = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if not pictures:
        found = f"only files such as {files[0].name}" if files else "no files"
        raise DataError(f"class {folder.name!r} is empty: {folder} holds {found}; add pictures (.jpg, "
                        ".png, ...) or remove the folder")
    return pictures
