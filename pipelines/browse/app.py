"""Application of the page: addresses of the page itself, its data and its pictures.

Nothing of a request reaches the disk: samples are looked up in the index, pictures and files of
the page by their names.
"""

from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from nightrain.datasets.errors import DiskFull, InvalidRequest, NightrainError
from nightrain.pipelines.browse.charts import Charts, LumaChart, charts, luma_chart
from nightrain.pipelines.browse.details import details
from nightrain.pipelines.browse.guard import Access, Application, Guard
from nightrain.pipelines.browse.index import SampleIndex, is_reviewable
from nightrain.pipelines.browse.live import LiveSamples
from nightrain.pipelines.browse.pictures import media_type
from nightrain.pipelines.browse.sample_filter import SampleFilter
from nightrain.pipelines.browse.verdicts import Verdict

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE = "index.html"
PICTURE_HEADERS = {"cache-control": "private, max-age=600"}
MOST_ITEMS = 500


class PageRequest(SampleFilter):
    """A part of the samples that a filter shows."""

    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=MOST_ITEMS)


class GivenVerdict(BaseModel):
    """A verdict as the page sends it."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(max_length=100)
    verdict: Verdict
    reason: str = Field(default="", max_length=500)


def make_app(live: LiveSamples, access: Access | None = None) -> Application:
    """Make the application of a dataset's samples, behind its guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(NightrainError, _explained)
    _add_page(app, live)
    _add_data(app, live)
    _add_samples(app, live)
    _add_pictures(app, live)
    return Guard(app, access or Access())


def _add_page(app: FastAPI, live: LiveSamples) -> None:
    content = page_files()

    @app.get("/")
    @app.get("/statistics")
    def page() -> Response:
        return _file(content, PAGE)

    @app.get("/sample/{key}")
    def sample_page(key: str) -> Response:
        return _file(content, PAGE, 200 if live.now().samples.number(key) is not None else 404)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in content:
            raise HTTPException(404, "There is no such file.")
        return _file(content, name)


def _add_data(app: FastAPI, live: LiveSamples) -> None:
    @app.get("/api/dataset")
    def dataset() -> dict[str, Any]:
        index = live.now().samples
        return {
            "name": index.root.resolve().name,
            "total": len(index),
            "measures": list(index.rows.measures),
            "scenes": index.scenes(),
            "recipes": index.rows.shown.recipes,
            "problems": index.problems,
        }

    @app.get("/api/total")
    def total() -> dict[str, int]:
        return {"total": len(live.now().samples)}

    @app.get("/api/facets")
    def facets(chosen: Annotated[SampleFilter, Query()]) -> dict[str, Any]:
        index = live.now().samples
        found = {"total": len(index.numbers(chosen)), "facets": index.facets(chosen)}
        return found | {"of": len(index)}

    @app.get("/api/charts")
    def charts_of(chosen: Annotated[SampleFilter, Query()]) -> Charts:
        return charts(live.now().samples, chosen)

    @app.get("/api/luma")
    def luma(chosen: Annotated[SampleFilter, Query()]) -> LumaChart:
        return luma_chart(*live.now(), chosen)


def _add_samples(app: FastAPI, live: LiveSamples) -> None:
    @app.get("/api/samples")
    def samples(part: Annotated[PageRequest, Query()]) -> dict[str, Any]:
        index = live.now().samples
        numbers = index.numbers(part)
        shown = numbers[part.offset : part.offset + part.limit]
        return {"total": len(numbers), "items": index.page(shown)}

    @app.get("/api/samples/{key}/position")
    def position(key: str, chosen: Annotated[SampleFilter, Query()]) -> dict[str, int]:
        index = live.now().samples
        found = (index.numbers(chosen) == _number(index, key)).nonzero()[0]
        return {"position": int(found[0]) if len(found) else -1}

    @app.get("/api/samples/{key}")
    def sample(key: str) -> dict[str, Any]:
        index, pictures = live.now()
        return details(index, pictures, _number(index, key))

    @app.post("/api/review")
    def review(given: GivenVerdict) -> dict[str, Any]:
        index = live.now().samples
        number = _number(index, given.key)
        if not is_reviewable(index.row(number)["kind"]):
            raise InvalidRequest(
                f"{given.key} is not a variant; only variants have verdicts. Open one of them."
            )
        recorded = index.record(number, given.verdict, given.reason)
        return {"review": None if recorded is None else recorded.model_dump(mode="json")}


def _add_pictures(app: FastAPI, live: LiveSamples) -> None:
    @app.get("/thumbnail/{key}")
    def thumbnail(key: str) -> Response:
        index, pictures = live.now()
        found = pictures.thumbnail(_number(index, key))
        if found is None:
            raise HTTPException(404, "This row has no picture.")
        return Response(found, headers=PICTURE_HEADERS, media_type="image/jpeg")

    @app.get("/picture/{key}/{name}")
    def picture(key: str, name: str) -> Response:
        index, pictures = live.now()
        data = pictures.picture(_number(index, key), name)
        if data is None:
            raise HTTPException(404, "This sample has no such picture.")
        return Response(data, headers=PICTURE_HEADERS, media_type=media_type(data))


def page_files() -> dict[str, bytes]:
    """Files of the page by name, read once."""
    folder = files("nightrain.pipelines.browse").joinpath("page")
    return {
        one.name: one.read_bytes()
        for one in folder.iterdir()
        if one.name[one.name.rfind(".") :] in MEDIA_TYPES
    }


def _file(content: dict[str, bytes], name: str, status: int = 200) -> Response:
    kind = MEDIA_TYPES[name[name.rfind(".") :]]
    headers = {"cache-control": "no-cache"}
    return Response(content[name], status, headers=headers, media_type=kind)


def _number(index: SampleIndex, key: str) -> int:
    """Number of a sample; unknown keys are answered with 404."""
    number = index.number(key)
    if number is None:
        raise HTTPException(404, "The dataset has no sample of this id.")
    return number


async def _explained(request: Request, error: Exception) -> JSONResponse:
    """Answer with an error's message."""
    status = {InvalidRequest: 422, DiskFull: 507}.get(type(error), 500)
    return JSONResponse({"detail": str(error)}, status)
