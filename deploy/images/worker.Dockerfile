# syntax=docker/dockerfile:1
# Ray's head, its workers and the drivers of runs. CUDA comes with torch; the machine brings the driver and its container runtime.
#   docker build -f deploy/images/worker.Dockerfile -t deconvoy-worker:0.1.0 .
FROM python:3.11-slim-bookworm

# wget: KubeRay's probes. rsync and ssh: `ray up`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/*

# Storage that roots and corpora lie in; boto3 beside it where `ray up` makes machines of AWS.
ARG STORAGE="s3fs gcsfs"
WORKDIR /src
COPY deploy/images/constraints.txt deploy/images/requirements.txt ./
# Into the system's own Python: Ray starts jobs with `python` on the path, which KubeRay's login shell sets anew.
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt torch torchvision ${STORAGE}

COPY pyproject.toml README.md LICENSE ./
COPY workers workers
COPY jobs jobs
COPY service service
COPY deconvoy deconvoy
RUN pip install --no-cache-dir --no-deps .

# 1000 is the first user of most machines: what they mount can be read. /tmp is all that is written to.
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
