"""The four PPT protocols: pictures, scores, comparisons, and the command as a user meets it."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_network import SmallNetwork, found_by_name

from p3m_jax.checkpoints import weights as checkpoint
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.evaluation import ppt
from p3m_jax.evaluation.comparison import QUESTIONS
from p3m_jax.evaluation.ppt_report import notes
from p3m_jax.faces.areas import NO_FACE
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.faces.region import labels_of_mask, without_transition
from p3m_jax.inference.programs import Programs
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_matte

COUNT = 3
FILES = {"summary.md", "ppt.csv", "results.json", "ppt_differences.jpg"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A synthetic set, read only, and two checkpoints a and b of fresh weights."""
    root = tmp_path_factory.mktemp("ppt")
    found_by_name()
    write_synthetic_set(root / "set", train=1, test=COUNT, size=(96, 96), progress=False)
    for seed, name in enumerate("ab"):
        description = checkpoint.describe(
            "small",
            synthetic=name == "a",
            provenance={"run": f"run {name}", "started_from": {"file": "x.pth"}},
        )
        variables = SmallNetwork().initialize(seed)
        checkpoint.save_for_inference(root / name, variables, description)
    return SimpleNamespace(
        root=root,
        set=root / "set",
        base=root / "set" / "validation" / "P3M-500-P",
        networks=["--blurred", root / "a", "--normal", root / "b"],
    )


@pytest.fixture
def portraits(made, tmp_path):
    """Folders of pictures, mattes, face masks, which a test may change."""
    names = {"original_image": "pictures", "mask": "mattes", "facemask": "facemasks"}
    for folder, name in names.items():
        shutil.copytree(made.base / folder, tmp_path / name)
    return tmp_path


def _pair(folder, *more):
    return ["--pictures", folder / "pictures", "--mattes", folder / "mattes", *more]


def _results(folder):
    return json.loads((folder / "results.json").read_text())


def _rows(results, name):
    return {row.pop("stem"): row for row in results["results"][name]["pictures"]}


def _same(one, other):
    # Up to rounding: OpenCV sums in an order that depends on where arrays lie in memory.
    assert one.keys() == other.keys()
    for stem in one:
        assert one[stem] == pytest.approx(other[stem], rel=1e-7), stem


# --- the command -----------------------------------------------------------------------------


