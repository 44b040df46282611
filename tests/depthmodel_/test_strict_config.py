"""The strict decoder's settings: checked, unchangeable and light."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from nightrain.depthmodel.strict_config import StrictConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale_bound", -0.1),
        ("lipschitz", float("nan")),
        ("num_half_steps", 0),
        ("upsampling", "bilinear"),
        ("middle_depth_m", 0.0),
        ("sigma", float("inf")),
        ("alpha", 0.25),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        StrictConfig.model_validate({field: value})


def test_it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        StrictConfig().sigma = 1.0


def test_reading_it_needs_no_torch() -> None:
    code = "import sys, nightrain.depthmodel.strict_config; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
