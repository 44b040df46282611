"""The engine as a whole: call counts, independence of neighbours, bad pictures, memory, options."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.diffusion.batch_fit import margin_kept
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.settings import NightBrightness
from support.tiny_diffusion import control, ip_adapter, picture, request, settings


def make(**changes: Any) -> DiffusionEngine:
    name, size = changes.pop("family", "sd15"), changes.pop("batch_size", 3)
    wanted = settings(name, **changes)
    return DiffusionEngine(wanted, device="cpu", offline=True, batch_size=size)


def digests(variants: Sequence[Variant]) -> list[str]:
    return [hashlib.sha256(v.image.tobytes()).hexdigest() for v in variants]


@contextmanager
def counted(**modules: torch.nn.Module) -> Iterator[Counter[str]]:
    """Number of forward calls of each module."""
    counts: Counter[str] = Counter()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: counts.update([name]))
        for name, module in modules.items()
    ]
    yield counts
    for hook in hooks:
        hook.remove()


@contextmanager
def changed_output(module: torch.nn.Module, change: Any) -> Iterator[None]:
    """Replace what a module returns by `change(output, number of the call)`."""
    calls = iter(range(10_000))
    hook = module.register_forward_hook(lambda _m, _i, output: change(output, next(calls)))
    yield
    hook.remove()


def styled(number: int) -> Request:
    return request(number, style_image=picture(number % 2), style_id=f"style-{number % 2}")


def test_everything_is_computed_as_often_as_it_must_be() -> None:
    engine = make(ip_adapter=ip_adapter("sd15"), batch_size=3, steps=4)
    pipe = engine.models.pipe
    requests = [styled(i) for i in range(7)]
    requests[3] = replace(requests[3], prompt=requests[0].prompt)
    with counted(
        unet=pipe.unet,
        controlnet=engine.models.controlnets[0],
        text=pipe.text_encoder,
        image=pipe.image_encoder,
        condition=engine.models.condition_embedders[0],
        decoder=pipe.vae.decoder,
    ) as counts:
        engine.generate(requests)
    assert counts == {
        "unet": 4 * 3,  # steps x ceil(7 / 3)
        "controlnet": 4 * 3,
        "text": 6 + 1,  # distinct prompts, the negative one
        "image": 2,  # distinct styles
        "condition": 7,  # images, not steps, not padding
        "decoder": 3,
    }


def test_a_control_outside_its_window_is_not_run() -> None:
    engine = make(controls=(control("sd15", end=0.5),), steps=4)
    with counted(controlnet=engine.models.controlnets[0]) as counts:
        engine.generate([request(0)])
    assert counts["controlnet"] == 2


def test_after_the_guidance_cut_off_half_the_rows_are_run() -> None:
    engine = make(guidance_until=0.5, steps=4, batch_size=3)
    rows = []
    with changed_output(engine.models.pipe.unet, lambda output, _: rows.append(len(output[0]))):
        engine.generate([request(0)])
    assert rows == [6, 6, 3, 3]


def test_the_guidance_cut_off_of_image2image_is_a_share_of_the_steps_that_run() -> None:
    engine = make(mode="image2image", strength=(0.5, 0.5), steps=8, guidance_until=0.5)
    rows = []
    with changed_output(engine.models.pipe.unet, lambda output, _: rows.append(len(output[0]))):
        engine.generate([request(0)])
    assert rows == [6, 6, 3, 3]  # of the four steps that run


def test_image2image_rounds_its_image_once() -> None:
    engine, seen = make(mode="image2image", strength=(0.5, 0.5), dtype="bfloat16"), []
    vae = engine.models.pipe.vae
    hook = vae.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    grey = np.arange(256, dtype=np.uint8).repeat(12).reshape(48, 64, 1).repeat(3, axis=2)
    engine.generate([request(0, image=grey)])
    hook.remove()
    exact = torch.from_numpy(grey).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(seen[0][0], exact.bfloat16())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "mode": "image2image",
            "strength": (0.25, 1.0),
            "steps": 8,
            "guidance_until": 0.6,
            "controls": (control("sd15", start=0.1, end=0.7),),
        },
        {"mode": "image2image", "strength": (0.25, 1.0), "scheduler": "unipc"},
        {"scheduler": "lcm", "guidance": 1.0},
        {"family": "sdxl-union"},
    ],
    ids=["text2image", "windows", "image2image", "lcm", "union"],
)
def test_bytes_depend_on_the_request_alone(options: dict[str, Any]) -> None:
    options = {"controls": (control(options.get("family", "sd15")),)} | options
    engine = make(**options, batch_size=3)
    requests = [request(i) for i in range(5)]
    expected = digests(engine.generate(requests))
    assert len(set(expected)) == 5
    assert digests(engine.generate(requests[::-1])) == expected[::-1]
    assert [digests(engine.generate([r]))[0] for r in requests] == expected
    assert digests(make(**options).generate(requests)) == expected


def test_pictures_of_several_sizes_come_back_in_order() -> None:
    def wide(number: int) -> Request:
        image = picture(number, 48, 80)
        return request(number, image=image, control_images=(image,))

    engine = make(batch_size=2)
    requests = [request(0), wide(1), request(2), wide(3), request(4)]
    made = engine.generate(requests)
    assert [v.image.shape for v in made] == [r.image.shape for r in requests]
    assert digests([made[3]]) == digests(engine.generate([requests[3]]))


def test_severity_is_the_strength_of_image2image() -> None:
    engine = make(mode="image2image", strength=(0.25, 1.0), steps=8)
    mild, strong = engine.generate([request(0, severity=0.0), request(0, severity=1.0)])
    assert (mild.provenance["strength"], strong.provenance["strength"]) == ("0.2500", "1.0000")
    with counted(unet=engine.models.pipe.unet) as counts:
        engine.generate([request(0, severity=0.0)])
        assert counts["unet"] == 2
        engine.generate([request(0, severity=1.0)])
        assert counts["unet"] == 2 + 8


def test_latents_that_are_not_finite_are_made_again_in_float32() -> None:
    engine = make(batch_size=2)
    expected = digests(engine.generate([request(0), request(1)]))

    def spoil(output: Any, call: int) -> Any:
        if call == 1:  # the second step of the first batch, in one row of both halves
            output[0][[0, 2]] = torch.nan
        return output

    with changed_output(engine.models.pipe.unet, spoil):
        made = engine.outcomes([request(0), request(1)])
    assert all(isinstance(v, Variant) for v in made)
    first, second = engine_variants(made)
    assert first.provenance["made_again"] == "the latents are not finite"
    assert "made_again" not in second.provenance
    assert digests([second]) == expected[1:]
    reference = engine.generate([request(0)])[0].image.astype(int)
    assert abs(first.image.astype(int) - reference).max() <= 1


def engine_variants(made: Sequence[Variant | DamagedInput]) -> list[Variant]:
    return [v for v in made if isinstance(v, Variant)]


@pytest.mark.parametrize(
    ("value", "said"),
    [(torch.nan, "not finite"), (-1.0, "black"), (0.2, "flat"), (9.0, "flat|saturated")],
)
def test_a_picture_that_stays_bad_is_rejected_alone(value: float, said: str) -> None:
    engine = make(batch_size=2, decode_batch_size=2)

    def spoil(output: torch.Tensor, _: int) -> torch.Tensor:
        output[0] = value
        return output

    with changed_output(engine.models.pipe.vae.decoder, spoil):
        bad, good = engine.outcomes([request(0), request(1)])
    assert isinstance(good, Variant)
    assert isinstance(bad, DamagedInput) and bad.reason is Reason.BAD_OUTPUT
    with pytest.raises(DamagedInput, match=said):
        raise bad


def test_generate_says_what_was_bad() -> None:
    engine = make()
    with (
        changed_output(engine.models.pipe.vae.decoder, lambda output, _: output * torch.nan),
        pytest.raises(DamagedInput, match="pixels are not finite"),
    ):
        engine.generate([request(0)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_and_leaves_float32_for_a_second_try(dtype: str) -> None:
    engine, exact = make(dtype=dtype), make()
    half, full = engine.generate([request(0)])[0], exact.generate([request(0)])[0]
    assert abs(half.image.astype(float) - full.image).mean() < 12
    before = {k: v.clone() for k, v in engine.models.pipe.unet.state_dict().items()}
    with engine.models.in_float32():
        assert engine.models.pipe.unet.dtype == torch.float32
    after = engine.models.pipe.unet.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_batch_that_no_longer_fits_is_split_and_marked() -> None:
    engine = make(batch_size=4)
    requests = [request(i) for i in range(6)]
    expected = engine.generate(requests)
    rows: list[int] = []

    def full_once(_: Any, arguments: Any) -> None:
        rows.append(len(arguments[0]))
        if rows == [8] * 2:  # the second step of the first batch: 4 samples, both halves
            raise torch.OutOfMemoryError("injected")

    hook = engine.models.pipe.unet.register_forward_pre_hook(full_once)
    made = engine.generate(requests)
    hook.remove()
    assert [v.provenance["batch_size"] for v in made] == ["2", "2", "2", "2", "4", "4"]
    assert [v.provenance.get("split") for v in made] == ["out of memory"] * 4 + [None] * 2
    for ours, theirs in zip(made, expected, strict=True):
        assert abs(ours.image.astype(int) - theirs.image).max() <= 1
    assert digests(made[4:]) == digests(expected[4:])


@pytest.mark.parametrize(("total", "free", "limit"), [(100, 90, 0.85), (100, 40, 0.35)])
def test_a_probe_leaves_a_margin_of_the_memory_that_is_free(
    monkeypatch: pytest.MonkeyPatch, total: int, free: int, limit: float
) -> None:
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, total))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda f, _: fractions.append(f)
    )
    with margin_kept(torch.device("cuda")):
        assert fractions == [pytest.approx(limit)]
    assert fractions[1:] == [1.0]


def test_not_even_one_picture_fits() -> None:
    engine = make(batch_size=4)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("injected")

    hook = engine.models.pipe.unet.register_forward_pre_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        engine.generate([request(0)])
    hook.remove()


def test_nights_are_brought_to_the_mean_of_real_nights() -> None:
    engine = make(night_brightness=NightBrightness(levels=(0.1, 0.3), gamma=(0.2, 8.0)))
    night, rain = engine.generate([request(0), request(0, condition=Condition.RAIN)])
    level = float(night.provenance["night_level"])
    assert 0.1 < level < 0.3 and abs(night.image.mean() / 255 - level) < 0.001
    assert float(night.provenance["brightness_gamma"]) > 1
    assert "brightness_gamma" not in rain.provenance
    assert digests([rain]) == digests(make().generate([request(0)]))


def test_the_safety_checker_flags_and_never_blackens() -> None:
    engine = make(safety_checker=True)
    checker = engine.models.pipe.safety_checker
    plain = digests(make().generate([request(0)]))
    for threshold, said in ((-2.0, "flagged"), (2.0, "passed")):
        checker.concept_embeds_weights.data.fill_(threshold)
        checker.special_care_embeds_weights.data.fill_(2.0)
        made = engine.generate([request(0)])
        assert made[0].provenance["safety_checker"] == said
        assert digests(made) == plain


def test_all_networks_but_loop_and_decoder_run_on_the_side_stream() -> None:
    """Behind the batch in progress, each would make the host wait for that batch."""
    active: list[bool] = []
    places: dict[str, set[bool]] = {}

    @contextmanager
    def side_stream(_: torch.device) -> Iterator[None]:
        active.append(True)
        yield
        active.pop()

    wanted = settings("sd15", safety_checker=True, ip_adapter=ip_adapter("sd15"))
    engine = DiffusionEngine(wanted, device="cpu", offline=True, side_stream=side_stream)
    pipe, models = engine.models.pipe, engine.models
    modules = {
        "text": pipe.text_encoder,
        "style": pipe.image_encoder,
        "control": models.condition_embedders[0],
        "checker": pipe.safety_checker,
        "unet": pipe.unet,
    }
    for name, module in modules.items():
        seen = places.setdefault(name, set())
        module.register_forward_pre_hook(lambda *_, seen=seen: seen.add(bool(active)))
    made = engine.outcomes([request(0, style_image=picture(3)), request(1, style_image=picture(4))])
    assert all(isinstance(variant, Variant) for variant in made)
    assert places.pop("unet") == {False}
    assert places == {name: {True} for name in places}


def test_channels_last_computes_the_same() -> None:
    expected = make().generate([request(0)])[0].image.astype(int)
    made = make(channels_last=True).generate([request(0)])[0].image.astype(int)
    assert abs(made - expected).max() <= 1


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"prompt": " "}, ValueError, "prompt is empty"),
        ({"control_images": ()}, ValueError, "expected one for each of: depth"),
        ({"control_images": (picture(0, 40, 64),)}, ValueError, "all of the frame's size"),
        ({"condition": Condition.CLEAR}, ValueError, "is not supported"),
        ({"severity": float("nan")}, ValueError, "severity is nan"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"image": picture(0, 48, 64)[:47]}, InvalidRequest, "divisible by 8"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make().generate([request(0, **changes)])


def test_an_ip_adapter_needs_a_style_image() -> None:
    with pytest.raises(ValueError, match="needs one"):
        make(ip_adapter=ip_adapter("sd15")).generate([request(0)])


def test_provenance_names_the_bytes_of_the_models() -> None:
    facts = make().generate([request(0)])[0].provenance
    assert facts["device"] == "cpu" and facts["dtype"] == "float32"
    assert facts["model_base"].startswith("base@") and "model_control_0" in facts


def test_a_batch_begun_before_the_last_is_finished_is_the_same() -> None:
    engine = make(batch_size=2)
    requests = [request(i) for i in range(4)]
    expected = digests(engine.generate(requests))
    first, second = engine.embed(requests[:2]), engine.embed(requests[2:])
    begun = [engine.begin(first, 2), engine.begin(second, 2)]
    made = [v for batch in begun for v in engine.finish(batch)]
    assert digests(engine_variants(made)) == expected


def test_a_second_try_leaves_the_batch_begun_after_it_as_it_is() -> None:
    """The float32 of one batch's second try comes between the beginning and end of the next."""
    engine = make(batch_size=2, dtype="bfloat16")
    requests = [request(i) for i in range(4)]
    expected = digests(engine.generate(requests))

    def spoil(output: Any, call: int) -> Any:
        if call == 0:
            output[0][[0, 2]] = torch.nan
        return output

    with changed_output(engine.models.pipe.unet, spoil):
        begun = [engine.begin(engine.embed(r), 2) for r in (requests[:2], requests[2:])]
        late = engine.embed(requests[:2])
        made = [v for batch in begun for v in engine.finish(batch)]
        again = engine.finish(engine.begin(late, 2))
    variants = engine_variants(made)
    assert ["made_again" in v.provenance for v in variants] == [True, False, False, False]
    assert digests(variants)[1:] == expected[1:]
    assert digests(engine_variants(again)) == expected[:2]


def test_on_a_cpu_the_batch_size_is_the_one_that_is_given() -> None:
    assert make().probe(request(0), 13) == 13


def test_the_device_has_a_lock_only_where_it_is_a_gpu() -> None:
    assert make().device_id() == "" and make().device_name() == "cpu"
