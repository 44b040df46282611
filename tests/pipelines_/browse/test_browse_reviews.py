"""Verdicts of the page are those of `nightrain review`: the loader leaves out what is rejected."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nightrain.datasets.errors import DiskFull, InvalidRequest
from nightrain.datasets.loader.index import build_index
from nightrain.datasets.shards.reviews import Review, read_reviews, write_review
from support.browsing import ORIGIN, client_of
from support.loader import config


def give(client: TestClient, key: str, verdict: str, reason: str = "") -> Any:
    body = {"key": key, "verdict": verdict, "reason": reason}
    return client.post("/api/review", json=body, headers=ORIGIN)


def keys(client: TestClient, **query: str) -> list[str]:
    items = client.get("/api/samples", params={"limit": "500", **query}).json()["items"]
    return [item["key"] for item in items]


def test_the_loader_honours_a_verdict(copied: Path) -> None:
    client = client_of(copied)
    variants = keys(client, kind="variant", condition="night")
    first = variants[0]
    before = build_index(copied, config(recipes=("shown",)))
    answer = give(client, first, "reject", "a 'wall' of <lamps>")
    assert answer.status_code == 200 and answer.json()["review"]["reviewer"] == "Ada"
    recorded = read_reviews(copied)
    assert recorded.keys() == {first} and recorded[first].reason == "a 'wall' of <lamps>"
    after = build_index(copied, config(recipes=("shown",)))
    assert (before.num_reviewed_out, after.num_reviewed_out) == (0, 1)
    assert client.get(f"/api/samples/{first}").json()["review"]["reason"] == "a 'wall' of <lamps>"
    assert keys(client, verdict="reject") == [first]
    assert give(client, first, "accept").status_code == 200
    assert read_reviews(copied)[first].verdict == "accept" and keys(client, verdict="reject") == []
    assert keys(client, verdict="accept") == [first]
    assert give(client, first, "none").json() == {"review": None}
    assert read_reviews(copied) == {} and keys(client, verdict="accept") == []
    assert give(client, first, "none").status_code == 200


def test_rejected_variants_can_be_accepted_and_frames_have_no_verdict(copied: Path) -> None:
    client = client_of(copied)
    rejected, frame = keys(client, kind="rejected")[0], keys(client, kind="frame")[0]
    assert give(client, rejected, "accept").status_code == 200
    assert read_reviews(copied).keys() == {rejected}
    answer = give(client, frame, "reject")
    assert answer.status_code == 422 and "only variants have verdicts" in answer.text
    assert read_reviews(copied).keys() == {rejected}


def test_verdicts_of_other_processes_appear(copied: Path) -> None:
    client = client_of(copied)
    first, second = keys(client, kind="variant")[:2]
    assert keys(client, verdict="reject") == []
    review = Review(sample_id=first, verdict="reject", created_at=datetime.now(UTC))
    write_review(copied, review)
    client.get("/api/facets")
    assert keys(client, verdict="reject") == [first]
    assert give(client, second, "reject").status_code == 200
    assert sorted(keys(client, verdict="reject")) == sorted([first, second])


def test_a_damaged_review_is_named_and_the_rest_is_shown(copied: Path) -> None:
    (copied / "_reviews").mkdir()
    (copied / "_reviews" / f"{'0' * 20}.json").write_text("{}")
    client = client_of(copied)
    found = client.get("/api/dataset").json()
    assert "_reviews" in found["problems"] and len(keys(client)) == found["total"] > 0


@pytest.mark.parametrize(
    ("error", "status"), [(InvalidRequest("it is read-only"), 422), (DiskFull("it is full"), 507)]
)
def test_a_dataset_that_cannot_be_written(
    copied: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def refuse(*_: object) -> None:
        raise error

    client = client_of(copied)
    first = keys(client, kind="variant")[0]
    monkeypatch.setattr("nightrain.pipelines.browse.verdicts.write_review", refuse)
    answer = give(client, first, "reject")
    assert answer.status_code == status and answer.json() == {"detail": str(error)}
    assert client.get(f"/api/samples/{first}").json()["review"] is None
