# The assistant: `docker compose up` builds it. Nothing here needs a GPU; a model server does.
FROM python:3.11.14-slim-bookworm

RUN useradd --create-home --uid 10001 groundtune
WORKDIR /app

# torch's build for processors alone is 5 GB smaller than the one that carries CUDA, and lies on an
# index of its own: docker build --build-arg PIP_EXTRA_INDEX_URL=... (pip reads it by itself).
ARG PIP_EXTRA_INDEX_URL
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY assistant ./assistant
COPY ingest ./ingest
COPY finetune ./finetune
COPY eval ./eval
RUN pip install --no-cache-dir --constraint constraints.txt '.[finetune,scale]'

# Volumes that are mounted here take over these folders' owner.
RUN mkdir --parents /data /models && chown groundtune: /data /models
USER groundtune
ENV GROUNDTUNE_HOME=/data \
    GROUNDTUNE_CACHE=/models \
    PYTHONUNBUFFERED=1
VOLUME ["/data", "/models"]

CMD ["groundtune", "serve"]
