"""Throughput of the diffusion engine in images per second, with one more optimisation per line.

    python -m nightrain.benchmarks.generation --models DIR             not compiled: 8 minutes
    python -m nightrain.benchmarks.generation --models DIR --compile default        7 minutes
    python -m nightrain.benchmarks.generation --tiny                   tests the code on a CPU

No downloaded weights are needed: the command writes SD1.5 with a depth ControlNet with random
weights, once per DIR, and loads them as usual. Each line is printed as soon as it is measured, so a
run that is cut off keeps what it has; docs/gpu.md says what that is. The baseline "naive", in the
same process, is a plain diffusers loop: half precision, one image at a time. All lines encode JPEG.

"x naive" is the speed-up over the baseline; "of peak" is the share of the FLOP/s that a large
matrix product reaches in the same process. Rates and idle shares leave out the first and the last
batch.
Lines named "lossy" change the images; PSNR compares them with exact ones of equal seeds. With
random weights it measures how much a line changes an image, not the quality with trained weights.
"""

import argparse
import io
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image

from nightrain.benchmarks.architectures import SD15, TINY_SD15
from nightrain.benchmarks.generation_lines import LineSettings, lines, settings_of
from nightrain.benchmarks.generation_measure import (
    LEAST_BATCHES,
    PROMPT,
    Batches,
    EngineBatches,
    Line,
    Workload,
    encoded,
    flops_per_image,
    measure,
    peak_flops,
    picture,
    plain_images,
    psnr_db,
    seconds,
)
from nightrain.benchmarks.image_size import image_size
from nightrain.benchmarks.random_family import write_random_family, write_tiny_decoder
from nightrain.pipelines.engines.diffusion.models.loading import (
    Models,
    load_models,
)
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.steps import make_scheduler
from nightrain.pipelines.engines.model_loading import quiet_libraries
from nightrain.pipelines.recipes.recipe_file import load_recipe

RECIPE, FRAME_SIZE = "diffusion", (1600, 900)  # the lines have the recipe's size and batch
COLUMNS = ("", "images/s", "x naive", "TFLOP", "of peak", "GiB", "idle", "compile s", "PSNR dB")


