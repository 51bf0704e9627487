"""Prototype contrast of one picture: what the prototypes explorer computes before it shows it.

Student and memory network see the picture as an update would, in train mode, as a batch of its own.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from iapc_lib.explorers.gallery import Gallery, Picture
from iapc_lib.explorers.parts import dimmed, marked
from iapc_lib.explorers.terms import PixelFacts
from iapc_lib.method.deeplab import upsample
from iapc_lib.method.importance import importance_map
from iapc_lib.method.prototypes import (
    memory_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
)


@dataclass(frozen=True, eq=False)
class Contrast:
    """A picture against its class prototypes; made by `prototype_contrast`. Labels are train ids.

    A *cell* is a place of the feature map, numbered row by row; a pixel belongs to the cell whose
    nearest prototype it is given.
    """

    picture: Picture
    train_ids: np.ndarray
    """(K,) of the network's channels."""
    features: Tensor
    """(D, h, w) float, of the student."""
    prototypes: Tensor
    """(K, D) float, zero vectors where the class is absent from the picture."""
    similarity: Tensor
    """(K, h, w) float, cosines."""
    cells: np.ndarray
    """(H, W) int64, the cell of every pixel."""
    nearest: np.ndarray
    """(H, W) uint8, class of the nearest prototype."""
    predicted: np.ndarray
    """(H, W) uint8, class that the student predicts in train mode."""
    importance: np.ndarray
    """(H, W) float, of the source network, as the run's L_IA takes it."""

    @cached_property
    def present(self) -> np.ndarray:
        """(K,) bool: the memory network sees the class in the picture."""
        return self.prototypes.any(dim=1).numpy()

    @cached_property
    def agree(self) -> np.ndarray:
        """(H, W) bool: nearest prototype and pseudo-label are the same class."""
        return self.nearest == self.picture.pseudo_label

    @cached_property
    def middles(self) -> np.ndarray:
        """(h * w, 2) int64, (row, column) of the pixel in the middle of every cell."""
        height, width = self.similarity.shape[1:]
        rows = _middles(self.cells[:, 0] // width, height)
        columns = _middles(self.cells[0] % width, width)
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=2).reshape(-1, 2)

    def on_cells(self, labels: np.ndarray) -> np.ndarray:
        """(H, W) -> (h * w,), the label in the middle of every cell."""
        return labels[tuple(self.middles.T)]

    def cells_in(self, region: list[int]) -> np.ndarray:
        """Cells of the pixels in a box [top, left, bottom, right): rising numbers."""
        top, left, bottom, right = region
        return np.unique(self.cells[top:bottom, left:right])

    def similarity_map(self, channel: int) -> tuple[np.ndarray, float, float]:
        """Cosine with one class's prototype, up-sampled as L_PS takes it.

        Returns:
            (H, W) float, and the two ends of its scale: smallest and largest value, 0 and 1 where
            the class is absent and all values are 0.
        """
        values = upsample(self.similarity[None, [channel]], self.cells.shape)[0, 0].numpy()
        if not self.present[channel]:
            return values, 0.0, 1.0
        return values, float(values.min()), float(values.max())


def _middles(cell_of_line: np.ndarray, number: int) -> np.ndarray:
    """The middle line of every cell; `cell_of_line` rises from 0 to `number` - 1."""
    cells = np.arange(number)
    first = np.searchsorted(cell_of_line, cells)
    return (first + np.searchsorted(cell_of_line, cells, side="right") - 1) // 2


def prototype_contrast(gallery: Gallery, picture: int, step: int) -> Contrast:
    """Compares the student's features at a step with the memory network's prototypes.

    Raises:
        CheckpointError: the networks of this step cannot be had.
    """
    student, memory = gallery.outputs(picture, step)
    size = gallery.size
    prototypes = memory_prototypes(memory, size)
    similarity = prototype_similarity(student.features, prototypes)
    height, width = similarity.shape[2:]
    numbers = torch.arange(height * width).view(1, height, width)
    nearest = resample_labels(prototype_labels(similarity), size)[0]
    predicted = upsample(student.logits, size)[0].argmax(dim=0)
    source_logits = gallery.source_logits(picture)[None]
    return Contrast(
        picture=gallery.pictures[picture],
        train_ids=np.array(gallery.source.classes.train_ids),
        features=student.features[0],
        prototypes=prototypes[0],
        similarity=similarity[0],
        cells=resample_labels(numbers, size)[0].numpy(),
        nearest=gallery.source.train_ids(nearest),
        predicted=gallery.source.train_ids(predicted),
        importance=importance_map(source_logits, gallery.fidelity.importance)[0].numpy(),
    )


def pixel_facts(contrast: Contrast, pixel: tuple[int, int]) -> PixelFacts:
    """Reads what decides on the losses at one pixel (row, column)."""
    return PixelFacts(
        int(contrast.nearest[pixel]),
        int(contrast.predicted[pixel]),
        int(contrast.picture.pseudo_label[pixel]),
        float(contrast.importance[pixel]),
    )


def agreement_picture(contrast: Contrast) -> np.ndarray:
    """(H, W, 3) uint8: blue where prototype and pseudo-label agree, orange elsewhere."""
    return marked(contrast.picture.pixels, contrast.agree, ~contrast.agree)


def selection_picture(contrast: Contrast, cells: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: the picture, dimmed outside these cells if there are any."""
    kept = np.isin(contrast.cells, cells) if cells.size else True
    return dimmed(contrast.picture.pixels, kept)


def variant_notes(gallery: Gallery) -> list[str]:
    """Where the run's updates did otherwise than what is shown; empty for the published method."""
    notes = []
    if gallery.fidelity.prototypes != "image":
        kept = {"dataset": "fixed over the data set", "momentum": "that move from image to image"}
        notes.append(
            f"This run learned from prototypes {kept[gallery.fidelity.prototypes]}; "
            "shown are those of the picture alone."
        )
    if gallery.fidelity.revision == "2023":
        notes.append(
            "This run's L_PS2 took the similarities in the scrambled layout of 2023; "
            "shown is the right one."
        )
    return notes
