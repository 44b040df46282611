"""The joint gate: scores that are unusual together, though none is beyond its own limit."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.gates.apply import judge
from nightrain.pipelines.gates.built_in.joint import JointLimits, JointSettings, Usual, excess
from nightrain.pipelines.gates.built_in.picture_settings import StructureSettings

FOG = Condition.FOG
USUAL = {
    "structure.lost": Usual(mean=0.3, spread=0.1),
    "structure.novel": Usual(mean=0.2, spread=0.05),
}
SETTINGS = JointSettings(by_condition={FOG: JointLimits(usual=USUAL, most=3.5)})


def codes(lost: float, novel: float, settings: JointSettings = SETTINGS) -> list[str]:
    scores = {"structure": {"lost": lost, "novel": novel}}
    return [code for code, _ in judge((settings,), scores, FOG, 0.5)]


def test_an_excess_is_the_softplus_of_what_is_beyond_half_a_deviation() -> None:
    usual = Usual(mean=1.0, spread=0.5)
    assert excess(1.25, usual) == pytest.approx(math.log(2))
    assert excess(0.0, usual) == pytest.approx(math.log1p(math.exp(-2.5)))
    assert excess(1e6, usual) == pytest.approx(2 * (1e6 - 1) - 0.5)


def test_two_unusual_scores_are_rejected_where_one_is_not() -> None:
    assert codes(0.55, 0.2) == [] and codes(0.3, 0.325) == []  # 2.5 deviations each
    assert codes(0.55, 0.325) == ["joint.unusual"]
    (rejection,) = judge((SETTINGS,), {"structure": {"lost": 0.6, "novel": 0.33}}, FOG, 0.5)
    assert "structure.lost, structure.novel are unusual together: joint score" in rejection.reason


@pytest.mark.parametrize("share", [0.2, 0.05, 0.02])
def test_fitted_limits_reject_about_their_share_of_good_variants(share: float) -> None:
    rng = np.random.default_rng(0)
    good = [
        {"structure.lost": lost, "structure.novel": novel, "alignment.agreement": 0.5}
        for lost, novel in rng.normal((0.3, 0.2), (0.1, 0.05), (2000, 2))
    ]
    fitted = JointSettings().fitted({FOG: good}, {FOG: share})
    limits = fitted.by_condition[FOG]
    assert limits.usual.keys() == USUAL.keys() and fitted.for_version == "2"
    for name, usual in USUAL.items():
        assert limits.usual[name].mean == pytest.approx(usual.mean, rel=0.03)
        assert limits.usual[name].spread == pytest.approx(usual.spread, rel=0.06)
    rejected = [codes(one["structure.lost"], one["structure.novel"], fitted) != [] for one in good]
    assert np.mean(rejected) == pytest.approx(share, rel=0.3)
    assert StructureSettings().judges_all is False


def test_a_condition_without_limits_and_scores_that_are_missing_end_the_run() -> None:
    with pytest.raises(InvalidRequest, match=r"no limits for night.*audit-gates"):
        judge((SETTINGS,), {"structure": {"lost": 0.3, "novel": 0.2}}, Condition.NIGHT, 0.5)
    with pytest.raises(InvalidRequest, match=r"structure\.lost is not measured. List that gate"):
        judge((SETTINGS,), {"alignment": {"agreement": 0.5}}, FOG, 0.5)
    with pytest.raises(InvalidRequest, match="lists none of them"):
        JointSettings().fitted({FOG: [{"alignment.agreement": 0.5}]}, {FOG: 0.1})
    with pytest.raises(ValidationError, match="at least 2"):
        JointLimits(usual={"structure.lost": USUAL["structure.lost"]}, most=1)
