"""Variants, what runs share, studies, and whose turn it is on a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.presets import dotted, load_config, read_variant
from iapc_lib.config.run_config import SHARED_FIELDS
from iapc_lib.files import read_json
from iapc_lib.machine.gpus import claimed_gpu
from iapc_lib.pipeline import runner, stages
from iapc_lib.pipeline.results import rows_of, run_results
from iapc_lib.runs import sharing
from iapc_lib.runs.folder import default_folder, open_run
from iapc_lib.runs.records import RunFolderError
from iapc_lib.studies.plan import read_study
from tests.conftest import PRESETS, tiny_overrides

PRESET = PRESETS / "mini_gta5.yaml"
VARIANTS = sorted(path.stem for path in (PRESETS / "variants").glob("*.yaml"))


@pytest.fixture(scope="module")
def overrides(data_folder) -> dict:
    return {**tiny_overrides(data_folder), "adaptation.snapshots": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory, overrides):
    """A run whose source network, recomputed BatchNorm and pseudo-labels are made."""
    run = open_run(PRESET, tmp_path_factory.mktemp("base") / "mini_gta5-seed0", 0, overrides)
    stages.pseudo_labels(run, "iapc_bn_teacher")
    stages.pseudo_labels(run)
    return run


@pytest.fixture
def variant_run(base, overrides):
    """Opens a variant's run folder beside the base; removed at the end."""
    opened = []

    def open_variant(variant: str, **changes):
        folder = base.folder.parent / f"mini_gta5-seed0-{len(opened)}"
        opened.append(folder)
        return open_run(PRESET, folder, 0, {**overrides, **changes}, variant)

    yield open_variant
    for folder in opened:
        shutil.rmtree(folder)


def weights(run, row: str) -> dict[str, torch.Tensor]:
    stages.network_file(run, row)
    return load_file(stages.network_file(run, row))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("preset", ["mini_gta5", "mini_synthia", "gta5", "synthia"])
def test_every_variant_fits_every_preset(preset, variant):
    config = load_config(PRESETS / f"{preset}.yaml", 3, None, variant)
    plain = load_config(PRESETS / f"{preset}.yaml", 3)
    assert config.variant.name == variant
    assert default_folder(config).name == f"{preset}-seed3-{variant}"
    assert rows_of(config) == [config.variant.row]
    for setting in SHARED_FIELDS:
        assert getattr(config, setting) == getattr(plain, setting)


def test_combinations_of_losses_leave_out_the_others():
    fields = {
        "ia": "importance_aware",
        "ps": "prototype_symmetric",
        "pe": "prototype_enhanced",
        "im": "information_maximization",
    }
    combinations = [name for name in VARIANTS if set(name.split("_")) <= set(fields)]
    assert len(combinations) == 14  # and all four: iapc
    plain = load_config(PRESET).losses
    for name in combinations:
        losses = load_config(PRESET, variant=name).losses
        for part, field in fields.items():
            expected = getattr(plain, field) if part in name.split("_") else 0
            assert getattr(losses, field) == expected


def test_a_variant_that_does_not_exist_or_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="variant 'nix' does not exist; there are: bn_recomputed"):
        load_config(PRESET, variant="nix")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"title": "mine", "row": "iapc", "override": {}}))
    with pytest.raises(ConfigError, match=f"{path}: unknown key 'override'; allowed: title, row"):
        read_variant(path)
    path.write_text(yaml.safe_dump({"title": "mine", "row": "iapk"}))
    with pytest.raises(ConfigError, match=r"'variant.row' = 'iapk' is not allowed"):
        load_config(PRESET, variant=path)
    path.write_text(yaml.safe_dump({"title": "m", "row": "iapc", "overrides": {"losses.ia": 0}}))
    with pytest.raises(ConfigError, match=r"unknown key 'losses.ia'; allowed: importance_aware"):
        load_config(PRESET, variant=path)


def test_a_variant_takes_over_what_the_base_has(base, variant_run, monkeypatch):
    run = variant_run("self_training")
    taken = sharing.reuse_stages(run, base)
    assert taken == list(sharing.SHARED_STAGES)
    assert sharing.reuse_stages(run, base) == []

    def trained(*_):
        raise AssertionError("the source network was trained again")

    monkeypatch.setattr(stages, "train_source", trained)
    monkeypatch.setattr(stages, "write_pseudo_labels", trained)
    results = run_results(run)
    assert list(results["scores"]) == ["self_training"]
    assert results["variant"]["title"] == "self-training"
    assert (
        read_json(run.path("stages", "source_network.json"))["taken_from"] == "../mini_gta5-seed0"
    )
    assert os.path.samefile(base.path("source.safetensors"), run.path("source.safetensors"))


