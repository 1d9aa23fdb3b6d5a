"""`GET /v1/organization/usage/images`: what the ledger adds up to, as the original tells it.

A key sees what it has used itself, the key of an admin what all have; and so does anyone where no
key is needed.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from server.callers.callers import Caller as Asker
from server.callers.ledger import FILE
from server.callers.queries import read_query
from server.callers.usage import FIELDS, Bucket, Field, image_buckets
from server.callers.usage_query import FILTERS, MOST, NOBODYS, PARAMETERS, WIDTHS_S
from server.handover.responses import json_response
from server.reading.kinds import Integer
from server.services import Caller, Parts

router = APIRouter()


@router.get("/v1/organization/usage/images")
async def images_usage(request: Request, parts: Parts, caller: Caller) -> Response:
    """Images and requests, in buckets of time."""
    values = read_query(request.query_params, PARAMETERS, required=("start_time",))
    span, last = _span(values)
    fields = [field for field in FIELDS if field in values.get("group_by", ())]
    only = {field: values[name] for name, field in FILTERS.items() if name in values}
    if values.keys() & {"project_ids", "user_ids"}:
        only["source"] = []
    found = await run_in_threadpool(
        image_buckets, parts.config.data_dir / FILE, span, fields, _own(only, caller)
    )
    return json_response(_page(found, span, last))


def _span(values: Mapping[str, Any]) -> tuple[range, bool]:
    """The buckets of a page, and whether there are none after them.

    They begin at whole minutes, hours or days of UTC; the first is the one with `start_time` in it.
    """
    width = values.get("bucket_width", "1d")
    step, (usual, most) = WIDTHS_S[width], MOST[width]
    Integer(1, most).read("limit", limit := values.get("limit", usual))
    start = max(values["start_time"], values.get("page", 0)) // step * step
    end = values.get("end_time", int(time.time()) + 1)
    stop = start + limit * step
    return range(start, min(stop, max(end, start)), step), stop >= end


def _own(only: dict[Field, Sequence[str]], caller: Asker) -> dict[Field, Sequence[str]]:
    if caller.sees_all:
        return only
    mine = caller.name in only.get("api_key_id", [caller.name])
    return only | {"api_key_id": [caller.name] if mine else []}


def _page(found: Sequence[Bucket], span: range, last: bool) -> dict[str, Any]:
    results: dict[int, list[dict[str, Any]]] = {start: [] for start in span}
    for bucket in found:
        results[bucket.start].append(_result(bucket))
    return {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": start,
                "end_time": start + span.step,
                "results": results[start],
            }
            for start in span
        ],
        "has_more": not last,
        "next_page": None if last else str(span[-1] + span.step),
    }


def _result(bucket: Bucket) -> dict[str, Any]:
    return {
        "object": "organization.usage.images.result",
        "images": bucket.images,
        "num_model_requests": bucket.requests,
        **dict.fromkeys((*FIELDS, *NOBODYS)),
        **bucket.fields,
    }
