# Two images: `gateway` (the last stage, so the default) and `mitmproxy` (the same plus mitmproxy).
# hadolint reads it in tests/project; it is checked by building it wherever a container engine runs.

# Not slim: it has the C compiler that makes the optional solver of proofs of work. None of it gets into the images.
FROM python:3.13 AS build
WORKDIR /src
RUN python -m venv /opt/chat2api
COPY requirements.lock ./
RUN /opt/chat2api/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY shim ./shim
COPY pow ./pow
COPY arkose ./arkose
COPY addons ./addons
RUN /opt/chat2api/bin/pip install -q --disable-pip-version-check --no-deps .

FROM build AS build-mitmproxy
COPY requirements-mitmproxy.lock ./
RUN /opt/chat2api/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements-mitmproxy.lock

FROM python:3.13-slim AS base
RUN useradd --system --uid 10001 --create-home --home-dir /data chat2api
ENV PATH=/opt/chat2api/bin:$PATH
ENV PYTHONUNBUFFERED=1
# A public HOST makes the server refuse to start without AUTHORIZATION.
ENV HOST=0.0.0.0
ENV PORT=5005
ENV DATA_DIR=/data
WORKDIR /data
VOLUME /data
EXPOSE 5005
USER chat2api
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as r; e = os.environ.get; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + e('PORT') + ('/' + e('API_PREFIX', '').strip('/')).rstrip('/') + '/healthz', timeout=4)"]
CMD ["chat2api", "serve"]

FROM base AS mitmproxy
COPY --from=build-mitmproxy /opt/chat2api /opt/chat2api

FROM base AS gateway
COPY --from=build /opt/chat2api /opt/chat2api
