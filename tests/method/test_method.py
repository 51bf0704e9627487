"""Properties of the pure functions of the method."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from iapc_lib.method.deeplab import Prediction
from iapc_lib.method.importance import importance_map
from iapc_lib.method.losses import (
    class_counts,
    class_weights,
    entropy_map,
    importance_aware_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
    weighted_cross_entropy,
)
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.prototypes import (
    class_prototypes,
    memory_prototypes,
    moving_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
    used_prototypes,
)
from iapc_lib.method.settings import Fidelity, Losses

seeds = st.integers(0, 2**31)


def maps(seed: int, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_importance_of_probabilities_lies_within_0_and_1_and_ignores_an_added_constant(seed):
    logits = 5 * maps(seed, 2, 7, 3, 4)
    importance = importance_map(logits, "probabilities")
    assert importance.min() >= 0 and importance.max() <= 1
    torch.testing.assert_close(importance, importance_map(logits + 3, "probabilities"))


def test_importance_variants_of_table_iv_by_hand():
    logits = torch.tensor([0.6, 0.3, 0.1]).log()[None, :, None, None] + 2
    for kind, expected in (("first", 0.6), ("second", 0.7), ("probabilities", 0.5), ("none", 1)):
        assert importance_map(logits, kind).item() == pytest.approx(expected)


def test_importance_of_logits_by_hand():
    logits = torch.tensor([[4.0, 1.0, 0.5], [2.0, -1.0, -2.0], [-1.0, -2.0, -3.0]]).T[
        None, :, :, None
    ]
    assert importance_map(logits)[0, :, 0].tolist() == pytest.approx([0.75, 1.5, -1.0])
    # columns: both positive; s1 > 0 > s2; both negative


@given(seeds, st.integers(1, 3), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_prototypes_are_class_means_and_zero_for_absent_classes(seed, images, classes):
    features = maps(seed, images, 5, 4, 3)
    labels = torch.randint(
        0, classes, (images, 4, 3), generator=torch.Generator().manual_seed(seed)
    )
    labels[labels == 1] = 255  # class 1 is absent
    prototypes = class_prototypes(features, labels, classes)
    for image in range(images):
        for k in range(classes):
            members = features[image][:, labels[image] == k]
            expected = members.mean(dim=1) if members.shape[1] else torch.zeros(5).double()
            torch.testing.assert_close(prototypes[image, k], expected)


@given(seeds, st.integers(1, 5), st.booleans(), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=40, deadline=None)
def test_moving_prototypes_are_what_a_loop_over_images_gives(seed, images, fresh, momentum):
    generator = torch.Generator().manual_seed(seed)
    means = maps(seed, images, 4, 3)
    means[torch.rand(images, 4, generator=generator) < 0.4] = 0  # absent classes
    state = torch.zeros(4, 3).double() if fresh else maps(seed + 1, 4, 3)
    found = moving_prototypes(state, means, momentum)
    for image in range(images):
        for k in range(4):
            if means[image, k].any():
                old = state[k] if state[k].any() else means[image, k]
                state[k] = momentum * old + (1 - momentum) * means[image, k]
        torch.testing.assert_close(found[image], state)


def test_prototypes_of_the_data_set_do_not_follow_the_batch():
    batch = [
        Prediction(maps(i, 2, 4, 5, 5).requires_grad_(), maps(i + 9, 2, 8, 5, 5)) for i in (0, 1)
    ]
    fixed = maps(7, 4, 8)
    for student in batch:
        means = memory_prototypes(student, (17, 17))
        used, kept = used_prototypes(means, fixed, Fidelity(prototypes="dataset"))
        torch.testing.assert_close(used, fixed.expand(2, -1, -1))
        assert kept is fixed
        used, kept = used_prototypes(means, fixed, Fidelity(prototypes="momentum"))
        assert torch.equal(kept, used[-1]) and not torch.equal(kept, fixed)
        used, kept = used_prototypes(means, None, Fidelity())
        assert used is means and kept is None
    with pytest.raises(ValueError, match="fidelity.prototypes is 'dataset': give their state"):
        used_prototypes(means, None, Fidelity(prototypes="dataset"))


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_similarity_is_the_cosine_of_that_pixel_and_that_class(seed):
    features, prototypes = maps(seed, 2, 5, 4, 3), maps(seed + 1, 2, 6, 5)
    similarity = prototype_similarity(features, prototypes)
    expected = F.cosine_similarity(features[1, :, 2, 1], prototypes[1, 4], dim=0)
    torch.testing.assert_close(similarity[1, 4, 2, 1], expected)
    torch.testing.assert_close(prototype_similarity(7 * features, prototypes), similarity)
    assert similarity.abs().max() <= 1 + 1e-12


def test_absent_prototypes_have_similarity_zero_and_ties_go_to_the_first_class():
    similarity = prototype_similarity(torch.ones(1, 2, 1, 1), torch.zeros(1, 3, 2))
    assert similarity.tolist() == [[[[0.0]], [[0.0]], [[0.0]]]]
    assert prototype_labels(similarity).item() == 0


def test_scrambled_layout_reads_the_pixel_major_buffer_in_order():
    similarity = torch.arange(6.0).view(1, 3, 1, 2)  # [class, pixel] = 2 * class + pixel
    assert scrambled_2023(similarity).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_labels_are_resampled_exactly_both_ways():
    labels = torch.tensor([[[0, 255], [18, 3]]])
    up = resample_labels(labels, (4, 4))
    assert up[0, 0].tolist() == [0, 0, 255, 255]
    assert torch.equal(resample_labels(up, (2, 2)), labels)


def test_class_weights_by_hand():
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 0, :2] = 1
    labels[0, 3, :] = 255
    counts = class_counts(labels, 3)
    assert counts.tolist() == [10, 2, 0]
    weight, absence = class_weights(counts, 1, torch.ones(3), ceiling=7, rare_class_pixels=3)
    assert absence.tolist() == pytest.approx([1.0, 1.0, 1.6])  # class 2 is absent
    assert weight.tolist() == pytest.approx([1.0, 7.0, 11.2])  # class 1 is rare
    all_ignored = torch.full((1, 2, 2), 255)
    weight, _ = class_weights(class_counts(all_ignored, 3), 1, torch.ones(3), 7, 3)
    assert weight.tolist() == pytest.approx([11.2] * 3)


@given(seeds, st.floats(1, 10))
@settings(max_examples=25, deadline=None)
def test_class_weights_stay_between_1_and_the_squared_ceiling(seed, ceiling):
    absence = torch.ones(5)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(30):
        labels = torch.randint(0, 3, (2, 4, 4), generator=generator)
        weight, absence = class_weights(class_counts(labels, 5), 2, absence, ceiling, 6)
        assert weight.min() >= 1 - 1e-6 and weight.max() <= ceiling**2 + 1e-4


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_ignored_pixels_count_in_the_mean_but_add_nothing(seed):
    logits, importance = maps(seed, 2, 4, 3, 3), maps(seed + 1, 2, 3, 3).abs()
    labels = torch.randint(0, 4, (2, 3, 3), generator=torch.Generator().manual_seed(seed))
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    logits = logits.log_softmax(1)
    full = importance_aware_loss(logits, labels, importance, weight)
    ignored = labels.clone()
    ignored[1] = 255
    half = importance_aware_loss(logits[:1], labels[:1], importance[:1], weight)
    torch.testing.assert_close(importance_aware_loss(logits, ignored, importance, weight), half / 2)
    picked = logits.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(full, (importance * weight[labels] * -picked).mean())


def test_enhanced_loss_sees_only_pixels_where_prototype_and_label_agree():
    logits = maps(0, 1, 3, 2, 2).requires_grad_()
    labels = torch.tensor([[[0, 1], [2, 255]]])
    nearest = torch.tensor([[[0, 2], [2, 1]]])
    log_probabilities = logits.log_softmax(dim=1)
    loss = prototype_enhanced_loss(log_probabilities, labels, nearest, torch.ones(3).double())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0].abs().sum(dim=0) > 0).tolist() == [[True, False], [True, False]]
    per_pixel = weighted_cross_entropy(log_probabilities, labels)
    torch.testing.assert_close(loss, (per_pixel[0, 0, 0] + per_pixel[0, 1, 0]) / 4)


def test_symmetric_loss_sends_each_gradient_to_one_side():
    logits, similarity = maps(0, 1, 3, 2, 2).requires_grad_(), maps(1, 1, 3, 2, 2).requires_grad_()
    label_term, similarity_term = prototype_symmetric_loss(
        logits.log_softmax(dim=1),
        similarity,
        torch.zeros(1, 2, 2).long(),
        torch.ones(1, 2, 2).long(),
    )
    assert torch.autograd.grad(label_term, (logits, similarity), allow_unused=True)[1] is None
    assert torch.autograd.grad(similarity_term, (logits, similarity), allow_unused=True)[0] is None


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_entropy_lies_between_0_and_log_k(seed):
    entropy = entropy_map((8 * maps(seed, 1, 6, 3, 3)).log_softmax(dim=1))
    assert entropy.min() > -1e-4 and entropy.max() <= torch.log(torch.tensor(6.0)) + 1e-9


def test_objective_is_the_sum_of_its_terms_and_features_learn_from_one_of_them_only():
    student = Prediction(maps(0, 2, 4, 5, 5).requires_grad_(), maps(1, 2, 8, 5, 5).requires_grad_())
    memory = Prediction(maps(2, 2, 4, 5, 5), maps(3, 2, 8, 5, 5))
    labels = torch.randint(0, 4, (2, 17, 17))
    prototypes = memory_prototypes(memory, (17, 17))
    arguments = (student, prototypes, maps(4, 2, 4, 5, 5), labels, torch.ones(4).double())
    terms = iapc_losses(*arguments, Losses(), Fidelity())
    torch.testing.assert_close(terms.total.detach(), sum(terms.weighted.values()))
    silent = Losses(prototype_symmetric=0)
    total = iapc_losses(*arguments, silent, Fidelity()).total
    gradient = torch.autograd.grad(total, student.features, allow_unused=True)[0]
    assert gradient is None or gradient.abs().max() == 0
    scrambled = iapc_losses(*arguments, Losses(), Fidelity(revision="2023"))
    different = {k for k in terms.weighted if terms.weighted[k] != scrambled.weighted[k]}
    assert different == {"prototype_symmetric_similarity"}
