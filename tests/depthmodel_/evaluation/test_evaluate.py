"""Evaluation by condition on datasets on disk, against computations of our own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.geometry.crops import KB_SIZE, kb_crop, kb_then_garg
from nightrain.datasets.ids import frame_id
from nightrain.depthmodel.evaluation.evaluate import (
    BadPrediction,
    average_with_flipped,
    evaluate,
    predict_maps,
    resize_depth,
)
from nightrain.depthmodel.evaluation.frames import TruthFrame
from nightrain.depthmodel.evaluation.metrics import score_image
from nightrain.depthmodel.evaluation.results import (
    IMAGES_FILE,
    Evaluation,
    read_evaluation,
    standard_error,
    write_evaluation,
)
from nightrain.depthmodel.evaluation.settings import (
    BUCKETS,
    PROTOCOLS,
    EvaluationSettings,
    kitti_eigen,
)
from support.evaluation import (
    CONDITIONS,
    by_frame,
    lidar_depth_m,
    make_dataset,
    perfect,
    true_depth_m,
)
from support.synthetic import SyntheticSource, ingest_synthetic

SETTINGS = EvaluationSettings()
SCORED = (0, 1, 2, 3, 4, 6)  # frame 5 has an empty LiDAR depth, frame 7 none


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("evaluation") / "dataset")


@pytest.fixture(scope="module")
def evaluation(root: Path) -> Evaluation:
    return evaluate(by_frame, root, SETTINGS, batch_size=3)


def test_a_perfect_model_and_one_that_is_30_percent_too_far(root: Path) -> None:
    def too_far(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [1.3 * p for p in perfect(images)]

    for predict, abs_rel, d1 in ((perfect, 0.0, 1.0), (too_far, 0.3, 0.0)):
        found = evaluate(predict, root, SETTINGS)
        for bucket in ("day-clear", "night", "day-rain", "night-clear", "night-rain", "all"):
            for cap_m in (80.0, 50.0):
                for scaling, expected in (
                    ("metric", (abs_rel, d1)),
                    ("metric-flip", (abs_rel, d1)),
                    ("median", (0.0, 1.0)),
                    ("median-flip", (0.0, 1.0)),
                ):
                    metrics = found.score(bucket, cap_m, scaling).metrics
                    assert metrics is not None
                    means = (metrics["abs_rel"].mean, metrics["d1"].mean)
                    assert means == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("cap_m", [80.0, 50.0])
def test_means_are_of_images_by_condition(evaluation: Evaluation, cap_m: float) -> None:
    slope = np.linspace(0.9, 1.2, 64)
    by_image = {}
    for index in SCORED:
        g = lidar_depth_m(index)
        assert g is not None
        scored = (g > 0.1) & (g < cap_m)
        p = np.clip(true_depth_m() * slope * (1 + 0.1 * index), 0.1, cap_m)
        by_image[index] = np.mean(np.abs(p - g)[scored] / g[scored])
    sizes = {"day-clear": 3, "night": 2, "day-rain": 1, "night-clear": 1, "night-rain": 1, "all": 6}
    for bucket in BUCKETS:
        members = [i for i in SCORED if CONDITIONS[i] in bucket.conditions]
        score = evaluation.score(bucket.name, cap_m)
        assert score.num_images == len(members) == sizes.get(bucket.name, 0)
        if members:
            assert score.metrics is not None
            expected = np.mean([by_image[i] for i in members])
            assert score.metrics["abs_rel"].mean == pytest.approx(expected, rel=1e-5)
        else:
            assert score.metrics is None
    assert evaluation.sources == {"synthetic": 8}


def test_what_has_no_truth_is_counted_and_named(evaluation: Evaluation, root: Path) -> None:
    skipped = {(s.frame_id, s.cap_m): s.reason for s in evaluation.skipped}
    empty, absent = (frame_id("synthetic", f"val-{i}") for i in (5, 7))
    assert skipped == {
        (empty, 80.0): "no lidar depth from 0.1 to 80 m",
        (empty, 50.0): "no lidar depth from 0.1 to 50 m",
        (absent, 80.0): "no lidar depth",
        (absent, 50.0): "no lidar depth",
    }
    counts = {b: evaluation.score(b).num_skipped for b in ("day-clear", "night", "all", "fog")}
    assert counts == {"day-clear": 0, "night": 2, "all": 2, "fog": 0}
    exact = evaluate(perfect, root, EvaluationSettings(truth="exact"))
    assert exact.score("night").num_images == 4 and not exact.skipped


def test_conditions_are_md4alls() -> None:
    of = {b.name: set(b.conditions) for b in BUCKETS}
    assert of["night"] == of["night-clear"] | of["night-rain"]
    assert of["day-rain"] == {Condition.RAIN} and of["all"] == set(Condition)
    assert [b.name for b in BUCKETS if b.md4all == "tables"] == ["day-clear", "night", "day-rain"]


def test_there_is_nothing_to_score(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no frame of test; it holds 8 of val CAM_FRONT"):
        evaluate(perfect, root, EvaluationSettings(split="test"))
    with pytest.raises(InvalidRequest, match="no frame of val CAM_BACK"):
        evaluate(perfect, root, EvaluationSettings(cameras=("CAM_BACK",)))
    with pytest.raises(InvalidRequest, match="nightrain ingest"):
        evaluate(perfect, tmp_path, SETTINGS)
    with pytest.raises(
        InvalidRequest, match=r"none of the 8 frames .* lidar depth from 0.1 to 0.2 m"
    ):
        evaluate(perfect, root, EvaluationSettings(caps_m=(0.2,)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: np.where(p > 40, np.nan, p), "not finite and positive"),
        (lambda p: np.where(p > 40, np.inf, p), "not finite and positive"),
        (lambda p: p - p.min(), "not finite and positive"),
        (lambda p: p[None], r"float32 \(1, 40, 64\); expected float \(h, w\)"),
        (lambda p: p.astype(np.uint16), "uint16"),
        (lambda p: p.T, "transposed"),
        (lambda p: p[:0], "expected float"),
    ],
)
def test_a_bad_prediction_names_its_frame(
    root: Path, spoil: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    calls: list[int] = []

    def predict(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        calls.append(len(images))
        return [spoil(p) if len(calls) == 2 else p for p in perfect(images)]

    with pytest.raises(BadPrediction, match=message) as caught:
        evaluate(predict, root, EvaluationSettings(scalings=("metric",)), batch_size=1)
    order = [i.frame_id for i in evaluate(perfect, root, SETTINGS).images]
    second = list(dict.fromkeys(order))[1]
    assert second in str(caught.value)


def test_a_prediction_that_is_missing_is_found(root: Path) -> None:
    with pytest.raises(BadPrediction, match="3 depth maps for 4 images"):
        evaluate(lambda images: perfect(images)[1:], root, SETTINGS)


def test_a_small_prediction_is_upsampled_corner_on_corner() -> None:
    ramp = 5 + np.linspace(0, 3, 9)[:, None] + np.linspace(0, 8, 13)[None]
    fine = 5 + np.linspace(0, 3, 40)[:, None] + np.linspace(0, 8, 64)[None]
    np.testing.assert_allclose(resize_depth(ramp, (40, 64)), fine, rtol=1e-6)
    assert resize_depth(ramp, (9, 13)) is ramp


def test_the_flipped_image_is_predicted_and_mirrored_back(root: Path) -> None:
    mirrored_too = evaluate(by_frame, root, SETTINGS)  # slopes from left to right, whatever it sees
    plain = mirrored_too.score("all").metrics
    averaged = mirrored_too.score("all", scaling="metric-flip").metrics
    assert plain is not None and averaged is not None
    frame = TruthFrame(
        frame_id="f",
        source_dataset="s",
        scene_id="c",
        drive_id="d",
        condition=Condition.CLEAR,
        image=np.full((40, 64, 3), 20, np.uint8),
        truth_m=true_depth_m(),
        sha256="",
    )
    found = predict_maps(by_frame, [frame], SETTINGS)[0]
    p = by_frame([frame.image])[0]
    np.testing.assert_array_equal(found[False], p)
    np.testing.assert_allclose(found[True], average_with_flipped(p, p[:, ::-1]))
    assert averaged["abs_rel"].mean != plain["abs_rel"].mean


@pytest.mark.parametrize("average_of", ["inverse-depth", "depth"])
def test_average_of_two_predictions(average_of: str) -> None:
    rng = np.random.default_rng(1)
    p, q = rng.uniform(2, 40, (2, 6, 201))
    # monodepth's three weights, one by one
    across = np.arange(201) / 200
    left = np.where(across <= 0.05, 1.0, np.where(across >= 0.1, 0.0, (0.1 - across) / 0.05))
    right = left[::-1]
    a, b = (1 / p, 1 / q) if average_of == "inverse-depth" else (p, q)
    blended = right * a + left * b + (1 - left - right) * (a + b) / 2
    expected = 1 / blended if average_of == "inverse-depth" else blended
    found = average_with_flipped(p, q, average_of)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], q[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found[:, -1], p[:, -1], rtol=1e-6)


def test_the_test_set_is_named_by_its_content(root: Path, tmp_path: Path) -> None:
    def digest(where: Path, **changes: object) -> str:
        settings = EvaluationSettings.model_validate({"scalings": ("metric",), **changes})
        return evaluate(perfect, where, settings).frames_sha256

    assert digest(root) == digest(root) == digest(make_dataset(tmp_path / "again"))
    assert digest(root, truth="exact") != digest(root)
    other = tmp_path / "other"
    ingest_synthetic(other, SyntheticSource(num_frames=8, split="val"))
    assert digest(other) != digest(root)


def test_batches_change_nothing_and_progress_is_told(root: Path, evaluation: Evaluation) -> None:
    told: list[tuple[int, int]] = []
    again = evaluate(
        by_frame, root, SETTINGS, batch_size=5, progress=lambda d, t: told.append((d, t))
    )
    assert again == evaluation and again.images == evaluation.images
    assert told == [(5, 8), (8, 8)]


def test_an_evaluation_is_read_back(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", evaluation)
    assert read_evaluation(tmp_path / "a") == evaluation
    assert len(evaluation.images) == len(SCORED) * 2 * 4
    write_evaluation(tmp_path / "b", evaluation)
    assert "NaN" not in (tmp_path / "a/evaluation.json").read_text()

    other = evaluation.model_copy(update={"images": evaluation.images[:-1]})
    write_evaluation(tmp_path / "c", other)
    (tmp_path / "b" / IMAGES_FILE).write_bytes((tmp_path / "c" / IMAGES_FILE).read_bytes())
    with pytest.raises(NightrainError, match="of two evaluations"):
        read_evaluation(tmp_path / "b")
    (tmp_path / "b" / IMAGES_FILE).write_bytes(b"no")
    with pytest.raises(NightrainError, match="no complete evaluation"):
        read_evaluation(tmp_path / "b")


def test_no_flipped_bit_of_an_evaluation_is_parsed(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed Parquet footer can give other scores, or abort the process."""
    write_evaluation(tmp_path, evaluation)
    assert read_evaluation(tmp_path) == evaluation

    def parse(*_: object) -> None:
        raise AssertionError("bytes with another digest were parsed")

    monkeypatch.setattr("nightrain.depthmodel.evaluation.results.pq.read_table", parse)
    for name in ("evaluation.json", IMAGES_FILE, "SHA256SUMS"):
        path = tmp_path / name
        data = path.read_bytes()
        for position in range(0, len(data), max(1, len(data) // 200)):
            flipped = bytearray(data)
            flipped[position] ^= 1 << position % 8
            path.write_bytes(flipped)
            with pytest.raises(NightrainError, match="no complete evaluation"):
                read_evaluation(tmp_path)
        path.write_bytes(data)


def test_standard_errors_count_drives(root: Path, tmp_path: Path) -> None:
    values = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 6.0])
    groups = ["a", "a", "b", "b", "c", "c"]  # of one size: the spread of the groups' means
    expected = np.std([1.5, 4.0, 6.5], ddof=1) / np.sqrt(3)
    assert standard_error(values, groups) == pytest.approx(expected)
    each = standard_error(values, list("abcdef"))
    assert each == pytest.approx(values.std(ddof=1) / np.sqrt(6))
    assert standard_error(values, ["a"] * 6) is None
    scores = [
        evaluate(by_frame, where, SETTINGS).score("all")
        for where in (root, make_dataset(tmp_path / "one", num_drives=1))
    ]
    assert [(s.num_scenes, s.num_drives) for s in scores] == [(2, 2), (2, 1)]
    assert scores[0].metrics is not None and scores[1].metrics is not None
    assert scores[0].metrics["abs_rel"].standard_error is not None
    assert scores[1].metrics["abs_rel"].standard_error is None


