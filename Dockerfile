# mlgym in a container, for machines that have Docker but no Linux of their own (macOS, Windows), amd64 and arm64:
#     docker build -t mlgym .
#     docker run --rm mlgym                                         # the demo
#     docker run --rm -v "$PWD:/work" mlgym run blotto -a tuner     # an episode, stored in ./runs
# docs/containers.md has more. Runs as root and with `-u 1000`.
ARG BASE=python:3.12-slim
FROM ${BASE}
# For who builds behind a mirror: --build-arg PIP_INDEX_URL=… ; they are not kept in the image.
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
COPY pyproject.toml README.md LICENSE /opt/mlgym/
COPY src /opt/mlgym/src
# In an environment of its own: what lies beside the base Python's packages is what agents' Pythons may show.
RUN python3 -m venv /opt/mlgym/venv \
    && /opt/mlgym/venv/bin/pip install --no-cache-dir --disable-pip-version-check /opt/mlgym \
    && ln -s /opt/mlgym/venv/bin/mlgym /usr/local/bin/mlgym \
    && useradd --uid 1000 --create-home --shell /bin/bash mlgym \
    && mkdir /work && chmod 1777 /work
WORKDIR /work
ENTRYPOINT ["mlgym"]
CMD ["demo"]
