"""Throughput of the diffusion engine in images per second, with one more optimisation per line.

    python -m nightrain.benchmarks.generation [--tiny] [--size 768x448] [--batch 16]
        [--images 64] [--json]

No downloaded weights are needed: the command writes SD1.5 with a depth ControlNet with random
weights and loads them as usual. The baseline "naive", in the same process, is a plain diffusers
loop: half precision, one image at a time, PIL in and PNG out. `--tiny` only tests the code on a CPU
with a tiny family; its figures are meaningless.

"x naive" is the speed-up over the baseline. Lines named "lossy" change the images. The last two
columns are the counted TFLOP per image, and the PSNR of a lossy line's images against exact ones
with equal seeds. With random weights, PSNR measures how much a line changes an image, not the image
quality with trained weights.
"""

import argparse
import io
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from nightrain.benchmarks.architectures import SD15, TINY_SD15
from nightrain.benchmarks.random_family import write_random_family
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.denoise import denoise
from nightrain.pipelines.engines.diffusion.embeddings import Conditioner
from nightrain.pipelines.engines.diffusion.models.loading import (
    Models,
    load_models,
    without_progress_bars,
)
from nightrain.pipelines.engines.diffusion.models.settings import Control, DiffusionSettings
from nightrain.pipelines.engines.diffusion.network_inputs import Sample
from nightrain.pipelines.engines.diffusion.output import Decoded, decode
from nightrain.pipelines.engines.diffusion.speed import make_decoder, make_networks
from nightrain.pipelines.engines.diffusion.steps import make_scheduler, tabulate
from nightrain.pipelines.engines.diffusion.transfer import beside_other_work
from nightrain.pipelines.runs.overlap import overlapped

PEAK_FLOPS = 790e12  # H200, dense bf16, as measured by a large matrix product
PROMPT = "At night, a street with cars"


@dataclass(frozen=True)
class Line:
    """One measured line of the table."""

    name: str
    images_per_s: float
    ratio: float  # speed-up over the naive loop
    tflops_per_s: float
    utilisation: float  # of PEAK_FLOPS
    peak_gib: float
    idle_share: float  # of the device, from the profiler; NaN on a CPU
    compile_s: float  # time of the first batch minus that of a later one
    tflop_per_image: float  # counted
    psnr_db: float  # against exact images with equal seeds; NaN for an exact line


@dataclass(frozen=True)
class Job:
    """Workload: what every line of the table generates."""

    size: tuple[int, int]  # (width, height)
    batch: int
    num_images: int
    device: torch.device


