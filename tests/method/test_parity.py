"""The library is the published method, and its checker would notice if it were not."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import PROJECT
from tests.parity.__main__ import check_directory
from tests.parity.report import Report, Tolerance

VECTORS = PROJECT / "tests" / "vectors"


def altered(tmp_path, name: str, change) -> int:
    """Exit status of the checker on a copy of one file (and what it needs), after `change`."""
    source = VECTORS / name
    for path in {source, source.with_stem(source.stem.removesuffix("_f64"))}:
        shutil.copy(path, tmp_path)
    with np.load(source) as file:
        arrays = {key: file[key] for key in file.files}
    change(arrays)
    np.savez_compressed(tmp_path / source.name, **arrays)
    return check_directory(tmp_path)


@pytest.fixture(scope="module")
def whole_check() -> tuple[int, Report]:
    """Exit status on all vectors, and everything that was compared."""
    report = Report()
    return check_directory(VECTORS, report), report


def test_every_quantity_of_the_golden_vectors_holds(whole_check):
    status, report = whole_check
    assert not report.failed
    assert status == 0 and len(report.compared) > 500


# After three updates rounding moves these float32 numbers by up to three per cent, and nothing
# else in the file depends on them. The float64 files know them to 1e-8.
NOISY = "momentum_first64_"


def array_of(comparison: tuple) -> str:
    return re.split(",? (?:from|as|whole) ", comparison[1])[0]


def test_every_compared_array_would_be_missed_by_one_per_cent(whole_check):
    for array, comparisons in itertools.groupby(whole_check[1].compared, array_of):
        report = Report()
        compared = 0
        for compare, name, ours, expected, *rest in comparisons:
            if compare.__name__ == "close" and np.any(expected) and not name.endswith("(zero)"):
                report.close(name, ours, expected * 1.01, *rest)
                compared += 1
        assert report.failed or not compared or NOISY in array, array


def test_every_compared_label_would_be_missed(whole_check):
    for compare, name, ours, expected, *rest in whole_check[1].compared:
        if compare.__name__ != "labels" or not expected.size:
            continue
        altered = expected.copy()
        place = altered.size // 2
        altered.flat[place] = (altered.flat[place] + 1) % 19
        report = Report()
        report.labels(name, ours, altered, *rest)
        assert report.failed, name


def test_infinity_equals_only_itself():
    report = Report()
    report.close("same", [np.inf, np.nan, 1.0], [np.inf, np.nan, 1.0], Tolerance(relative=1e-3))
    assert not report.failed
    for ours, expected in ((1.0, np.inf), (np.inf, 1.0), (-np.inf, np.inf), (1.0, np.nan)):
        report.close("other", [ours], [expected], Tolerance(1.0, 1.0, 1.0))
    assert len(report.failed) == 4


def test_labels_may_differ_only_where_rounding_decides():
    scores = np.array([[0.5, 0.5, 0.0, 0.9], [0.5, 0.500001, 0.0, 0.1]])[None]  # (1, K, 4)
    report = Report()
    report.labels("ties", [[0, 1, 0, 0]], [[1, 0, 0, 0]], scores, 1e-5)
    assert not report.failed
    report.labels("absent classes", [[0, 1, 0, 0]], [[0, 1, 1, 0]], scores, 1e-5)
    report.labels("clear", [[0, 1, 0, 0]], [[0, 1, 0, 1]], scores, 1e-5)
    report.labels("no class", [[0, 1, 0, 0]], [[255, 1, 0, 0]], scores, 1e-5)
    assert len(report.failed) == 3


FLOATS = {
    "2023/losses.npz": ("loss_total", "importance", "grad_sym_student_features"),
    "2024/losses.npz": ("cluster_similarity_raw", "dict_loss_clustering_sym_label_probability"),
    "2024/losses_f64.npz": ("class_weight", "entropy_per_pixel", "grad_total_student_logits"),
    "2023/prototypes.npz": ("A_out_similarity_raw", "C_similarity_pixel_major"),
    "2023/class_weights.npz": ("class_weight", "often_weight"),
    "2023/schedule.npz": ("lr",),
    "2023/miou.npz": ("iou", "miou16", "miou13_2"),
    "2023/preprocess.npz": ("image_128x64",),
}


@pytest.mark.parametrize(("name", "array"), [(f, a) for f, names in FLOATS.items() for a in names])
def test_one_per_cent_is_noticed(tmp_path, capsys, name, array):
    assert altered(tmp_path, name, lambda arrays: arrays.update({array: arrays[array] * 1.01})) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert any(array in line for line in failed)


LABELS = {
    "2023/losses.npz": ("label", "cluster_label", "cluster_label_up_masked", "student_label_up"),
    "2023/prototypes.npz": ("C_out_label", "E_out_label"),
    "2023/miou.npz": ("gt", "hist_each"),
    "2023/preprocess.npz": ("label_96x48", "evalset_label_native"),
}


@pytest.mark.parametrize(("name", "array"), [(f, a) for f, names in LABELS.items() for a in names])
def test_one_label_is_noticed(tmp_path, capsys, name, array):
    def change(arrays):
        place = tuple(side // 2 for side in arrays[array].shape)
        arrays[array][place] = (int(arrays[array][place]) + 1) % 19

    assert altered(tmp_path, name, change) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop("lr"), "has no array lr"),
        (lambda a: a.update(lr=a["lr"][:3]), r"lr has shape \(3, 2\), ours has"),
        (lambda a: a.update(extra=np.ones(3)), "arrays that nothing checks: extra"),
        (lambda a: a.update(revision=np.array("2025")), "unknown revision 2025"),
        (lambda a: a.update(lr=np.array([{}], object)), "cannot be read as a vector file"),
        (lambda a: a.update(power=np.array("high")), "is not in the format"),
    ],
)
def test_a_file_of_another_format_is_no_pass(tmp_path, capsys, change, reason):
    assert altered(tmp_path, "2023/schedule.npz", change) == 2
    output = capsys.readouterr().out
    assert output.count("CANNOT BE CHECKED") == 1
    assert re.search(reason, output)


def test_broken_unknown_and_lonely_files_are_no_pass(tmp_path, capsys):
    assert check_directory(tmp_path) == 2
    whole = (VECTORS / "2023" / "schedule.npz").read_bytes()
    (tmp_path / "schedule.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray((VECTORS / "2023" / "miou.npz").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (tmp_path / "miou.npz").write_bytes(flipped)
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "array.npy").rename(tmp_path / "augment.npz")
    shutil.copy(VECTORS / "2024" / "losses_f64.npz", tmp_path)
    shutil.copy(VECTORS / "2023" / "schedule.npz", tmp_path / "other.npz")
    assert check_directory(tmp_path) == 2
    output = capsys.readouterr().out
    for name in ("schedule", "miou", "augment"):
        assert f"{name}.npz cannot be read as a vector file" in output
    assert "losses.npz with its inputs must lie beside it" in output
    assert "other.npz: unknown kind of file" in output


def test_command_line_gives_the_exit_status(tmp_path):
    def run(folder) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "tests.parity", str(folder)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)

    assert run(tmp_path / "missing").returncode == 2
    shutil.copy(VECTORS / "2023" / "schedule.npz", tmp_path)
    done = run(tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[0].endswith(" ok")
