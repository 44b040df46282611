"""T5: what an auxiliary view may never change, and what it must be able to."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.enhancer import AuxView, AuxViewEnhancer, Low, ViewDoubt
from nightrain.depthmodel.auxview.matching import Match
from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.config import AuxViewConfig

SIZE, CHANNELS, BATCH = (48, 80), (6, 10), 3
GRIDS = ((12, 20), (6, 10))
ALIGNMENTS = ("stereo", "pose", "search")


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def low(seed: int = 0, batch: int = BATCH) -> Low:
    e0, e1 = (noise(seed + i, batch, CHANNELS[i], *GRIDS[i]) for i in range(2))
    return e0, e1


def moved(features: Low, cells: int) -> Low:
    """What a partner to the right sees of a plane, `cells` of e0 away."""
    return features[0].roll(-cells, 3), features[1].roll(-cells // 2, 3)


def view(features: Low, present: tuple[bool, ...] = (True,) * BATCH, seed: int = 5) -> AuxView:
    K = torch.tensor([[60.0, 0, 39.5], [0, 60.0, 23.5], [0, 0, 1]]).expand(BATCH, 3, 3)
    T = torch.eye(4).repeat(BATCH, 1, 1)
    T[:, 0, 3] = -0.54
    images = torch.sigmoid(noise(seed, 2, BATCH, 3, *SIZE))
    inverse_depth = torch.full((BATCH, 1, *SIZE), 0.2)
    return AuxView(features, torch.tensor(present), K, K, T, inverse_depth, (images[0], images[1]))


def enhancer(
    alignment: str = "stereo", *, woken: bool = False, **settings: object
) -> AuxViewEnhancer:
    torch.manual_seed(0)
    config = AuxViewConfig.model_validate(
        {"alignment": alignment, "max_disparity_px": 24, "num_planes": 8, "window_cells": 3}
        | {"search_radius_cells": 2, "attention_window": 4, "attention_channels": 8}
        | settings
    )
    made = AuxViewEnhancer(CHANNELS, config)
    if woken:
        with torch.no_grad():
            for index, parameter in enumerate(made.parameters()):
                parameter.add_(0.1 * noise(index, *parameter.shape))
    return made


def changed(a: Low, b: Low) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_without_a_view_the_tensors_are_the_very_same(alignment: str) -> None:
    made, features = enhancer(alignment, woken=True), low()
    assert made(features, None, SIZE) is features
    none = made(features, view(low(3), (False,) * BATCH), SIZE)
    assert none[0] is features[0] and none[1] is features[1]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("compare", ["features", "images"])
def test_at_the_start_a_view_changes_no_bit(alignment: str, compare: str) -> None:
    features = low()
    plain = enhancer(alignment, compare=compare)(features, view(moved(features, 2)), SIZE)
    woken = enhancer(alignment, compare=compare, woken=True)
    assert not changed(plain, features)
    assert changed(woken(features, view(moved(features, 2)), SIZE), features)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_a_mixed_batch_is_its_samples_one_by_one(alignment: str) -> None:
    made, features = enhancer(alignment, woken=True), low()
    aux = view(moved(features, 2), (True, False, True))
    both = made(features, aux, SIZE)
    for index in range(BATCH):
        at = torch.tensor([index])
        one = made((features[0][at], features[1][at]), aux.select(at), SIZE)
        for all_, alone in zip(both, one, strict=True):
            torch.testing.assert_close(all_[index], alone[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(both[0][1], features[0][1]) and torch.equal(both[1][1], features[1][1])
    assert not torch.equal(both[0][0], features[0][0])


def test_what_an_absent_view_holds_is_never_looked_at() -> None:
    made, features = enhancer(woken=True), low()
    aux = view(moved(features, 2), (True, False, True))
    expected = made(features, aux, SIZE)
    broken = [x.clone() for x in (*aux.features, aux.T_aux_camera) if x is not None]
    for x in broken:
        x[1] = torch.nan
    found = made(features, aux._replace(features=tuple(broken[:2]), T_aux_camera=broken[2]), SIZE)
    assert not changed(found, expected)


def test_where_nothing_is_valid_no_bit_changes() -> None:
    made, features = enhancer(woken=True), low()
    aux = view(moved(features, 2))
    match = made.align(features, aux, SIZE)
    nowhere = Match(match.shift, torch.zeros_like(match.validity), match.inverse_depth)
    assert not changed(made.fuse(features, aux, nowhere), features)
    assert changed(made.fuse(features, aux, match), features)


def test_a_wrong_view_changes_far_less_than_the_right_one() -> None:
    made, features = enhancer(woken=True), low()
    right, wrong = (made(features, view(f), SIZE) for f in (moved(features, 2), low(20)))
    far, little = ((a[0] - features[0]).abs().mean() for a in (right, wrong))
    assert 0 < little < 0.4 * far


def test_a_view_of_which_little_matches_is_doubted_as_a_whole() -> None:
    """The same cell, as valid for itself: alone in its view it counts for next to nothing."""
    doubt = ViewDoubt()
    alone, among = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    alone[..., 3, 3] = 1
    assert doubt(alone)[..., 3, 3].max() < 1e-3 < 0.99 < doubt(among)[..., 3, 3].min()
    assert torch.equal(doubt(alone) == 0, alone == 0)


def test_wrong_views_are_other_samples_and_keep_their_cameras() -> None:
    K, T = torch.eye(3).repeat(BATCH, 1, 1), torch.eye(4).repeat(BATCH, 1, 1)
    batch = {
        "stereo": noise(1, BATCH, 3, *SIZE),
        "has_stereo": torch.ones(BATCH),
        "shown_intrinsics": K,
        "stereo_intrinsics": K + 1,
        "T_stereo_camera": T,
        "clear_image": noise(2, BATCH, 3, *SIZE),
    }
    right, wrong = view_of(batch, "stereo"), view_of(batch, "stereo", wrong=1.0)
    assert right is not None and wrong is not None
    assert torch.equal(right.image, batch["stereo"])
    assert torch.equal(wrong.image, batch["stereo"].roll(1, dims=0))
    assert wrong.K_aux is right.K_aux and torch.equal(wrong.present, right.present)
    torch.manual_seed(0)
    some = view_of(batch, "stereo", wrong=0.5)
    assert some is not None
    kept = (some.image == right.image).flatten(1).all(1)
    assert kept.any() and not kept.all()


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_gain_learns_first_and_then_all_the_rest(alignment: str) -> None:
    made, features = enhancer(alignment), low()
    aux = view(moved(features, 2))
    optimiser = torch.optim.SGD(made.parameters(), 0.1)
    for step in range(2):
        optimiser.zero_grad()
        out = made(features, aux, SIZE)
        sum(((e - noise(9, *e.shape)) ** 2).mean() for e in out).backward()
        grads = {n: p.grad for n, p in made.named_parameters()}
        assert all(g is not None and torch.isfinite(g).all() for g in grads.values())
        learns = {n for n, g in grads.items() if g is not None and g.any()}
        gains = {n for n in grads if n.endswith("gamma")}
        assert len(gains) == 2 and (learns == gains if step == 0 else learns > gains)
        optimiser.step()
    # the correction of the match starts at zero, so its hidden layer learns a step later
    late = {n for n in grads if n.startswith("matching.best.hidden")}
    assert learns >= set(grads) - late


def test_one_pixel_of_depth_reaches_the_gain() -> None:
    """T6: the loss is of one cell only."""
    made, features = enhancer(), low()
    out = made(features, view(moved(features, 2)), SIZE)
    out[0][0, :, 5, 10].sum().backward()
    gain = made.get_parameter("fusion.0.gamma").grad
    assert gain is not None and gain.any() and torch.isfinite(gain).all()


def test_a_matched_inverse_depth_can_be_supervised() -> None:
    made, features = enhancer(), low()
    match = made.align(features, view(moved(features, 2)), SIZE)
    assert match.inverse_depth is not None
    expected = 2 * 4 / (60 * 0.54)  # two cells of four pixels
    inner = match.inverse_depth[..., 4:-4]
    assert inner.median().item() == pytest.approx(expected, rel=0.05)
    (match.inverse_depth * match.validity).sum().backward()
    gradient = made.descriptor.project.weight.grad
    assert gradient is not None and gradient.any() and torch.isfinite(gradient).all()


def test_no_gradient_reaches_the_monocular_depth_and_the_features_get_theirs() -> None:
    made, features = enhancer(woken=True), low()
    features = features[0].requires_grad_(), features[1].requires_grad_()
    inverse_depth = torch.full((BATCH, 1, *SIZE), 0.2, requires_grad=True)
    aux = view(moved(low(), 2), (True, False, True))._replace(inverse_depth=inverse_depth)
    made(features, aux, SIZE)[1].sum().backward()
    assert inverse_depth.grad is None
    assert features[1].grad is not None and torch.equal(
        features[1].grad[1], torch.ones_like(features[1].grad[1])
    )


def test_monocular_depth_is_evidence() -> None:
    made, features = enhancer(woken=True), low()
    aux = view(moved(features, 2))
    near = aux._replace(inverse_depth=torch.full((BATCH, 1, *SIZE), 0.5))
    assert changed(made(features, aux, SIZE), made(features, near, SIZE))


@pytest.mark.parametrize("alignment", ["stereo", "pose"])
@pytest.mark.parametrize("missing", ["K", "K_aux", "T_aux_camera"])
def test_cameras_that_are_missing_are_refused(alignment: str, missing: str) -> None:
    aux = view(low())._replace(**{missing: None})
    with pytest.raises(InvalidRequest, match=f"without {missing}, expected all three"):
        enhancer(alignment)(low(), aux, SIZE)
    enhancer("search")(low(), aux, SIZE)


def test_images_that_are_missing_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="without its images"):
        enhancer(compare="images")(low(), view(low())._replace(images=None), SIZE)


def test_a_pair_that_is_not_rectified_is_refused() -> None:
    aux = view(low())
    assert aux.T_aux_camera is not None
    ahead = aux.T_aux_camera.clone()
    ahead[:, 2, 3] = 0.5
    with pytest.raises(InvalidRequest, match="expected rectified pairs"):
        enhancer()(low(), aux._replace(T_aux_camera=ahead), SIZE)


def test_a_view_of_another_size_is_refused() -> None:
    small = (low()[0][..., :10], low()[1][..., :5])
    with pytest.raises(ValueError, match="give both images at one size"):
        enhancer()(low(), view(small), SIZE)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_autocast_does_not_coarsen_the_match(alignment: str) -> None:
    made, features = enhancer(alignment, woken=True), low()
    aux = view(moved(features, 2))
    plain = made.align(features, aux, SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        cast = made.align(features, aux, SIZE)
        out = made(features, aux, SIZE)
    assert torch.equal(cast.shift, plain.shift) and torch.equal(cast.validity, plain.validity)
    assert out[0].dtype == features[0].dtype


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_grids_of_a_vit_and_odd_ones_are_taken(alignment: str) -> None:
    """A ViT's levels share a grid; a pyramid's are ceil of halves."""
    made = enhancer(alignment, woken=True)
    for grids in (((7, 9), (7, 9)), ((7, 11), (4, 6))):
        features = tuple(noise(i, BATCH, CHANNELS[i], *grids[i]) for i in range(2))
        out = made((features[0], features[1]), view((features[0], features[1])), SIZE)
        assert [o.shape for o in out] == [f.shape for f in features]
        assert all(torch.isfinite(o).all() for o in out)


def test_heads_must_divide_the_attention() -> None:
    with pytest.raises(ValidationError, match="must divide attention_channels"):
        AuxViewConfig(attention_channels=10, attention_heads=4)
