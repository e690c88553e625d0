import os

import numpy as np
import pytest
from PIL import Image

from edgecnn.data import ImageFolder, RandomHorizontalFlip, read_picture
from edgecnn.errors import DataError
from edgecnn.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((8, 10), "RGB", (127, 127, 127), (128, 128, 128))


def save(path, seed=0, size=(20, 16), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def farm(tmp_path):
    for i in range(6):
        save(tmp_path / "weed" / f"{i}.png", i)
    for i in range(10):
        save(tmp_path / "beet" / f"{i}.jpg", 10 + i)
    return tmp_path


def test_classes_labels_and_samples(farm):
    dataset = ImageFolder(farm, PREPROCESSING)
    assert dataset.classes == ("beet", "weed") and len(dataset) == 16 and not dataset.augmented
    assert dataset.labels.dtype == np.int64 and dataset.labels.tolist() == [0] * 10 + [1] * 6
    assert dataset.path(12) == farm / "weed" / "2.png"
    x, label = dataset[12]
    assert x.shape == (3, 8, 10) and x.dtype == np.float32 and x.flags.c_contiguous and label == 1
    np.testing.assert_array_equal(x, PREPROCESSING(Image.open(farm / "weed" / "2.png")))
    np.testing.assert_array_equal(dataset[-4][0], x)
    with pytest.raises(IndexError):
        dataset[16]
    assert len(list(dataset)) == 16


def test_given_classes_set_the_order(farm):
    dataset = ImageFolder(farm, PREPROCESSING, classes=["weed", "beet"])
    assert dataset.classes == ("weed", "beet") and dataset.labels.tolist() == [0] * 6 + [1] * 10
    assert dataset.path(0).parent.name == "weed"
    with pytest.raises(DataError, match=r"without a folder \['corn'\], folders of no class \['weed'\]"):
        ImageFolder(farm, PREPROCESSING, classes=["corn", "beet"])
    with pytest.raises(DataError, match="twice"):
        ImageFolder(farm, PREPROCESSING, classes=["beet", "beet", "weed"])


def test_what_counts_as_a_picture(farm):
    save(farm / "weed" / "UPPER.JPG")
    save(farm / "weed" / ".hidden.png")
    save(farm / "weed" / "deeper" / "x.png")
    save(farm / ".thumbnails" / "x.png")
    (farm / "weed" / "notes.txt").write_text("sunny")
    (farm / "weed" / "folder.png").mkdir()
    (farm / "readme.txt").write_text("a file beside the classes")
    dataset = ImageFolder(farm, PREPROCESSING)
    assert dataset.classes == ("beet", "weed")
    assert [dataset.path(i).name for i in range(10, 17)] == [f"{i}.png" for i in range(6)] + ["UPPER.JPG"]


def test_directory_errors(tmp_path, farm):
    with pytest.raises(DataError, match="no such directory: .*nowhere"):
        ImageFolder(tmp_path / "nowhere", PREPROCESSING)
    with pytest.raises(DataError, match="0.png: Not a directory"):
        ImageFolder(farm / "weed" / "0.png", PREPROCESSING)
    with pytest.raises(DataError, match="no class folders in .*weed; it must hold one folder per class"):
        ImageFolder(farm / "weed", PREPROCESSING)
    (farm / "corn").mkdir()
    with pytest.raises(DataError, match="class 'corn' is empty: .*corn holds no files"):
        ImageFolder(farm, PREPROCESSING)
    (farm / "corn" / "notes.txt").write_text("")
    with pytest.raises(DataError, match="class 'corn' is empty: .*only files such as notes.txt"):
        ImageFolder(farm, PREPROCESSING)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * share)])


def test_verify_reports_all_bad_files_at_once(farm):
    dataset = ImageFolder(farm, PREPROCESSING)
    dataset.verify()
    cut(farm / "beet" / "3.jpg", .6)
    cut(farm / "weed" / "1.png", .6)
    (farm / "beet" / "5.jpg").write_bytes(b"")
    (farm / "beet" / "6.jpg").write_text("<html>not found</html>")
    (farm / "weed" / "4.png").unlink()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(farm / "weed" / "5.tif")
    dataset = ImageFolder(farm, PREPROCESSING)
    dataset.paths.append(farm / "weed" / "4.png")  # gone since the folder was listed
    dataset.labels = np.append(dataset.labels, 1)
    for progress in (True, False):
        with pytest.raises(DataError) as caught:
            dataset.verify(progress=progress)
        lines = str(caught.value).splitlines()
        assert lines[0] == f"6 of 17 pictures in {farm} cannot be used:"
        for line, (name, why) in zip(lines[1:], [
                ("beet/3.jpg", "truncated"), ("beet/5.jpg", "empty"), ("beet/6.jpg", "not a format"),
                ("weed/1.png", "damaged or cut off"), ("weed/5.tif", "floating-point"),
                ("weed/4.png", "no such file")], strict=True):
            assert str(farm / name) in line and why in line.lower()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "tif", "webp", "ppm"])
