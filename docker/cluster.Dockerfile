# The image of every node of a cluster: head, workers, gateway. Build it at the root of a checkout:
#   docker build --file docker/cluster.Dockerfile --tag volano .
# With a GPU in the nodes nothing changes: the registry's build of the locked torch brings CUDA.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        gcc g++ make git wget libegl1 libgl1 libglu1-mesa libgl1-mesa-dri libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/volano
# The environment first: it changes with the locks alone.
COPY pyproject.toml README.md LICENSE requirements.lock requirements-torch.lock ./
COPY infra/install.sh infra/install.sh
COPY platform/volano/__init__.py platform/volano/__init__.py
RUN bash infra/install.sh python3.11 .venv
COPY platform platform
COPY jobs jobs
COPY pipelines pipelines
COPY serving serving
# Ray imports an application's modules in processes of its own, before any runtime environment: so by PYTHONPATH.
ENV PATH=/opt/volano/.venv/bin:$PATH PYTHONPATH=/opt/volano/platform:/opt/volano RAY_AUTH_MODE=token
RUN useradd --create-home --uid 1000 ray && mkdir /shared && chown ray /shared
USER ray
ENTRYPOINT []
CMD ["volano", "doctor"]