class Bench:
    """Lines of one run on one set of written weights."""

    def __init__(self, root: Path, load: Workload, *, steps: int | None, as_json: bool) -> None:
        self._root, self._load, self._steps, self._as_json = root, load, steps, as_json
        self._cuda = load.device.type == "cuda"
        self._loaded: dict[object, Models] = {}
        self._naive_per_s = self._peak = math.nan
        self._exact: np.ndarray | None = None

    def run(self, wanted: Sequence[LineSettings]) -> list[Line]:
        """Measure the baseline and the lines, and print each; one that fails is named."""
        self._peak = peak_flops(self._load.device)
        say({"peak_tflops": self._peak / 1e12}, self._as_json)
        self._naive_per_s, image = naive(self._root, self._load, self._steps or 30)
        for kind in ("JPEG", "PNG"):
            ms = 1e3 * seconds(lambda kind=kind: encoded(image, kind), torch.device("cpu"))
            say({"encoding": kind, "ms_per_image": ms}, self._as_json)
        found = [Line("naive", self._naive_per_s, 1.0)]
        if not self._as_json:
            print("|" + " | ".join(COLUMNS) + "|\n|---" + (len(COLUMNS) - 1) * "|---:" + "|")
        self._show(found[0])
        for line in wanted:
            try:
                found.append(self._line(line))
            except Exception as error:  # the time on a GPU is for the other lines, too
                say(
                    {"name": line.name, "failed": f"{type(error).__name__}: {error}"}, self._as_json
                )
            else:
                self._show(found[-1])
        return found

    def _line(self, line: LineSettings) -> Line:
        settings = settings_of(line, self._root, self._dtype, self._steps)
        models = self._models(settings)
        psnr = self._psnr(line, models, settings)
        flops = flops_per_image(models, settings, self._load)
        with self._batches(line, models, settings) as run:
            rate = measure(run, self._load)
        return Line(
            name=line.name,
            images_per_s=rate.images_per_s,
            ratio=rate.images_per_s / self._naive_per_s,
            tflop_per_image=flops / 1e12,
            utilisation=rate.images_per_s * flops / self._peak,
            peak_gib=rate.peak_gib,
            idle_share=rate.idle_share,
            compile_s=rate.compile_s,
            graphs=rate.graphs,
            made_again=getattr(run, "made_again", 0),
            psnr_db=psnr,
        )

    @property
    def _dtype(self) -> str:
        return "bfloat16" if self._cuda else "float32"

    def _psnr(
        self, line: LineSettings, models: Models, settings: DiffusionSettings
    ) -> float | None:
        """PSNR of a lossy line against the images of the first line, which is exact."""
        if not line.lossy:
            return None
        if self._exact is None:
            exact = settings_of(lines("off")[0], self._root, self._dtype, self._steps)
            self._exact = plain_images(self._models(exact), exact, self._load)
        models = self._models(settings)
        return psnr_db(plain_images(models, settings, self._load), self._exact)

    def _models(self, settings: DiffusionSettings) -> Models:
        """Models of a line: the networks are loaded once, the tiny decoder is added to them."""
        decoder = settings.tiny_decoder
        if decoder not in self._loaded:
            if decoder is None or not self._loaded:
                full = settings.model_copy(update={"tiny_decoder": None})
                self._loaded[None] = load_models(full, self._load.device, offline=True)
            if decoder is not None:
                shared = self._loaded[None]
                tiny: Any = AutoencoderTiny.from_pretrained(
                    self._root / "taesd", dtype=shared.dtype
                )
                tiny.to(self._load.device).eval()
                self._loaded[decoder] = replace(shared, vae_decoder=tiny)
        return self._loaded[decoder]

    @contextmanager
    def _batches(
        self, line: LineSettings, models: Models, settings: DiffusionSettings
    ) -> Iterator[Batches]:
        if not line.shards:
            yield EngineBatches(models, settings, self._load)
            return
        from nightrain.benchmarks.generation_shard import ShardBatches  # needs pyarrow and OpenCV

        with tempfile.TemporaryDirectory() as folder:
            yield ShardBatches(models, settings, self._load, Path(folder))

    def _show(self, line: Line) -> None:
        if self._as_json:
            say(asdict(line), as_json=True)
            return
        shown = (line.tflop_per_image, _percent(line.utilisation), line.peak_gib)
        shown = (*shown, _percent(line.idle_share), line.compile_s, line.psnr_db)
        cells = [
            f"{value:.3g}" if isinstance(value, float) else str(value or "") for value in shown
        ]
        rates = f"{line.images_per_s:.3g} | {line.ratio:.2f}"
        print(f"| {line.name} | {rates} | {' | '.join(cells)} |", flush=True)
        if line.made_again:
            print(
                f"\n{line.made_again} images had a defect and were generated twice.\n", flush=True
            )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def say(facts: dict[str, Any], as_json: bool) -> None:
    """Print facts on a line of their own, at once."""
    if as_json:
        finite = {k: None if _is_infinite(v) else v for k, v in facts.items()}
        print(json.dumps(finite), flush=True)
        return
    words = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
    print(", ".join(words).replace("_", " "), flush=True)


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def naive(root: Path, load: Workload, steps: int) -> tuple[float, np.ndarray]:
    """Return images/s of the plain loop, and its last image (H, W, 3) uint8."""
    dtype = torch.float16 if load.device.type == "cuda" else torch.float32
    net = ControlNetModel.from_pretrained(root / "controlnet-depth", dtype=dtype)
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        root / "base", controlnet=net, dtype=dtype, safety_checker=None
    )
    pipe.scheduler = make_scheduler("unipc", pipe.scheduler.config)
    pipe.to(load.device)
    pipe.set_progress_bar_config(disable=True)

    def one(number: int) -> Image.Image:
        made: Any = pipe(
            PROMPT,
            image=Image.fromarray(picture(number, load.size)),
            negative_prompt="lowres, blurry",
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(number),
        )
        made.images[0].save(io.BytesIO(), "JPEG", quality=95)
        return made.images[0]

    image = one(0)  # the first call loads kernels
    count = max(2, load.batch // 2)
    rate = count / seconds(lambda: [one(n) for n in range(count)], load.device)
    return rate, np.asarray(image)


def write_models(root: Path, device: torch.device, *, tiny: bool, tiny_decoder: bool) -> None:
    """Write what the lines need with random weights, unless it is there from an earlier run."""
    architecture = replace(TINY_SD15, safety_checker=None) if tiny else SD15
    dtype = torch.float32 if tiny else torch.bfloat16
    with torch.device(device):  # random numbers for a billion weights take a CPU half a minute
        if _missing(root / "family", architecture):
            write_random_family(
                root, architecture, dtype=dtype, controls=("depth",), ip_adapter=False
            )
            (root / "family").write_text(str(architecture))
        if tiny_decoder and _missing(root / "decoder", tiny):
            write_tiny_decoder(root / "taesd", width=4 if tiny else 64, dtype=dtype)
            (root / "decoder").write_text(str(tiny))


def _missing(mark: Path, wanted: object) -> bool:
    """Whether a folder lacks a part; exits for one of another architecture."""
    if not mark.exists():
        return True
    if mark.read_text() != str(wanted):
        sys.exit(f"error: {mark.parent} holds models of another architecture; choose another DIR.")
    return False


def parse() -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="use a tiny family, to test the code")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="folder for the random models, which are kept"
    )
    parser.add_argument(
        "--compile",
        choices=("off", "default", "max-autotune"),
        default="off",
        help="mode of torch.compile of all lines (default: off)",
    )
    parser.add_argument(
        "--size", type=image_size, help="WIDTHxHEIGHT in pixels (default: the recipe's)"
    )
    parser.add_argument("--batch", type=int, help="batch size (default: the recipe's)")
    parser.add_argument("--batches", type=int, default=10, help="batches per line (default: 10)")
    parser.add_argument("--steps", type=int, help="denoising steps of every line, for a quick look")
    parser.add_argument("--only", nargs="*", default=[], help="run only lines named by these words")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    given = parser.parse_args()
    if given.batches < LEAST_BATCHES:
        parser.error(f"--batches {given.batches}: the ends are dropped, so give {LEAST_BATCHES}")
    if not lines(given.compile, given.only):
        names = "; ".join(line.name for line in lines(given.compile))
        parser.error(f"--only {' '.join(given.only)}: no line has such a name; there are: {names}")
    return given


