# Image of a worker: nightrain and Prefect, as a user without rights. It has no GPU libraries of the
# host; run it with `--gpus all` or with `gpus: all` in compose for an engine on a GPU.
FROM python:3.11-slim AS build

WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY src src
COPY datasets datasets
COPY depthmodel depthmodel
COPY pipelines pipelines
COPY flows flows
RUN python -m venv /opt/nightrain \
    && /opt/nightrain/bin/pip install --no-cache-dir --constraint requirements.lock .

FROM python:3.11-slim AS worker

RUN useradd --create-home --uid 1000 nightrain
COPY --from=build /opt/nightrain /opt/nightrain
ENV PATH=/opt/nightrain/bin:$PATH \
    PREFECT_HOME=/home/nightrain/.prefect \
    PYTHONUNBUFFERED=1
USER nightrain
WORKDIR /home/nightrain
ENTRYPOINT []
CMD ["nightrain", "--help"]
