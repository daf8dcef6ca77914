"""Sets of records: the same files, scans and batches as folders; what is damaged is named."""

import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.copy_paste.samples import FacePasting
from p3m_jax.copy_paste.sources import training_set_faces
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import SYNTHETIC_MARK, find_test_set, scan_training, training_set
from p3m_jax.data.record_index import index_shards, masked_crc32c
from p3m_jax.data.records import PORTRAITS, find_records
from p3m_jax.data.sets import ROLES
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.filling import fill
from p3m_jax.derived.foregrounds import foreground_cache
from p3m_jax.derived.private_areas import private_cache, with_private_areas
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import host_tensorflow
from p3m_jax.input.contents import place_at, places, read_contents
from p3m_jax.input.pipeline import training_batches
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.storage.paths import PathError

tf = host_tensorflow()
OPTIONS = {"batch_size": 4, "crop_sizes": (64, 96), "output_size": 64, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set in the layout of P3M-10k, which passes for real; one picture has no face mask."""
    root = tmp_path_factory.mktemp("sets") / "P3M-10k"
    sizes = {"train": 5, "test": 2, "faces": 2, "size": (120, 90)}
    write_synthetic_set(root, **sizes, progress=False)
    (root / SYNTHETIC_MARK).unlink()
    (root / "train/facemask/synthetic_00002.png").unlink()
    return root


@pytest.fixture(scope="module")
def written(folder, p3m):
    """The records of `folder`, in two shards a split; not to be changed."""
    output = folder.parent / "records"
    assert p3m("records", folder, "-o", output, "--shards", "2") == 0
    return output


@pytest.fixture
def records(written, tmp_path):
    """A copy of them to damage; the folder that holds the shards."""
    shutil.copytree(written, tmp_path / "records")
    return tmp_path / "records/p3m10k/blurred/1.0.0"


def assert_same_files(one, other):
    assert [e.stem for e in one.examples] == [e.stem for e in other.examples]
    for mine, theirs in zip(one.examples, other.examples, strict=True):
        for role in ROLES:
            files = getattr(mine, role), getattr(theirs, role)
            if files[0] is None:
                assert files[1] is None
            else:
                assert files[0].read_bytes() == files[1].open().read()


def assert_same_batches(one, other, count=3):
    for mine, theirs in itertools.islice(zip(one, other, strict=False), count):
        assert mine.keys() == theirs.keys()
        for role in mine:
            np.testing.assert_array_equal(mine[role], theirs[role])


def test_every_file_is_there_byte_for_byte(folder, written):
    assert_same_files(training_set(folder), training_set(written))
    for name in ("P3M-500-P", "P3M-500-NP"):
        assert_same_files(find_test_set(folder, name), find_test_set(written, name))


def test_what_is_read_from_a_part_of_a_shard(folder, written):
    whole, part = (training_set(root).examples[1] for root in (folder, written))
    np.testing.assert_array_equal(read_picture(whole.picture), read_picture(part.picture))
    np.testing.assert_array_equal(read_matte(whole.matte), read_matte(part.matte))
    assert str(part.matte).endswith("-of-00002[synthetic_00001/matte]")


def test_the_index_agrees_with_protobuf(written):
    shards = list(find_records(written, PORTRAITS).splits["train"])
    assert len(shards) == 2
    index, found = index_shards(shards), {}
    for number, shard in enumerate(shards):
        for record in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            stem = feature["stem"].bytes_list.value[0]
            found[stem] = {k: v.bytes_list.value[0] for k, v in feature.items() if k != "stem"}
            row = list(index.stems).index(stem)
            assert index.shard[row] == number
            start = index.record[row]
            length = int.from_bytes(shard.read_bytes()[start : start + 8], "little")
            assert length == len(record)
    assert sorted(found) == list(index.stems)
    for row, stem in enumerate(index.stems):
        data = shards[index.shard[row]].read_bytes()
        for column, name in enumerate(index.features):
            offset, length = index.offset[row, column], index.length[row, column]
            assert data[offset : offset + length] == found[stem][name]
    assert masked_crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17 & 0xFFFFFFFF)
                                           + 0xA282EAD8) & 0xFFFFFFFF  # fmt: skip


@pytest.fixture(scope="module")
def of_folder(folder):
    """The batches of the steps 0 to 2, from files."""
    return list(
        itertools.islice(training_batches(training_set(folder), **OPTIONS, facemasks=True), 3)
    )


@pytest.mark.parametrize(("shard", "start_step"), [((0, 1), 0), ((0, 2), 1), ((1, 2), 1)])
def test_batches_are_those_of_folders(of_folder, written, shard, start_step):
    options = OPTIONS | {"facemasks": True, "shard": shard, "start_step": start_step}
    size = OPTIONS["batch_size"] // shard[1]
    part = slice(shard[0] * size, (shard[0] + 1) * size)
    expected = [{role: b[role][part] for role in b} for b in of_folder[start_step:]]
    assert_same_batches(training_batches(training_set(written), **options), expected)


def test_hidden_and_copied_faces_are_those_of_folders(folder, written, tmp_path):
    def batches(root):
        dataset = with_private_areas(training_set(root), tmp_path, leave_out=True, progress=False)
        assert len(dataset.examples) == 4
        faces = training_set_faces(dataset, obfuscated=True)
        copy_paste = CopyPaste(faces, probability=1, level="feature", source_size=32)
        fill = Obfuscation("fill")
        drawn = {"seed": OPTIONS["seed"], "obfuscation": fill}
        pasting = FacePasting(copy_paste, dataset.examples, **drawn)
        hidden = {"obfuscation": fill, "composition": False}
        return training_batches(dataset, **OPTIONS, **hidden, pasting=pasting)

    # The second finds what the first has derived, since the files are of equal sizes.
    assert_same_batches(batches(folder), batches(written), count=2)
    examples = [e for e in training_set(written).examples if e.facemask]
    assert not private_cache(tmp_path).missing(examples)


def test_estimated_foregrounds_fit_both(folder, tmp_path, p3m):
    shutil.copytree(folder, tmp_path / "older")
    for name in ("fg_blurred", "bg"):
        shutil.rmtree(tmp_path / "older/train" / name)
    assert p3m("records", tmp_path / "older", "-o", tmp_path / "records") == 0
    bare = training_set(tmp_path / "records")
    assert not any(e.foreground or e.background for e in bare.examples)
    cache = foreground_cache(tmp_path / "cache")
    theirs = {example.stem: example for example in training_set(folder).examples}

    def make(example, paths):  # in place of estimating
        for path, role in zip(paths, ("foreground", "background"), strict=True):
            shutil.copy(getattr(theirs[example.stem], role), path)
        return {}

    assert fill(cache, bare.examples, make, progress=False) == 5
    sets = [
        training_set(tmp_path / name, foreground_cache=tmp_path / "cache")
        for name in ("older", "records")
    ]
    assert not cache.missing(sets[0].examples)
    assert_same_batches(*(training_batches(dataset, **OPTIONS) for dataset in sets), count=1)


def test_pictures_of_ones_own(folder, tmp_path, p3m):
    pictures, mattes = (shutil.copytree(folder / "train" / name, tmp_path / name)
                        for name in ("blurred_image", "mask"))  # fmt: skip
    masks = folder / "train/facemask"
    options = ["--pictures", pictures, "--mattes", mattes, "--facemasks", masks]
    assert p3m("records", *options, "-o", tmp_path / "records") == 0
    scan = scan_training(tmp_path / "records", faces="normal")  # pictures are what they are
    assert scan.name == "blurred_image"
    assert not scan.synthetic
    theirs = training_set(folder)
    bare = [replace(e, foreground=None, background=None) for e in theirs.examples]
    assert_same_files(replace(theirs, examples=tuple(bare)), scan.dataset())


def test_damaged_shards_are_named(records):
    shard = records / "p3m10k-train.tfrecord-00001-of-00002"
    whole = shard.read_bytes()
    for damage in (whole[:-100], whole[:5], b"\x01" + whole[1:], whole + b"more"):
        shard.write_bytes(damage)
        (records / "p3m10k-train.index.npz").unlink(missing_ok=True)
        with pytest.raises(DataSetError, match=r"00001-of-00002: is cut off or damaged; copy"):
            training_set(records)
    shard.write_bytes(b"")
    with pytest.raises(DataSetError, match=r"00001-of-00002: holds 0 of [23] examples; copy"):
        training_set(records)
    shard.write_bytes(whole[:-100])
    (records / "p3m10k-train.index.npz").unlink(missing_ok=True)
    with pytest.raises(DataSetError, match=r"00001-of-00002: is cut off or damaged; copy"):
        training_set(records)
    shard.unlink()
    with pytest.raises(DataSetError, match=r"00001-of-00002: cannot be read .* copy all shards"):
        training_set(records)


def test_an_index_is_made_anew_where_it_does_not_fit(records):
    index = records / "p3m10k-train.index.npz"
    expected = training_set(records).examples
    kept = index.read_bytes()
    for damage in (b"", b"PK", kept[: len(kept) // 2], kept[:300] + b"?" + kept[301:]):
        index.write_bytes(damage)
        assert training_set(records).examples == expected
        assert index.read_bytes() == kept
    other = np.load(index)
    np.savez(index, **{**other, "sizes": other["sizes"] + 1})
    assert training_set(records).examples == expected


def test_a_shard_that_is_damaged_or_cut_off_while_training(records):
    dataset = training_set(records)

    def batches_anew():
        return training_batches(dataset, **OPTIONS, composition=False)

    for shard in records.glob("p3m10k-train.tfrecord-*"):
        data = shard.read_bytes()
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # what only its checksum tells
    with pytest.raises(DataSetError, match=r"the record of synthetic_\d+/matte is cut off or dam"):
        list(itertools.islice(batches_anew(), 4))
    batches = batches_anew()
    for shard in records.glob("p3m10k-train.tfrecord-*"):
        shard.write_bytes(shard.read_bytes()[:2000])
    sentence = (
        r"tfrecord-0000[01]-of-00002: the record of synthetic_\d+/matte is cut off or damaged"
    )
    with pytest.raises(DataSetError, match=sentence):
        list(itertools.islice(batches, 4))
    for shard in records.glob("p3m10k-train.tfrecord-*"):
        shard.unlink()
    with pytest.raises(DataSetError, match=sentence):
        list(itertools.islice(batches_anew(), 1))


def test_wrong_folders(records, tmp_path, folder):
    with pytest.raises(DataSetError, match="holds blurred faces and no normal ones; use"):
        training_set(records, faces="normal")
    with pytest.raises(DataSetError, match="RealWorldPortrait-636, only train, P3M-500-P"):
        find_test_set(records, "RealWorldPortrait-636")
    shutil.copytree(records, records.parent / "2.0.0")
    with pytest.raises(
        DataSetError, match=r"holds several sets of records; choose one of .*1\.0\.0"
    ):
        training_set(tmp_path / "records")
    assert training_set(records).root == records
    info = json.loads((records / "dataset_info.json").read_text())
    damaged = {"": "it is not JSON", "{}": "has no data set name", json.dumps(info | {"splits": 3}):
               "lists no splits", json.dumps(info | {"fileFormat": "array_record"}):
               "holds array_record files"}  # fmt: skip
    for text, sentence in damaged.items():
        (records / "dataset_info.json").write_text(text)
        with pytest.raises(DataSetError, match=sentence):
            training_set(records)
    with pytest.raises(PathError, match="there is no such folder"):
        training_set(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_written_to_still_reads(records, monkeypatch):
    (records / "p3m10k-train.index.npz").unlink()

    def refuse(path):
        raise OSError("read-only")

    monkeypatch.setattr("p3m_jax.data.record_index.whole_file", refuse)
    assert len(training_set(records).examples) == 5
    assert not (records / "p3m10k-train.index.npz").exists()


def test_the_command_refuses(folder, written, tmp_path, p3m, capsys):
    def said(code, *arguments) -> str:
        assert p3m("records", *arguments) == code
        return capsys.readouterr().err

    assert "Name either DATA, or both" in said(2, "-o", tmp_path)
    assert "Name either DATA, or both" in said(2, "--pictures", folder, "-o", tmp_path)
    assert "--trimaps requires --pictures and --mattes" in said(
        2, folder, "--trimaps", folder, "-o", tmp_path
    )
    assert "already exists; delete it" in said(1, folder, "-o", written)
    assert "already contains records" in said(1, written, "-o", tmp_path)
    assert "holds no train/blurred_image" in said(1, tmp_path, "-o", tmp_path / "out")
    (tmp_path / "file").touch()
    assert "is a file; choose a folder" in said(1, folder, "-o", tmp_path / "file")
    shutil.copytree(folder, tmp_path / "damaged")
    picture = tmp_path / "damaged/train/mask/synthetic_00001.png"
    picture.write_bytes(picture.read_bytes()[:99])
    assert "Nothing was written" in said(1, tmp_path / "damaged", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_interrupted_starts_anew(folder, tmp_path, p3m, monkeypatch):
    place = tmp_path / "records/p3m10k/blurred"
    (place / "incomplete.ABCDEF_1.0.0").mkdir(parents=True)  # as a killed run leaves it

    def interrupt(self, split, examples):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("p3m_jax.data.encoded_builder.EncodedBuilder._generate_examples", interrupt)
        assert p3m("records", folder, "-o", tmp_path / "records") == 130
    assert not list(place.iterdir())
    assert p3m("records", folder, "-o", tmp_path / "records") == 0
    assert [path.name for path in place.iterdir()] == ["1.0.0"]


def test_files_are_read_beside_parts_of_shards(folder, written):
    whole, part = (training_set(root).examples[0] for root in (folder, written))
    mixed = places([part.matte, None, whole.picture, part.picture])
    assert [name.decode() for name in mixed.name.numpy()] == [
        str(part.matte), "", str(whole.picture), str(part.picture),
    ]  # fmt: skip
    read = tf.function(lambda number: read_contents(place_at(mixed, number)), autograph=False)
    for number, file in enumerate((whole.matte, None, whole.picture, whole.picture)):
        if file is not None:
            assert read(tf.constant(number)).numpy() == file.read_bytes()
    assert places([whole.matte]).numpy() == [str(whole.matte).encode()]
