# The service alone: no TensorFlow, no MLflow, the shipped model, a user without rights.
#   docker build -t happy-sad .
#   docker run -p 8000:8000 --memory 2g -e HAPPY_SAD_TOKEN=$(openssl rand -hex 16) happy-sad
# Another bundle: add  -v $PWD/models/mine:/bundle:ro  before the image's name and  --model /bundle  after it.
# The base is the multi-platform index that docker-library/repo-info records for this tag (25 August 2026). A newer one:
#   docker buildx imagetools inspect python:3.11-slim-trixie --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=python:3.11-slim-trixie@sha256:... -t happy-sad .
ARG BASE=python:3.11.16-slim-trixie@sha256:be1575ed968de893bd54f4c56315ff7c4736ce522c1bca08fd521731aafc0d76
FROM ${BASE}

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app

COPY requirements/serve.lock requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/serve.lock

COPY pyproject.toml ./
COPY src src
COPY models/happy_sad models/happy_sad
RUN useradd --uid 10001 --create-home serve && mkdir outputs && chown serve outputs

USER serve
EXPOSE 8000
# The model answers, not only the process: one that is frozen is unhealthy after three checks, in about two minutes.
HEALTHCHECK --interval=30s --timeout=15s --retries=3 --start-period=20s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=10)"]
ENTRYPOINT ["python", "-m", "src.serve", "--host", "0.0.0.0", "--port", "8000"]