def test_kitti_is_scored_inside_its_crops() -> None:
    width, height = 1242, 375
    settings = kitti_eigen(input_crop="kb")
    truth_m = np.full((height, width), 20.0, np.float32)
    frame = TruthFrame(
        frame_id="f",
        source_dataset="kitti",
        scene_id="c",
        drive_id="d",
        condition=Condition.CLEAR,
        image=np.zeros((height, width, 3), np.uint8),
        truth_m=truth_m,
        sha256="",
    )
    seen: list[tuple[int, ...]] = []

    def predict(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        seen.extend(image.shape for image in images)
        return [np.full((88, 304), 10.0, np.float32) for _ in images]

    map_m = predict_maps(predict, [frame], settings)[0][False]
    assert seen == [(352, 1216, 3)] * 2
    inside = kb_crop((width, height)).apply(np.ones((height, width)))
    assert map_m.sum() == pytest.approx(10 * inside.size)  # nothing outside what it saw
    crop = settings.scored_crop((width, height))
    assert crop == kb_then_garg((width, height))
    found = score_image(map_m, truth_m, min_depth_m=settings.min_depth_m, crop=crop)
    assert found is not None and found.abs_rel == pytest.approx(0.5)


def test_settings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValidationError, match="scores pixels outside it"):
        EvaluationSettings(input_crop="kb", crop="garg")
    with pytest.raises(ValidationError, match="more than 1"):
        EvaluationSettings(min_depth_m=1.0, caps_m=(0.5,))
    with pytest.raises(InvalidRequest, match="already cropped"):
        kitti_eigen("garg_on_full_frame").scored_crop(KB_SIZE)
    assert kitti_eigen().scored_crop(KB_SIZE) == kb_then_garg(KB_SIZE)


def test_protocols_are_as_published() -> None:
    def of(name: str) -> tuple[str, float, tuple[float, ...], str]:
        settings = PROTOCOLS[name]()
        assert settings.truth == "lidar" and settings.protocol == name
        return settings.split, settings.min_depth_m, settings.caps_m, settings.crop

    assert of("md4all-nuscenes") == ("val", 0.1, (80.0,), "none")
    assert of("md4all-robotcar") == ("test", 0.1, (50.0,), "none")
    assert of("kitti-eigen") == ("test", 1e-3, (80.0,), "kb_then_garg")
    assert of("kitti-eigen-full")[3] == "garg_on_full_frame"
