"""The API's description as a page that needs nothing from another host; `/openapi.json` holds all of it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ info.title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace } pre { padding: .8rem; background: #8882; overflow-x: auto }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
</style><h1>{{ info.title }}</h1><p>{{ info.description }} In full: <a href="openapi.json">openapi.json</a>.</p>
<pre>curl {{ base }}v1/predict -F files=@photo.jpg -F files=@other.png{% if guarded %} \\
     -H "Authorization: Bearer $HAPPY_SAD_TOKEN"{% endif %}</pre>
{% for path, methods in paths.items() %}{% for method, operation in methods.items() %}
<h2><code>{{ method.upper() }} {{ path }}</code></h2><p>{{ operation.description or operation.summary }}</p>
<table>{% for code, response in operation.responses.items() %}
<tr><td><code>{{ code }}</code></td><td>{{ response.description }}</td></tr>{% endfor %}</table>
{% endfor %}{% endfor %}</html>"""


def add_description(service: FastAPI, *, guarded: bool) -> None:
    """Add `/docs`; `guarded` shows where the token goes."""

    @service.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(_render(service.openapi(), str(request.base_url), guarded))


def _render(document: dict[str, Any], base: str, guarded: bool) -> str:
    import jinja2

    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    return page.render(**document, base=base, guarded=guarded)
