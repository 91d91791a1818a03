# syntax=docker/dockerfile:1
# Ray's head, its workers and the drivers of runs. CUDA comes with torch; the machine provides the GPU driver and the container runtime.
#   docker build -f deploy/images/worker.Dockerfile -t deconvoy-worker:0.1.0 .
FROM python:3.11-slim-bookworm

# KubeRay's probes need wget; `ray up` needs rsync and ssh.
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/*

# Packages for the storage of roots and corpora. Add boto3 if `ray up` starts machines on AWS.
ARG STORAGE="s3fs gcsfs"
WORKDIR /src
COPY deploy/images/constraints.txt deploy/images/requirements.txt ./
# Install into the system's Python: Ray runs jobs with the `python` on the path, and KubeRay's login shell resets the path.
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt torch torchvision ${STORAGE}

COPY pyproject.toml README.md LICENSE ./
COPY workers workers
COPY jobs jobs
COPY service service
COPY deconvoy deconvoy
RUN pip install --no-cache-dir --no-deps .

# 1000 is the first user on most machines, so mounted files are readable. Only /tmp is written to.
RUN useradd --uid 1000 --create-home deconvoy
ENV HOME=/home/deconvoy \
    USER=deconvoy \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCH_HOME=/tmp/torch \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /home/deconvoy
USER 1000:1000
CMD ["deconvoy", "--help"]
