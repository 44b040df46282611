"""Auxiliary images: the stereo partner or the previous frame, as inputs of a network."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.config import ViewKind


class AuxImages(NamedTuple):
    """Auxiliary images of a batch (B, 3, H, W), at the same size; geometry where it is known."""

    image: torch.Tensor  # (B, 3, H, W) RGB in [0, 1]
    present: torch.Tensor  # (B,) bool; the others are predicted from their image alone
    K: torch.Tensor | None = None  # (B, 3, 3) of the image, in its pixels
    K_aux: torch.Tensor | None = None  # (B, 3, 3) of the view
    T_aux_camera: torch.Tensor | None = None  # (B, 4, 4) metres
    # (B, 3, H, W) the batch's images without augmentation, which `image` is compared with
    reference: torch.Tensor | None = None


class AuxImage(NamedTuple):
    """Auxiliary image of one image, each at its original size."""

    image: np.ndarray  # (h, w, 3) uint8 RGB
    K: np.ndarray | None = None  # (3, 3) of the image, in its pixels
    K_aux: np.ndarray | None = None  # (3, 3) of the auxiliary image, in its pixels
    T_aux_camera: np.ndarray | None = None  # (4, 4) metres


def view_of(
    batch: Mapping[str, torch.Tensor], kind: ViewKind, *, hidden: float = 0.0, wrong: float = 0.0
) -> AuxImages | None:
    """Auxiliary images of a training batch; None if it was loaded without them.

    Each is hidden with probability `hidden` and replaced by another sample's with probability
    `wrong` (IID-RDepth, section 4.6, docs/papers/iid_rdepth.md), drawn from torch's generator. With
    the previous frame, the batch's images must have one size.
    """
    if kind not in batch:
        return None
    present = batch[f"has_{kind}"].bool()
    if hidden:
        present = present & (torch.rand(present.shape) >= hidden).to(present.device)
    image = batch[kind]
    if wrong:
        others = (torch.rand(present.shape) < wrong).to(present.device)
        image = torch.where(others.view(-1, 1, 1, 1), image.roll(1, dims=0), image)
    return AuxImages(
        image=image,
        present=present,
        K=batch["shown_intrinsics" if kind == "stereo" else "intrinsics"],
        K_aux=batch[f"{kind}_intrinsics"],
        T_aux_camera=batch[f"T_{kind}_camera"],
        reference=batch["clear_image"],
    )


def stacked(
    views: Sequence[AuxImage | None],
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    device: torch.device,
) -> AuxImages | None:
    """Batch of auxiliary images of `images` at `size` (width, height); None without any.

    Intrinsics are scaled with their images. A batch has geometry only if all its views do.
    """
    there = [view for view in views if view is not None]
    if not there:
        return None
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    resized = [blank if view is None else resize_image(view.image, size) for view in views]
    batch = torch.from_numpy(np.stack(resized)).to(device).permute(0, 3, 1, 2).float() / 255
    present = torch.tensor([view is not None for view in views], device=device)
    if any(v.K is None or v.K_aux is None or v.T_aux_camera is None for v in there):
        return AuxImages(batch, present)
    first = there[0]
    full = [first if view is None else view for view in views]
    return AuxImages(
        batch,
        present,
        K=_scaled([v.K for v in full], images, size, device),
        K_aux=_scaled([v.K_aux for v in full], [v.image for v in full], size, device),
        T_aux_camera=_tensor([v.T_aux_camera for v in full], device),
    )


def _scaled(
    intrinsics: Sequence[np.ndarray | None],
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    device: torch.device,
) -> torch.Tensor:
    pairs = zip(intrinsics, images, strict=True)
    return _tensor(
        [scaled_intrinsics(np.asarray(K), (p.shape[1], p.shape[0]), size) for K, p in pairs], device
    )


def _tensor(arrays: Sequence[np.ndarray | None], device: torch.device) -> torch.Tensor:
    stacked = np.stack([np.asarray(a) for a in arrays])
    return torch.from_numpy(stacked.astype(np.float32)).to(device)
