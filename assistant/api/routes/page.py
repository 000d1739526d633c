"""The web page: files beside the service's own, under policies of their own."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parents[1] / "page"
FRAME = (
    "sandbox allow-scripts; default-src 'none'; base-uri 'none'; form-action 'none'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'self'"
)
"""For the frame that a report is shown in, next to the report's own policy, which lets none but its
own script run. It has no origin, so it reaches neither the page's key nor the API."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """Show the page."""
    return FileResponse(FOLDER / "index.html")


@router.get("/docs")
async def docs() -> FileResponse:
    """Show the API in words."""
    return FileResponse(FOLDER / "docs.html")


@router.get("/page/frame.html")
async def frame() -> FileResponse:
    """Show an empty sheet that becomes a report."""
    headers = {"Content-Security-Policy": FRAME, "X-Frame-Options": "SAMEORIGIN"}
    return FileResponse(FOLDER / "frame.html", headers=headers)