def test_a_variant_without_a_base_gives_the_same_numbers(base, variant_run):
    shared, alone = variant_run("ia_pe"), variant_run("ia_pe")
    sharing.reuse_stages(shared, base)
    expected = weights(alone, "iapc")
    for name, value in weights(shared, "iapc").items():
        assert torch.equal(value, expected[name]), name


def test_a_base_of_other_settings_is_refused(base, overrides, tmp_path):
    other = open_run(PRESET, tmp_path / "other", 1, overrides, "ia")
    with pytest.raises(RunFolderError, match=r"cannot be the base of .*: they differ in seed;"):
        sharing.reuse_stages(other, base)
    empty = open_run(PRESET, tmp_path / "empty", 1, overrides)
    with pytest.raises(RunFolderError, match="has no finished source network to take over"):
        sharing.reuse_stages(other, empty)
    assert not other.path("stages").exists()


def test_the_run_beside_a_variant_is_found_if_it_fits(base, overrides, variant_run, tmp_path):
    assert sharing.sibling_run(variant_run("ia")).folder == base.folder
    assert sharing.sibling_run(variant_run("ia", **{"pseudo_labels.flip": False})) is None
    lonely = open_run(PRESET, tmp_path / "mini_gta5-seed0-ia", 0, overrides, "ia")
    assert sharing.sibling_run(lonely) is None


def test_unfinished_trainings_are_taken_only_when_asked_for(base, variant_run):
    state = base.path("states", "adaptation_iapc.pt")
    state.parent.mkdir(exist_ok=True)
    state.write_bytes(b"state")
    run = variant_run("iapc")
    sharing.reuse_stages(run, base)
    assert not run.path("states").exists()
    assert sharing.reuse_stages(run, base, unfinished=True) == ["unfinished adaptation_iapc"]
    assert run.path("states", state.name).read_bytes() == b"state"
    state.unlink()


def test_tent_moves_batchnorm_alone(base, variant_run):
    run = variant_run("tent")
    sharing.reuse_stages(run, base)
    before = load_file(base.path("source.safetensors"))
    moved = {n for n, v in weights(run, "tent").items() if not torch.equal(v, before[n])}
    kinds = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert {name.rsplit(".", 1)[1] for name in moved} == kinds
    assert all("bn" in name or "downsample.1" in name for name in moved)


def test_confident_self_training_leaves_unsure_pixels_out(base, variant_run):
    found = {}
    for threshold in (0.0, 0.2, 1.0):
        changes = {"adaptation.confidence_threshold": threshold}
        run = variant_run("self_training_confident", **changes)
        sharing.reuse_stages(run, base)
        found[threshold] = weights(run, "self_training_confident")
    run = variant_run("self_training")
    sharing.reuse_stages(run, base)
    plain, source = weights(run, "self_training"), load_file(base.path("source.safetensors"))
    convolutions = [name for name in plain if name.endswith("conv1.weight")]
    for name in convolutions:
        assert torch.equal(found[0.0][name], plain[name])  # everybody is at least so sure
        assert not torch.equal(found[0.2][name], plain[name])
        # No pixel counts: weights shrink by their decay alone.
        torch.testing.assert_close(found[1.0][name], source[name], rtol=1e-4, atol=0)


def test_fewer_target_images_are_spread_over_all(base, variant_run):
    run = variant_run("target_50", **{"adaptation.target_share": 0.6})
    sharing.reuse_stages(run, base)
    stages.network_file(run, "iapc")
    assert read_json(run.path("stages", "adaptation_iapc.json"))["facts"]["target_images"] == 3


def test_run_refuses_until_together_with_a_variant(variant_run, tmp_path):
    of_a_variant = variant_run("ia").folder
    for preset, until, variant in (
        (PRESET, "07_variant", None),
        (PRESET, "00_data", "ia"),
        (of_a_variant, "00_data", None),
    ):
        with pytest.raises(ConfigError, match=r"--until .*: allowed are 00_data, "):
            runner.run_notebooks(preset, 0, tmp_path / "run", variant=variant, until=until)
    assert not (tmp_path / "run").exists()


def study(**changes) -> dict:
    fields = yaml.safe_load((PRESETS / "studies" / "mini.yaml").read_text())
    return {**fields, **changes}


