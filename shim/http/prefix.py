"""What API_PREFIX hides: outside of it every request gets the same bytes, whatever its path, method or headers.

Rule: it stands before routing, before CORS and before any handler, so that nothing about the answer, not even which
kind of 404 it is, tells that there is something here.
"""

from litestar.types import ASGIApp, Receive, Scope, Send

_BODY = b"Not Found"
_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(_BODY)).encode())]


def hidden(root_path: str, app: ASGIApp) -> ASGIApp:
    """`app`, answering only at `root_path` ("/prefix") and below; with "" just `app`."""
    if not root_path:
        return app

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == root_path or scope["path"].startswith(f"{root_path}/"):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": _HEADERS})
        body = b"" if scope["method"] == "HEAD" else _BODY  # type: ignore[typeddict-item]  # only HTTP comes here
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer
