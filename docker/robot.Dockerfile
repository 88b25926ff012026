# What a robot runs: the client, the recorder and the upload, without torch and without Ray. At the root of a checkout:
#   docker build --file docker/robot.Dockerfile --tag volano-robot .
FROM python:3.11-slim-bookworm
WORKDIR /opt/volano
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY platform platform
RUN python -m pip install --no-cache-dir uv==0.13.9 \
    && sed -E '/^ +--hash/d; s/ \\$//' requirements.lock > versions.txt \
    && uv pip install --system --no-cache --compile-bytecode --constraint versions.txt ".[robot]" \
    && python -c "import volano.inference.client, volano.data.record, volano.data.send, volano.data.upload"
RUN useradd --create-home --uid 1000 robot
USER robot
CMD ["volano", "--help"]
