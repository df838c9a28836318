"""Routes for reviews of the record by exception: of a run, or of a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.queries import reviews as queries
from api.routes import PREFIX, Router
from api.shapes import reviews as shapes
from api.shapes.reviews import NewLook, NewReview, ReviewParameters

router = Router("reviews", allow(Role.OPERATOR, Scope.AUDIT_READ))
REVIEWS = Table(
    name="reviews",
    title="ReviewList",
    of=shapes.ReviewAnswer,
    item=queries.item,
    key={"review": cursors.number},
    first=(queries.LAST_NUMBER,),
)
ReviewNumber = Annotated[int, Path(ge=1, le=queries.LAST_NUMBER, description="number of a review", examples=[7])]


@router.table(
    "/reviews",
    summary="Reviews of the record, newest first",
    responses=description.DATABASE | REVIEWS.described(shapes.REVIEW),
)
async def page(request: Request, database: Db, asked: Annotated[ReviewParameters, Query()]) -> Response:
    return await REVIEWS.page(request, asked, lambda before, limit: queries.page(database, asked, before[0], limit))


@router.post(
    "/reviews",
    status_code=201,
    summary="Gather what stands out in a run, or in a time",
    description="Who changed, overrode or silenced something, and what of the data is missing or wrong; routine rows "
    "of the audit trail are counted. A review is done by a signature of `review/N`.",
    responses=description.CHANGE | description.located(shapes.ReviewDetail, review=shapes.DETAIL),
    openapi_extra=described(NewReview),
)
async def make(request: Request, database: Db, member: Member) -> Response:
    made = await queries.make(database, await order(request, NewReview), member.who)
    answer = answers.json(made, 201)
    answer.headers["Location"] = f"{PREFIX}/reviews/{made.review}"
    return answer


@router.get(
    "/reviews/{review}",
    summary="One review: its exceptions, what was said of them, and what has changed in its scope since",
    responses=description.THING | description.ok(shapes.ReviewDetail, review=shapes.DETAIL),
)
async def one(database: Db, review: ReviewNumber, _: JsonOnly) -> Response:
    return answers.json(await queries.detail(database, review))


@router.post(
    "/reviews/{review}/again",
    summary="Gather the scope of a review anew",
    description="What is new makes a new version; what was looked at stays so. Without anything new nothing happens.",
    responses=description.CHANGE | description.ok(shapes.ReviewDetail, review=shapes.DETAIL),
)
async def again(database: Db, review: ReviewNumber, member: Member) -> Response:
    return answers.json(await queries.again(database, review, member.who))


@router.post(
    "/reviews/{review}/looks",
    summary="Say of an exception that it was looked at, with a note",
    responses=description.CHANGE | description.ok(shapes.ReviewDetail, review=shapes.DETAIL),
    openapi_extra=described(NewLook),
)
async def look(request: Request, database: Db, review: ReviewNumber, member: Member) -> Response:
    return answers.json(await queries.look(database, review, await order(request, NewLook), member.who))