@pytest.mark.parametrize("share", [.1, .5, .9])
def test_cut_off_pictures_are_refused(tmp_path, suffix, share):
    path = tmp_path / f"x.{suffix}"
    save(path, size=(64, 64))
    assert read_picture(path).size == (64, 64)
    cut(path, share)
    with pytest.raises(DataError, match=f"cannot read picture {path}: .*"):
        read_picture(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif"])
def test_damaged_pictures_give_a_picture_or_a_data_error(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    save(path)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = content.copy()
        damaged[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            assert PREPROCESSING(read_picture(path, (8, 10))).shape == (3, 8, 10)
        except DataError as error:
            assert str(path) in str(error)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [1000, 100])  # Pillow itself refuses above twice the limit
def test_decompression_bombs_are_refused(tmp_path, monkeypatch, limit):
    save(tmp_path / "x.png", size=(30, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match="x.png: .*pixels.*bomb.*MAX_IMAGE_PIXELS"):
        read_picture(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert read_picture(tmp_path / "x.png").size == (40, 30)


def test_other_unreadable_paths(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_picture(tmp_path / "x.png")
    with pytest.raises(DataError, match="it is a folder"):
        read_picture(tmp_path)
    save(tmp_path / "y.png")
    os.chmod(tmp_path / "y.png", 0)
    if os.getuid():  # root reads everything
        with pytest.raises(DataError, match="permission denied"):
            read_picture(tmp_path / "y.png")


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpeg_is_decoded_small(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    y, x = np.mgrid[:480, :640]
    smooth = np.stack([x % 256, y % 256, (x + y) % 256], 2).astype(np.uint8) // 2
    Image.fromarray(smooth).save(tmp_path / "x.jpg", exif=exif, quality=95)
    small = read_picture(tmp_path / "x.jpg", (60, 80))
    assert small.size == (320, 240) if orientation == 1 else small.size[0] < 640
    preprocessing = Preprocessing((60, 80), "RGB", (0, 0, 0), (1, 1, 1))
    assert np.abs(preprocessing(small) - preprocessing(read_picture(tmp_path / "x.jpg"))).mean() < 1


def test_split_is_stratified_disjoint_and_seeded(farm):
    dataset = ImageFolder(farm, PREPROCESSING, transforms=[RandomHorizontalFlip()])
    train, test = dataset.split(.7, seed=3)
    assert np.bincount(train.labels).tolist() == [7, 4] and np.bincount(test.labels).tolist() == [3, 2]
    paths = [part.path(i) for part in (train, test) for i in range(len(part))]
    assert sorted(paths) == sorted(dataset.paths)
    assert train.augmented and not test.augmented and train.classes == dataset.classes
    assert all(part.path(i).parent.name == part.classes[part.labels[i]]
               for part in (train, test) for i in range(len(part)))
    x, label = test[1]
    np.testing.assert_array_equal(x, PREPROCESSING(read_picture(test.path(1), PREPROCESSING.size)))
    again, other = dataset.split(.7, seed=3)[0], dataset.split(.7, seed=4)[0]
    assert again.indices.tolist() == train.indices.tolist() != other.indices.tolist()


def test_split_errors(farm):
    dataset = ImageFolder(farm, PREPROCESSING)
    for fraction in (0, 1, -1, 2, float("nan")):
        with pytest.raises(DataError, match="between 0 and 1"):
            dataset.split(fraction)
    assert [len(part) for part in dataset.split(.001)] == [2, 14]
    assert [len(part) for part in dataset.split(.999)] == [14, 2]
    save(farm / "corn" / "only.png")
    with pytest.raises(DataError, match="class 'corn' has only one sample"):
        ImageFolder(farm, PREPROCESSING).split(.5)