def stages(*, compiled: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return the lines' names and settings.

    Exact optimisations accumulate; each lossy one is added to the last exact settings. Lossy lines
    are compared with the images of the first line, which is exact.
    """
    exact: dict[str, Any] = {"scheduler": "unipc", "steps": 30}
    lines = [("batches", dict(exact))]
    exact["channels_last"] = True
    lines.append(("+ channels_last", dict(exact)))
    if compiled:
        exact["compile"] = "default"
        lines.append(("+ torch.compile", dict(exact)))
        exact["compile"] = "max-autotune"
        lines.append(("+ max-autotune", dict(exact)))
    cache = exact | {"compile": "off", "feature_cache": {"interval": 2}}
    lines.append(("lossy: feature cache 2, not compiled", cache))
    cache = exact | {"compile": "off", "feature_cache": {"interval": 4}}
    lines.append(("lossy: feature cache 4, not compiled", cache))
    fast = exact | {"scheduler": "dpmpp-2m", "steps": 20}
    lines.append(("lossy: 20 steps", fast))
    lines.append(("lossy: 20 steps, guidance until 0.5", fast | {"guidance_until": 0.5}))
    lines.append(("lossy: control until 0.7", exact | {"control_end": 0.7}))
    lines.append(("lossy: tiny decoder", exact | {"tiny_decoder": True}))
    few = exact | {"scheduler": "lcm", "steps": 4, "guidance": 1.0}
    lines.append(("lossy: 4 steps", few))
    lines.append(("lossy: 4 steps, tiny decoder", few | {"tiny_decoder": True}))
    return lines


def make_settings(root: Path, dtype: Any, changes: dict[str, Any]) -> DiffusionSettings:
    changes = dict(changes)
    net = Weights(str(root / "controlnet-depth"))
    control = Control(weights=net, end=changes.pop("control_end", 1.0))
    if changes.pop("tiny_decoder", False):
        changes["tiny_decoder"] = Weights(str(root / "taesd"))
    base = Weights(str(root / "base"))
    return DiffusionSettings(base=base, controls=(control,), dtype=dtype, **changes)


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """A control image (H, W, 3) uint8."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def naive(root: Path, job: Job, dtype: torch.dtype, steps: int) -> float:
    """Return images/s of the plain loop."""
    net = ControlNetModel.from_pretrained(root / "controlnet-depth", dtype=dtype)
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        root / "base", controlnet=net, dtype=dtype, safety_checker=None
    )
    pipe.scheduler = make_scheduler("unipc", pipe.scheduler.config)
    pipe.to(job.device)
    pipe.set_progress_bar_config(disable=True)

    def one(number: int) -> None:
        made: Any = pipe(
            PROMPT,
            image=Image.fromarray(picture(number, job.size)),
            negative_prompt="lowres, blurry",
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(number),
        )
        made.images[0].save(io.BytesIO(), "PNG")

    one(0)  # the first call loads kernels
    count = max(2, job.num_images // 8)
    return count / seconds(lambda: [one(n) for n in range(count)], job.device)


class Generator:
    """Runs the engine's steps for one set of settings: prompts and controls in, JPEG bytes out."""

    def __init__(self, models: Models, settings: DiffusionSettings, job: Job) -> None:
        self.models, self.settings, self.job = models, settings, job
        self.networks = make_networks(models, settings)
        self.decoder = make_decoder(models, settings)
        self.conditioner = Conditioner(models)
        scheduler = make_scheduler(settings.scheduler, models.pipe.scheduler.config)
        self.steps = tabulate(scheduler, settings.steps)

    @torch.no_grad()
    def sample(self, number: int) -> Sample:
        """Return the sample of a request number."""
        see, settings = self.conditioner, self.settings
        generator = torch.Generator().manual_seed(number)
        factor = self.models.pipe.vae_scale_factor
        shape = (1, 4, self.job.size[1] // factor, self.job.size[0] // factor)

        def noise() -> torch.Tensor:
            return torch.randn(shape, generator=generator)[0].to(self.job.device)

        return Sample(
            steps=self.steps,
            text=see.text(f"{PROMPT} {number}"),
            negative=see.negative(settings.negative_prompt),
            style=None,
            controls=(see.control(0, picture(number, self.job.size)),),
            start=noise() * self.steps.start_noise,
            noises={k: noise() for k in range(len(self.steps)) if self.steps.draws_noise(k)},
        )

    def embed(self, first: int) -> list[Sample]:
        """Return the samples of the batch that starts at request number `first`."""
        with beside_other_work(self.job.device):
            return [self.sample(first + i) for i in range(self.job.batch)]

    def begin(self, samples: Sequence[Sample]) -> tuple[Decoded, Sequence[Sample]]:
        """Start a batch on the device; returning the samples keeps them alive until it is done."""
        latents = denoise(self.networks, samples, self.settings)
        module: Any = self.models.vae_decoder
        dtype, scale = next(module.parameters()).dtype, module.config.scaling_factor
        most = self.settings.decode_batch_size
        return decode(self.decoder, latents, dtype, scale, most), samples

    def all(self, num_images: int) -> None:
        """Generate images in whole batches and wait until the last one is encoded."""
        sizes = overlapped(
            range(0, num_images, self.job.batch),
            prepare=self.embed,
            begin=self.begin,
            finish=lambda begun: begun[0].pictures(),
            complete=lambda pictures: [num_jpeg_bytes(picture.image) for picture in pictures],
        )
        assert all(all(batch) for batch in sizes)

    def flops_per_image(self) -> float:
        """Return 2 x multiply-adds of one image, counted on the plain networks."""
        plain = Generator(
            self.models, self.settings.model_copy(update={"compile": "off"}), self.job
        )
        with FlopCounterMode(display=False) as counter:
            plain.begin([plain.sample(0)])[0].pictures()
        return counter.get_total_flops()


def plain_pictures(generator: Generator) -> np.ndarray:
    """Generate one batch of images (B, H, W, 3), not compiled, with the same seeds every time."""
    plain = generator.settings.model_copy(update={"compile": "off"})
    maker = Generator(generator.models, plain, generator.job)
    samples = [maker.sample(number) for number in range(generator.job.batch)]
    return np.stack([picture.image for picture in maker.begin(samples)[0].pictures()])


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two batches of uint8 images, decibels."""
    mean_square = float(((a.astype(np.float64) - b) ** 2).mean())
    return 10 * np.log10(255**2 / mean_square) if mean_square else float("inf")


def num_jpeg_bytes(image: np.ndarray) -> int:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.tell()


def measure(name: str, generator: Generator, naive_per_s: float, exact: np.ndarray | None) -> Line:
    """Measure one line; `exact` holds the reference images for a lossy line."""
    psnr = float("nan") if exact is None else psnr_db(plain_pictures(generator), exact)
    job = generator.job
    size = generator.job.batch
    num_images = max(1, job.num_images // size) * size  # whole batches: padding is not measured
    flops = generator.flops_per_image()
    first = seconds(lambda: generator.all(size), job.device)
    again = min(seconds(lambda: generator.all(size), job.device) for _ in range(2))
    if job.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    per_s = num_images / seconds(lambda: generator.all(num_images), job.device)
    peak = torch.cuda.max_memory_allocated() if job.device.type == "cuda" else 0
    return Line(
        name=name,
        images_per_s=per_s,
        ratio=per_s / naive_per_s,
        tflops_per_s=per_s * flops / 1e12,
        utilisation=per_s * flops / PEAK_FLOPS,
        peak_gib=peak / 2**30,
        idle_share=idle_share(generator, num_images),
        compile_s=max(0.0, first - again),
        tflop_per_image=flops / 1e12,
        psnr_db=psnr,
    )


def idle_share(generator: Generator, num_images: int) -> float:
    """Share of the time in which no kernel runs: 1 - (union of kernel times) / wall time."""
    device = generator.job.device
    if device.type != "cuda":
        return float("nan")
    count = min(num_images, 2 * generator.job.batch)
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        wall_s = seconds(lambda: generator.all(count), device)
    spans: list[tuple[float, float]] = sorted(
        (event.time_range.start, event.time_range.end)
        for event in trace.events() or ()
        if "CUDA" in str(event.device_type) and not event.is_user_annotation
    )
    busy_us, reached = 0.0, 0.0
    for start, end in spans:
        busy_us += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - busy_us / 1e6 / wall_s


def seconds(run: Callable[[], object], device: torch.device) -> float:
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronise()
    started = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - started


def run(
    root: Path, job: Job, *, compiled: bool, steps: int | None, only: Sequence[str]
) -> list[Line]:
    """Measure all lines; `steps` overrides the number of steps of each."""
    cuda = job.device.type == "cuda"
    reference = naive(root, job, torch.float16 if cuda else torch.float32, steps or 30)
    none = float("nan")
    lines = [Line("naive", reference, 1.0, *(7 * (none,)))]
    show(lines[-1])
    loaded: dict[object, Models] = {}
    exact: np.ndarray | None = None
    for name, changes in stages(compiled=compiled):
        wanted = not only or any(part in name for part in only)
        if exact is not None and not wanted:
            continue
        if steps:
            changes = changes | {"steps": steps}
        settings = make_settings(root, "bfloat16" if cuda else "float32", changes)
        if settings.tiny_decoder not in loaded:
            loaded.clear()  # one copy of the weights at a time
            loaded[settings.tiny_decoder] = load_models(settings, job.device, offline=True)
        torch._dynamo.reset()  # otherwise the graphs of other lines count as recompilations
        generator = Generator(loaded[settings.tiny_decoder], settings, job)
        if exact is None:  # the first line is the reference, selected or not
            exact = plain_pictures(generator)
        if wanted:
            lossy = name.startswith("lossy")
            lines.append(measure(name, generator, reference, exact if lossy else None))
            show(lines[-1])
    return lines


def show(line: Line) -> None:
    if line.name == "naive":
        print(
            "| | images/s | x naive | TFLOP/s | of 790 | peak GiB | idle | compile s "
            "| TFLOP/image | PSNR dB |"
        )
        print("|---" + 9 * "|---:" + "|")
    print(
        f"| {line.name} | {line.images_per_s:.3g} | {line.ratio:.2f} | {line.tflops_per_s:.3g} | "
        f"{100 * line.utilisation:.1f} % | {line.peak_gib:.1f} | {100 * line.idle_share:.1f} % | "
        f"{line.compile_s:.0f} | {line.tflop_per_image:.3g} | {line.psnr_db:.1f} |",
        flush=True,
    )


def write_models(root: Path, *, tiny: bool) -> None:
    """Write the family with random weights, and a tiny decoder with TAESD's architecture."""
    architecture = replace(TINY_SD15, safety_checker=None) if tiny else SD15
    write_random_family(root, architecture, dtype=torch.float32 if tiny else torch.bfloat16)
    sides = ("encoder", "decoder")
    widths: dict[str, Any] = {f"{side}_block_out_channels": (4, 4, 4, 4) for side in sides}
    AutoencoderTiny(**(widths if tiny else {})).save_pretrained(root / "taesd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="use a tiny family, to test the code")
    parser.add_argument("--size", default="", help="WIDTHxHEIGHT in pixels (default: 768x448)")
    parser.add_argument("--batch", type=int, default=0, help="batch size (default: 16)")
    parser.add_argument("--images", type=int, default=0, help="images per line (default: 64)")
    parser.add_argument("--steps", type=int, help="denoising steps of every line, for a quick look")
    parser.add_argument("--only", nargs="*", default=[], help="run only lines named by these words")
    parser.add_argument("--no-compile", action="store_true", help="skip the compiled lines")
    parser.add_argument("--json", action="store_true", help="print JSON after the table")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    width, height = (given.size or ("64x48" if given.tiny else "768x448")).split("x")
    job = Job(
        size=(int(width), int(height)),
        batch=given.batch or (3 if given.tiny else 16),
        num_images=given.images or (6 if given.tiny else 64),
        device=device,
    )
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu"
    print(f"\n{name}, torch {torch.__version__}, {width}x{height}, batch {job.batch}\n")
    if device.type == "cpu":
        torch.set_num_threads(1)  # with more threads, other load on the machine distorts timings
    with tempfile.TemporaryDirectory() as folder, without_progress_bars():
        write_models(Path(folder), tiny=given.tiny)
        compiled = not given.no_compile
        root = Path(folder)
        lines = run(root, job, compiled=compiled, steps=given.steps, only=given.only)
    print(
        "\nPSNR is against the first exact line with equal seeds. The weights are random, "
        "so it does not measure image quality."
    )
    if given.json:
        print(json.dumps({"device": name, "size": job.size, "lines": [asdict(x) for x in lines]}))


if __name__ == "__main__":
    main()
