"""The totals: which parts they hold, what each needs, and a loss that is no number."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nightrain.datasets.errors import NightrainError
from nightrain.depthmodel.losses.base import Poses
from nightrain.depthmodel.losses.distillation import distillation_loss
from nightrain.depthmodel.losses.mixtures import (
    StudentLoss,
    TeacherLoss,
    reliable_pixels,
    student_loss,
    teacher_loss,
)
from nightrain.depthmodel.losses.reprojection import min_reprojection, warp
from nightrain.depthmodel.losses.semantic import semantic_loss
from nightrain.depthmodel.losses.silog import silog_loss
from nightrain.depthmodel.losses.smoothness import smoothness_loss
from nightrain.depthmodel.losses.velocity import velocity_loss
from nightrain.depthmodel.losses.weighted_sum import NonFiniteLoss

BATCH, HEIGHT, WIDTH = 2, 12, 16
IDS = ["sample-a", "sample-b"]
SUPERVISED = TeacherLoss(photometric=0, smoothness=0, velocity=0, silog=1)


def batch(seed: int = 0) -> dict[str, Tensor]:
    """What a loader gives, collated: the second sample has no next image and no LiDAR."""
    g = torch.Generator().manual_seed(seed)
    images = {k: torch.rand(BATCH, 3, HEIGHT, WIDTH, generator=g) for k in SIDES_AND_TARGET}
    K = torch.tensor([[20.0, 0, 7.5], [0, 20, 5.5], [0, 0, 1]]).expand(BATCH, 3, 3)
    lidar = 5 + 90 * torch.rand(BATCH, HEIGHT, WIDTH, generator=g)  # some beyond 80 m
    lidar[1] = 0
    label = 4 + 20 * torch.rand(BATCH, HEIGHT, WIDTH, generator=g)
    label[:, :2] = 0
    return images | {
        "intrinsics": K,
        "previous_intrinsics": K,
        "next_intrinsics": K,
        "T_previous_camera": moved(-0.5),
        "T_next_camera": moved(0.7),
        "has_previous": torch.tensor([True, True]),
        "has_next": torch.tensor([True, False]),
        "lidar_depth_m": lidar,
        "label_depth_m": label,
        "label_confidence": torch.rand(BATCH, HEIGHT, WIDTH, generator=g),
    }


SIDES_AND_TARGET = ("target", "previous", "next")


def moved(by_m: float) -> Tensor:
    T = torch.eye(4).repeat(BATCH, 1, 1)
    T[:, 0, 3] = by_m
    return T


def predicted() -> Poses:
    return {"previous": moved(-0.4), "next": moved(0.4)}


def inverse_depth(seed: int = 1, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return (0.03 + 0.2 * torch.rand(BATCH, 1, *size, generator=g)).requires_grad_()


def test_teacher_total_is_the_weighted_sum_of_its_parts() -> None:
    data, d, poses = batch(), inverse_depth(), predicted()
    weights = TeacherLoss(photometric=2.0, smoothness=0.3, velocity=0.5, silog=0.7)
    loss = teacher_loss(weights, data, d, poses)
    K, has = data["intrinsics"], [data["has_previous"], data["has_next"]]
    sources = [data["previous"], data["next"]]
    warped = [warp(s, 1 / d, T, K, K) for s, T in zip(sources, poses.values(), strict=True)]
    lidar = data["lidar_depth_m"][:, None]
    true = [data["T_previous_camera"], data["T_next_camera"]]
    expected = {
        "photometric": min_reprojection(data["target"], sources, warped, has).loss,
        "velocity": velocity_loss(list(poses.values()), true, has),
        "smoothness": smoothness_loss(d, data["target"]),
        "silog": silog_loss(1 / d, lidar, lidar <= 80).loss,
    }
    assert set(loss.parts) == set(expected)
    for name, part in expected.items():
        assert part > 0
        torch.testing.assert_close(loss.parts[name], part.detach(), msg=name)
    total = sum(getattr(weights, name) * part for name, part in expected.items())
    torch.testing.assert_close(loss.total, total)
    values = loss.values(IDS)
    assert values["loss"] == pytest.approx(loss.total.item())
    assert values["images_without_depth"] == 1 and 0 < values["active"] < values["seen"] < 1


def test_defaults_are_md4alls_and_a_part_without_weight_is_not_computed() -> None:
    assert TeacherLoss() == TeacherLoss(photometric=1, smoothness=1e-3, velocity=0.02, silog=0)
    loss = teacher_loss(TeacherLoss(), batch(), inverse_depth(), predicted())
    assert set(loss.parts) == {"photometric", "smoothness", "velocity"}
    supervised = {"lidar_depth_m": batch()["lidar_depth_m"]}  # no image, no pose
    assert set(teacher_loss(SUPERVISED, supervised, inverse_depth()).parts) == {"silog"}


def test_gradients_reach_depth_and_poses() -> None:
    d, poses = inverse_depth(), {k: T.requires_grad_() for k, T in predicted().items()}
    teacher_loss(TeacherLoss(smoothness=0), batch(), d, poses).total.backward()
    assert d.grad is not None and torch.isfinite(d.grad).all() and d.grad.any()
    for T in poses.values():
        assert T.grad is not None and torch.isfinite(T.grad).all() and T.grad[:, :3].any()
    next_grad = poses["next"].grad
    assert next_grad is not None and not next_grad[1].any()  # that sample has no next image


def test_a_network_of_another_size_is_compared_at_the_images_size() -> None:
    """A slope stays the same slope: half the size, and the pixel centres are where they were."""
    columns = torch.arange(2 * WIDTH).float().expand(BATCH, 1, 2 * HEIGHT, 2 * WIDTH)
    large = 0.05 + 0.002 * columns
    small = 0.05 + 0.002 * (2 * torch.arange(WIDTH).float() + 0.5).expand(BATCH, 1, HEIGHT, WIDTH)
    a = teacher_loss(TeacherLoss(), batch(), large.bfloat16().float(), predicted()).values(IDS)
    b = teacher_loss(TeacherLoss(), batch(), small, predicted()).values(IDS)
    assert a == pytest.approx(b, rel=0.02)
    exact = teacher_loss(SUPERVISED, batch(), large).values(IDS)
    assert exact == pytest.approx(teacher_loss(SUPERVISED, batch(), small).values(IDS), rel=1e-5)


def test_student_total_is_the_weighted_sum_of_its_parts() -> None:
    data, d = batch(), inverse_depth()
    features, frozen = torch.randn(2, BATCH, 8, 3, 4).unbind()
    mask = torch.rand(BATCH, 1, HEIGHT, WIDTH) < 0.5
    weights = StudentLoss(distillation=1.5, semantic=0.2, silog=0.1, smoothness=0.4)
    loss = student_loss(weights, data, d, mask=mask, features=features, frozen_features=frozen)
    label, lidar = data["label_depth_m"][:, None], data["lidar_depth_m"][:, None]
    weight = (label > 0) * mask * data["label_confidence"][:, None]
    expected = {
        "distillation": distillation_loss(d, 1 / label.clamp(min=1e-3), weight),
        "semantic": semantic_loss(features, frozen),
        "silog": silog_loss(1 / d, lidar, lidar <= 80).loss,
        "smoothness": smoothness_loss(d, data["target"]),
    }
    assert set(loss.parts) == set(expected)
    total = sum(getattr(weights, name) * part for name, part in expected.items())
    torch.testing.assert_close(loss.total, total)
    plain = student_loss(
        replace(weights, confidence=False), data, d, features=features, frozen_features=frozen
    )
    even = distillation_loss(d, 1 / label.clamp(min=1e-3), (label > 0).float())
    torch.testing.assert_close(plain.parts["distillation"], even.detach())
    loss.total.backward()
    assert d.grad is not None and torch.isfinite(d.grad).all()
    share = ((label > 0) & mask).float().mean().item()
    assert loss.values(IDS)["supervised"] == pytest.approx(share)


def test_images_without_a_label_are_counted() -> None:
    data = batch()
    data["label_depth_m"][1] = 0
    values = student_loss(StudentLoss(semantic=0), data, inverse_depth()).values(IDS)
    assert values["images_without_label"] == 1


def scene() -> tuple[dict[str, Tensor], Poses]:
    """A plane at 10 m that shifts by 2 pixels a metre; labels are right on the left half only."""
    data = batch()
    data["previous"] = data["target"].roll(2, 3)
    data["next"] = data["target"].roll(-2, 3)
    label = torch.full((BATCH, HEIGHT, WIDTH), 10.0)
    label[..., WIDTH // 2 :] = 4.0
    return data | {"label_depth_m": label}, {"previous": moved(1.0), "next": moved(-1.0)}


def test_reliable_pixels_are_those_where_the_labels_explain_the_images() -> None:
    data, poses = scene()
    student = torch.full((BATCH, 1, HEIGHT, WIDTH), 1 / 6.0)
    student[..., WIDTH // 2 :] = 1 / 10.0  # wrong on the left, right on the right
    reliable = reliable_pixels(data, student, poses, "reliable")
    assert reliable.shape == (BATCH, 1, HEIGHT, WIDTH) and not reliable.requires_grad
    assert reliable[..., 2 : WIDTH // 2 - 1].all()
    assert not reliable[0, ..., WIDTH // 2 + 1 : WIDTH - 3].any()
    printed = reliable_pixels(data, student, poses, "printed")
    assert torch.equal(printed[0, ..., 3:13], ~reliable[0, ..., 3:13])
    assert reliable_pixels(data, student, poses, "none").all()


def test_pixels_without_a_label_are_kept_by_the_mask() -> None:
    """Whatever depth stands in for the missing one, here the very one that explains the images."""
    data, _ = scene()
    data["label_depth_m"][..., WIDTH // 2 :] = 0
    poses: Poses = {"previous": moved(0.1), "next": moved(-0.1)}  # 2 pixels at 1 m
    student = torch.full((BATCH, 1, HEIGHT, WIDTH), 0.5)
    for mode in ("reliable", "printed"):
        assert reliable_pixels(data, student, poses, mode)[..., WIDTH // 2 :].all()


# --- what must not pass in silence ---


@pytest.mark.parametrize("weights", [TeacherLoss(smoothness=0, velocity=0), SUPERVISED])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_depth_that_is_no_number_names_the_sample(weights: TeacherLoss, value: float) -> None:
    """Even where masks hide it: one pixel of the second sample, which has no LiDAR."""
    broken = inverse_depth().detach().clone()
    broken[1, 0, 3, 3] = value
    loss = teacher_loss(weights, batch(), broken, predicted())
    with pytest.raises(NonFiniteLoss, match=r"not finite for sample-b\. ") as caught:
        loss.values(IDS)
    assert "sample-a" not in str(caught.value) and isinstance(caught.value, NightrainError)


def test_a_pose_that_is_no_number_is_found() -> None:
    poses = {k: T.clone() for k, T in predicted().items()}
    poses["previous"][0, 0, 3] = torch.nan
    with pytest.raises(NonFiniteLoss, match="sample-a"):
        teacher_loss(TeacherLoss(velocity=0), batch(), inverse_depth(), poses).values(IDS)


def test_a_part_that_is_no_number_is_named() -> None:
    data, features = batch(), torch.randn(BATCH, 8, 3, 4)
    frozen = features.clone()
    frozen[0, 0, 0, 0] = torch.nan
    loss = student_loss(
        StudentLoss(), data, inverse_depth(), features=features, frozen_features=frozen
    )
    with pytest.raises(NonFiniteLoss, match=r"loss, semantic is not finite.*sample-a, sample-b"):
        loss.values(IDS)


def test_a_missing_input_is_named() -> None:
    data = batch()
    with pytest.raises(ValueError, match="need poses"):
        teacher_loss(TeacherLoss(), data, inverse_depth())
    with pytest.raises(ValueError, match="features"):
        student_loss(StudentLoss(), data, inverse_depth())
    with pytest.raises(ValueError, match="every weight is 0"):
        teacher_loss(replace(SUPERVISED, silog=0), data, inverse_depth())
    del data["lidar_depth_m"]
    with pytest.raises(ValueError, match="no 'lidar_depth_m'"):
        teacher_loss(SUPERVISED, data, inverse_depth())