def test_the_matrix_holds_what_evaluate_gives(made, p3m, tmp_path, capsys):
    out = tmp_path / "out"
    data = ["--set", "P3M-500-P", "--data", made.set]
    assert p3m("ppt", *made.networks, *data, "-o", out) == 0
    printed = capsys.readouterr()
    summary = (out / "summary.md").read_text()
    results = _results(out)
    assert {path.name for path in out.iterdir()} == FILES
    assert summary in printed.out
    assert "run: run a; started_from file: x.pth" in summary
    assert list(results["results"]) == list(ppt.PPT_PROTOCOLS)
    assert results["trained"]["B"]["provenance"]["run"] == "run a"
    assert results["blurred_pictures"].endswith("blurred_image")
    means = [results["results"][name]["means"]["SAD"]["mean"] for name in ppt.PPT_PROTOCOLS]
    assert len(set(means)) == 4, means  # or protocols could be taken for each other

    normal = ["--pictures", made.base / "original_image", "--mattes", made.base / "mask"]
    normal += ["--trimaps", made.base / "trimap", "--facemasks", made.base / "facemask"]
    for name, weights, pictures in [("N:B", "b", data), ("B:N", "a", normal)]:
        alone = tmp_path / name.replace(":", "")
        assert p3m("evaluate", "--checkpoint", made.root / weights, *pictures, "-o", alone) == 0
        expected = _results(alone)["results"]["resize"]
        mean = results["results"][name]["means"]["SAD"]["mean"]
        assert mean == pytest.approx(expected["means"]["SAD"]["mean"])
        assert f"{name} **{mean:.2f}**" in summary
        _same(_rows(results, name), _rows(_results(alone), "resize"))

    with (out / "ppt.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * COUNT
    for line in lines:
        row = next(
            row
            for row in _results(out)["results"][line["protocol"]]["pictures"]
            if row["stem"] == line["stem"]
        )
        assert float(line["CONN"]) == row["CONN"]
    # Few and synthetic pictures are not to be taken for more.
    assert "NOT COMPARABLE: 3 pictures here" in summary
    assert "| P3M-Net (ResNet-34) | 8.73 | 9.22 | 11.22 | 9.06 |" in summary
    assert summary.count("not judged") == len(QUESTIONS)
    assert summary.count("SYNTHETIC") >= 3
    assert "checkpoint B was trained on synthetic portraits and the data set" in printed.err
    assert results["comparisons"][0]["p"] is None
    with Image.open(out / "ppt_differences.jpg") as sheet:
        assert sheet.height > 4 * COUNT * 192


def test_faces_blurred_in_memory_are_those_that_were_blurred_before(made, portraits, p3m, capsys):
    for path in (portraits / "pictures").iterdir():
        matte = read_matte(portraits / "mattes" / f"{path.stem}.png")
        labels = labels_of_mask(read_matte(portraits / "facemasks" / f"{path.stem}.png"))
        labels = without_transition(labels, matte)
        picture = obfuscate(read_picture(path), labels, Obfuscation("mosaic", 0.1))
        assert (picture != read_picture(path)).any()
        write_image(portraits / "blurred" / f"{path.stem}.png", picture)
    data = _pair(portraits, "--facemasks", portraits / "facemasks")
    before, memory = portraits / "before", portraits / "memory"
    common = [*made.networks, *data]
    more = ["--blurred-pictures", portraits / "blurred", "--sheet", 0]
    assert p3m("ppt", *common, *more, "-o", before) == 0
    more = ["--obfuscate", "mosaic", "--strength", 0.1]
    assert p3m("ppt", *common, *more, "-o", memory) == 0
    warning = "with mosaic 0.1 people may be recognised by their obfuscated faces"
    assert warning in capsys.readouterr().err
    assert warning in (memory / "summary.md").read_text()
    assert warning not in (before / "summary.md").read_text()
    assert {path.name for path in before.iterdir()} == FILES - {"ppt_differences.jpg"}
    one, other = _results(before), _results(memory)
    assert other["blurred_pictures"] == (
        "made from those with normal faces (mosaic, strength 0.1); pictures by face masks: 3"
    )
    for name in ppt.PPT_PROTOCOLS:
        _same(_rows(one, name), _rows(other, name))
    assert "published" not in (memory / "summary.md").read_text()


def test_results_are_replaced_only_when_asked(made, portraits, p3m, capsys):
    out = portraits / "out"
    same = ["--blurred", made.root / "a", "--normal", made.root / "a"]
    data = _pair(portraits, "--facemasks", portraits / "facemasks")
    assert p3m("ppt", *same, *data, "-o", out) == 0
    assert "same weights" in capsys.readouterr().err
    assert "same weights" in (out / "summary.md").read_text()
    (out / "mine.txt").write_text("mine")
    assert p3m("ppt", *same, *data, "-o", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert p3m("ppt", *same, *data, "-o", out, "--overwrite", "--sheet", 0) == 0
    assert {path.name for path in out.iterdir()} == FILES - {"ppt_differences.jpg"} | {"mine.txt"}
    # Neither what another command has written, nor does that one replace these.
    kept = {path: path.read_bytes() for path in out.iterdir()}
    weights = ["--checkpoint", made.root / "a"]
    assert p3m("evaluate", *weights, *data, "-o", out, "--overwrite") == 1
    assert "holds results of `p3m ppt`" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.iterdir()} == kept
    (out / "results.json").write_text('{"results": {}}')
    assert p3m("ppt", *same, *data, "-o", out, "--overwrite") == 1
    assert "p3m evaluate" in capsys.readouterr().err
    assert (out / "results.json").read_text() == '{"results": {}}'


@pytest.fixture
def no_network(monkeypatch):
    """Nothing may be matted."""
    monkeypatch.setattr(Programs, "run", None)


def test_nothing_is_scored_where_a_face_may_be_missed(
    made, portraits, p3m, capsys, monkeypatch, no_network
):
    monkeypatch.setattr(ppt, "FaceFinder", lambda: lambda picture: [])
    stems = sorted(path.stem for path in (portraits / "facemasks").iterdir())
    (portraits / "facemasks" / f"{stems[1]}.png").unlink()
    data = _pair(portraits, "--facemasks", portraits / "facemasks")
    assert p3m("ppt", *made.networks, *data, "-o", portraits / "out") == 1
    message, doubt = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "1 of 3 pictures cannot be obfuscated reliably" in message
    assert "--facemasks" in message
    assert doubt == f"  {stems[1]}: {NO_FACE}"
    assert not list((portraits / "out").iterdir())


def test_bad_data_ends_with_a_sentence(made, portraits, p3m, capsys, no_network):
    def refused(*arguments) -> str:
        assert p3m("ppt", *arguments, "-o", portraits / "out") == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert not list((portraits / "out").glob("*"))
        return error

    data = _pair(portraits, "--facemasks", portraits / "facemasks")
    lost = ["--blurred", made.root / "a", "--normal", portraits / "lost"]
    assert "lost: there is no such checkpoint" in refused(*lost, *data)
    # As P3M-10k is published: without normal faces.
    shutil.copytree(made.set, portraits / "set")
    base = portraits / "set" / "validation" / "P3M-500-P"
    named = ["--data", portraits / "set", "--set", "P3M-500-P"]
    next((base / "blurred_image").iterdir()).unlink()
    assert "blurred_image: no picture for 1 (" in refused(*made.networks, *named)
    shutil.rmtree(base / "original_image")
    assert "has no folder original_image" in refused(*made.networks, *named)
    # Blurred pictures must be there, and have the size of the others.
    blurred = portraits / "blurred"
    shutil.copytree(portraits / "pictures", blurred)
    first = next(blurred.iterdir())
    write_image(first, np.zeros((9, 9, 3), np.uint8))
    more = ["--blurred-pictures", blurred]
    assert f"{first.name}: is 9 x 9" in refused(*made.networks, *data, *more)
    first.unlink()
    assert f"1 ({first.stem})" in refused(*made.networks, *data, *more)
    for path in (portraits / "facemasks").iterdir():
        write_image(path, np.zeros((96, 96), np.uint8))
    assert "no face mask shows a face" in refused(*made.networks, *data)


NETWORKS = ["--blurred", "x", "--normal", "y"]
PAIR = ["--pictures", "p", "--mattes", "m"]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--blurred", "x", *PAIR],
        NETWORKS,
        [*NETWORKS, "--pictures", "p"],
        [*NETWORKS, "--set", "P3M-500-P"],
        [*NETWORKS, *PAIR, "--set", "P3M-500-P", "--data", "d"],
        [*NETWORKS, "--set", "P3M-500-P", "--data", "d", "--blurred-pictures", "q"],
        [*NETWORKS, "--set", "P3M-500-P", "--data", "d", "--trimaps", "t"],
        [*NETWORKS, *PAIR, "--blurred-pictures", "q", "--obfuscate", "blur"],
        [*NETWORKS, *PAIR, "--blurred-pictures", "./p"],
        [*NETWORKS, *PAIR, "--strength", "0.2"],
        [*NETWORKS, *PAIR, "--obfuscate", "blur", "--strength", "3"],
        [*NETWORKS, *PAIR, "--obfuscate", "blur", "--strength", "nan"],
        [*NETWORKS, *PAIR, "--obfuscate", "swirl"],
        [*NETWORKS, *PAIR, "--workers", "0"],
    ],
)
def test_wrong_options(p3m, tmp_path, wrong, capsys):
    assert p3m("ppt", *wrong, "-o", tmp_path / "out") == 2
    assert capsys.readouterr().err.strip()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [".", "pictures", "mattes/out", "facemasks"])
