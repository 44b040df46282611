"""Shipped weights of the small family: what they must do at least, on few samples."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.depthmodel.package_weights import package_folder
from nightrain.pipelines.small_diffusion.data import views
from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.measure.networks import velocity_losses
from nightrain.pipelines.small_diffusion.sampling import Drawing, Sampler, Sampling
from nightrain.pipelines.small_diffusion.stages.autoencoder import psnr_db
from nightrain.pipelines.small_diffusion.start import Start

FAMILY = package_folder("package:nightrain.pipelines.small_diffusion/weights")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "CONDITIONS", (Condition.CLEAR, Condition.NIGHT))
        for place in (0, 1):
            views.write_place(folder, place)
    return Pool(folder, CPU, held_out=True)


def test_control_and_prompt_lower_the_velocity_loss(pool: Pool) -> None:
    losses = velocity_losses(Start(FAMILY), pool, 6)
    assert losses["held_out"] < 0.8 * losses["other_control"]
    assert losses["held_out"] < 0.8 * losses["other_text"]


def test_the_autoencoder_reconstructs_held_out_views(pool: Pool) -> None:
    assert psnr_db(Start(FAMILY).vae().eval(), pool, 4) > 25.5


def test_night_is_darker_than_rain_by_prompt(pool: Pool) -> None:
    control = pool.controls[0].numpy()
    words = [CONDITIONS[c].phrases[0] for c in (Condition.NIGHT, Condition.RAIN)]
    drawings = [
        Drawing(prompt=f"{text}, a street with 2 cars", control=control, seed=3) for text in words
    ]
    sampler = Sampler(FAMILY, CPU)
    night, rain = sampler.draw(drawings, Sampling(steps=5, guidance=3.0)).astype(float)
    assert night.mean() < 0.6 * rain.mean()
    once = Sampling(steps=1, guidance=1.0)
    both, alone = sampler.draw(drawings, once), sampler.draw(drawings[1:], once)
    np.testing.assert_allclose(alone[0].astype(float), both[1], atol=3)  # whatever the batch


def test_a_night_as_style_picture_darkens_its_own_image_alone(pool: Pool) -> None:
    by_day, at_night = pool.pixels[0].numpy(), pool.pixels[-1].numpy()
    drawings = [
        Drawing(prompt="", control=pool.controls[0].numpy(), seed=3, style=style)
        for style in (at_night, by_day)
    ]
    night, day = Sampler(FAMILY, CPU, adapter=True).draw(drawings, Sampling(steps=4, guidance=2.0))
    assert night.mean() < 0.6 * day.mean()


def test_a_style_image_is_needed_with_the_adapter(tmp_path: Path) -> None:
    drawing = Drawing(prompt="a street", control=np.zeros((128, 224), np.uint8), seed=0)
    with pytest.raises(ValueError, match="style image"):
        Sampler(FAMILY, CPU, adapter=True).draw([drawing], Sampling(steps=1, guidance=3.0))
