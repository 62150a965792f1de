"""Pictures that others drew, made part of the page."""

import base64
from pathlib import Path

MOST_BYTES = 400_000
_PNG = b"\x89PNG\r\n\x1a\n"


def embedded_png(path: Path) -> str | None:
    """A PNG as a `data:` URI; None where there is none, or one that is no PNG or too large to travel in a page."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return f"data:image/png;base64,{base64.b64encode(content).decode()}" if content.startswith(_PNG) else None