def test_results_never_go_where_pictures_are(made, portraits, p3m, capsys, place):
    before = sorted(portraits.rglob("*"))
    data = _pair(portraits, "--facemasks", portraits / "facemasks")
    assert p3m("ppt", *made.networks, *data, "-o", portraits / place, "--overwrite") == 2
    assert "overlaps with" in capsys.readouterr().err
    assert sorted(portraits.rglob("*")) == before


def test_help_teaches(p3m, capsys):
    assert p3m("ppt", "--help") == 0
    text = capsys.readouterr().out
    for word in ("B:N", "--blurred runs/swin-b", "--facemasks", "Exit code"):
        assert word in text


def test_pictures_that_are_not_blurred_are_announced(made, portraits, p3m, capsys):
    shutil.copytree(portraits / "pictures", portraits / "copies")
    data = _pair(portraits, "--blurred-pictures", portraits / "copies")
    assert p3m("ppt", *made.networks, *data, "-o", portraits / "out") == 0
    assert "are they the same pictures" in capsys.readouterr().err
    assert "are they the same pictures" in (portraits / "out" / "summary.md").read_text()


def test_what_does_not_go_together_is_announced():
    def network_of(name, value, **provenance):
        variables = ({"weight": np.full(2, value)}, {})
        return SimpleNamespace(model_name=name, variables=variables, provenance=provenance)

    blurred = network_of("swin", 0, faces="obfuscated: blur")
    normal = network_of("swin", 1, faces="normal")
    assert notes(blurred, normal) == []
    swapped = notes(normal, blurred)
    assert len(swapped) == 2
    assert "for blurred faces was trained on other faces (normal)" in swapped[0]
    assert "for normal faces" in swapped[1]
    (note,) = notes(blurred, network_of("vitae_s", 1))  # one that says nothing about faces
    assert "different networks, swin (blurred faces) and vitae_s (normal faces)" in note
    (note,) = notes(blurred, network_of("swin", 0))
    assert "the same weights" in note