def workload(given: argparse.Namespace, device: torch.device) -> Workload:
    """Size and batch: the given ones, or those of the recipe for a frame of nuScenes."""
    recipe = load_recipe(RECIPE)
    size = (64, 40) if given.tiny else recipe.working_size(FRAME_SIZE)
    return Workload(
        size=given.size or size,
        batch=given.batch or (2 if given.tiny else recipe.batch_size),
        num_batches=given.batches,
        device=device,
    )


def main() -> None:
    """Write the models and measure the lines."""
    given = parse()
    started = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = workload(given, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu"
    size = "x".join(map(str, load.size))
    facts = {"device": name, "torch": torch.__version__, "size": size, "batch": load.batch}
    say(facts | {"batches": load.num_batches}, given.json)
    diffusers_logging.set_verbosity_error()
    if device.type == "cpu":
        torch.set_num_threads(1)  # with more threads, other load on the machine distorts timings
    wanted = lines(given.compile, given.only)
    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        root = given.models or Path(folder)
        decoder = any("tiny_decoder" in line.changes for line in wanted)
        write_models(root, device, tiny=given.tiny, tiny_decoder=decoder)
        say({"models_s": time.monotonic() - started}, given.json)
        found = Bench(root, load, steps=given.steps, as_json=given.json).run(wanted)
    if len(found) <= len(wanted):
        sys.exit(f"error: {1 + len(wanted) - len(found)} lines failed")


if __name__ == "__main__":
    main()
