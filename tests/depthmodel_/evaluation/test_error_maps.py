"""Error maps: what is drawn where, and which frames are chosen."""

from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.geometry.crops import Crop
from nightrain.depthmodel.evaluation.error_maps import (
    BACKGROUND,
    LABEL_PX,
    NO_TRUTH_COLOUR,
    error_panels,
    error_sheet,
    representative_frames,
)
from nightrain.depthmodel.evaluation.evaluate import evaluate
from nightrain.depthmodel.evaluation.frames import TruthFrame
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from support.evaluation import by_frame, make_dataset


def frame(truth_m: np.ndarray | None) -> TruthFrame:
    return TruthFrame(
        frame_id="0123456789",
        source_dataset="s",
        scene_id="scene-1",
        drive_id="d",
        condition=Condition.NIGHT,
        image=np.full((40, 80, 3), 90, np.uint8),
        truth_m=truth_m,
        sha256="",
    )


def test_panels_show_depth_and_error_where_they_are() -> None:
    truth_m = np.full((40, 80), 10.0, np.float32)
    truth_m[:, 60:] = 0
    prediction_m = truth_m.copy()
    prediction_m[:, 20:40] = 2.0  # 80 % off
    prediction_m[:, 40:60] = 11.0
    prediction_m[:, 60:] = 79.0
    seen, truth, predicted, error = error_panels(
        frame(truth_m), prediction_m, crop=Crop(0, 10, 40, 70), width_px=160
    )
    assert {p.picture.shape for p in (seen, truth, predicted, error)} == {(80, 160, 3)}
    assert (seen.picture == 90).all() and "night, scene-1, 01234567" in seen.label
    row = error.picture[40].astype(int)
    assert tuple(row[5]) == tuple(row[150]) == NO_TRUTH_COLOUR  # outside the crop; no truth
    assert row[30].sum() < 40 < row[100].sum() < row[60].sum() and (row[60] > 240).all()
    assert "abs_rel 0.360" in error.label  # (10 x 0 + 20 x 0.8 + 20 x 0.1) / 50
    depth = predicted.picture[40].astype(int).sum(-1)
    assert depth[60] > depth[30] > depth[100] > depth[150]  # brighter where nearer
    assert tuple(truth.picture[40, 150]) == NO_TRUTH_COLOUR


def test_sparse_truth_is_drawn_larger_and_no_truth_is_said() -> None:
    sparse_m = np.zeros((400, 800), np.float32)
    sparse_m[201, 403] = 10.0
    _, truth, _, error = error_panels(
        frame(sparse_m), np.full((400, 800), 30.0, np.float32), width_px=100
    )
    drawn = (truth.picture != NO_TRUTH_COLOUR).any(-1)
    assert (
        4 <= drawn.sum() <= 16 and (error.picture != NO_TRUTH_COLOUR).any(-1).sum() == drawn.sum()
    )
    for nothing in (None, np.zeros((40, 80), np.float32)):
        _, _, _, error = error_panels(frame(nothing), np.full((40, 80), 30.0, np.float32))
        assert "no valid truth" in error.label and (error.picture == NO_TRUTH_COLOUR).all()


def test_a_sheet_has_a_line_per_frame() -> None:
    lines = [
        error_panels(frame(None), np.ones((40, 80), np.float32), width_px=width)
        for width in (80, 80, 40)
    ]
    sheet = error_sheet(lines)
    assert sheet.shape == (3 * (40 + LABEL_PX + 4), 4 * 84 + 4, 3)
    assert (sheet[LABEL_PX + 5, 4:84] == 90).all() and (sheet[:, :4] == BACKGROUND).all()
    assert (sheet[:LABEL_PX] != BACKGROUND).any()  # the label is there


def test_the_median_and_the_worst_frames_are_chosen(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset")
    found = evaluate(by_frame, root, EvaluationSettings(scalings=("metric",)))
    errors = {i.frame_id: i.metrics.abs_rel for i in found.images if i.cap_m == 80}
    clear = sorted(
        (i.frame_id for i in found.images if i.condition == "clear" and i.cap_m == 80),
        key=errors.__getitem__,
    )
    chosen = representative_frames(found, 2)
    assert chosen[:2] == clear[1:] and len(clear) == 3
    assert len(chosen) == 2 + 1 + 1 + 1  # one rain, one night, one night-rain frame has truth
    assert representative_frames(found, 1)[0] == clear[1]