def test_studies_are_checked_down_to_every_run():
    for path in (PRESETS / "studies").glob("*.yaml"):
        read_study(yaml.safe_load(path.read_text()))
    for changes, message in (
        ({"variants": ["ia", "nix"]}, "variant 'nix' does not exist"),
        ({"scenarios": ["nix.yaml"]}, "nix.yaml: cannot be read"),
        ({"seeds": []}, r"study: 'seeds' = \[\] is not allowed: Tuple should have at least 1 item"),
        ({"seeds": [1, 1]}, "a seed is named twice"),
        ({"variants": ["ia", "ia"]}, "two of its variants have the same name"),
        ({"jobs": 3}, "study: unknown key 'jobs'; allowed: folder, scenarios, seeds, variants"),
        ({"overrides": {"adaptation.stepz": 3}}, "unknown key 'adaptation.stepz'"),
        (
            {"overrides": {"losses.prototype_enhanced": 1.0}},
            r"overrides \['losses.prototype_enhanced'\] are what 'ia' changes",
        ),
        (
            {"overrides": {"losses": {"prototype_enhanced": 1.0}}},
            r"overrides \['losses.prototype_enhanced'\] are what 'ia' changes",
        ),
        ({"overrides": {"losses": 3}}, r"overrides \['losses'\] are what 'ia' changes"),
        ({"gpu": 2}, "study: 'gpu' = 2 is not allowed"),
        ({"seeds": "0,1"}, r"study: 'seeds' = '0,1' is not allowed: write a list, such as"),
        ({"seeds": None}, "study: 'seeds' is missing"),
        ({"overrides": {"seed": 5}}, r"overrides \['seed'\] are what the study itself sets"),
        ({"overrides": {"variant.row": "iapc"}}, r"\['variant.row'\] are what the study itself"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_study(study(**changes))


def test_what_variants_share_is_not_theirs_to_change(tmp_path):
    path = tmp_path / "mine.yaml"
    for changes in ({"source_training.steps": 5}, {"model": {"base_width": 8}}, {"scenario": "a"}):
        path.write_text(yaml.safe_dump({"title": "mine", "row": "iapc", "overrides": changes}))
        with pytest.raises(ConfigError, match=rf"{path}: \['{dotted(changes).popitem()[0]}'\] are"):
            read_study(study(variants=["iapc", str(path)]))


def test_what_is_no_preset_says_what_it_is(tmp_path):
    empty = tmp_path / "empty.yaml"
    empty.write_text("{}")
    for path, message in (
        (PRESETS / "variants" / "ia.yaml", "ia.yaml: is a variant; name a preset"),
        (PRESETS / "studies" / "mini.yaml", "mini.yaml: is a study; run it with snakemake"),
        (empty, "empty.yaml: needs a key 'config'"),
        (tmp_path, f"{tmp_path}: is no run folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(path)


def test_overrides_of_a_section_leave_its_other_fields():
    plain = load_config(PRESET, 0)
    nested = load_config(PRESET, 0, {"adaptation": {"steps": 5, "optimizer": {"momentum": 0.5}}})
    assert nested == load_config(
        PRESET, 0, {"adaptation.steps": 5, "adaptation.optimizer.momentum": 0.5}
    )
    assert nested.adaptation.memory_decay == plain.adaptation.memory_decay != 0.9999


CLAIM = """
from iapc_lib.machine import gpus
gpus.LOOK_EVERY_SECONDS = 0.05
with gpus.claimed_gpu() as mine:
    print(mine, flush=True)
    input()
"""


@pytest.fixture
def claim(tmp_path):
    """Starts a process that claims one of two GPUs; it ends with the test."""
    started = []

    def start(**slurm: str) -> subprocess.Popen:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1", "TMPDIR": str(tmp_path)}
        for name in [name for name in environment if name.startswith("SLURM_")]:
            del environment[name]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CLAIM],
                env=environment | slurm,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("slurm", [{}, {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0,1"}])
def test_two_runs_never_share_a_gpu(claim, slurm):
    first = claim(**slurm)
    assert first.stdout.readline() == "0\n"
    second = claim(**slurm)
    assert second.stdout.readline() == "1\n"
    third = claim(**slurm)
    assert third.stdout.readline() == "waiting for one of the GPUs 0, 1: others use them\n"
    first.kill()  # the system lifts a dead process's claim
    assert third.stdout.readline() == "0\n"


def test_slurm_jobs_that_were_given_gpus_may_number_them_alike(claim):
    for job in ("7", "8"):
        assert claim(SLURM_JOB_ID=job, SLURM_JOB_GPUS="3").stdout.readline() == "0\n"
    # These were given none and see all: they keep out of each other's way.
    assert [claim(SLURM_JOB_ID=job).stdout.readline() for job in ("9", "10")] == [
        "0\n",
        "1\n",
    ]


def test_claim_names_its_gpu_alone_and_then_all_again(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with claimed_gpu() as mine:
        assert mine == os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
