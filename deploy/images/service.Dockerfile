# syntax=docker/dockerfile:1
# The command without torch. It serves the atlas, submits and schedules runs, and queries results. Runs need the worker image.
#   docker build -f deploy/images/service.Dockerfile -t deconvoy-service:0.1.0 .
FROM python:3.11-slim-bookworm

ARG STORAGE="s3fs gcsfs"
WORKDIR /src
COPY deploy/images/constraints.txt deploy/images/requirements.txt ./
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt ${STORAGE}

COPY pyproject.toml README.md LICENSE ./
COPY workers workers
COPY jobs jobs
COPY service service
COPY deconvoy deconvoy
RUN pip install --no-cache-dir --no-deps .

RUN useradd --uid 1000 --create-home deconvoy
ENV HOME=/home/deconvoy \
    USER=deconvoy \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/deconvoy
USER 1000:1000
EXPOSE 8000
ENTRYPOINT ["deconvoy"]
CMD ["--help"]
