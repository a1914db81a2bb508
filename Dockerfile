# Two images. `pods`, the default: the webhook, the certificate agent, the sidecars and the plugin of
# node mode, which differ by their command only. `fusepy`: with the second driver of `fusefs mount`, for
# one machine.
# The base needs Python >= 3.11 with venv, and Debian's packages.
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
# The versions of the Makefile: what reads poetry.lock never gets into the image.
ARG POETRY_VERSION=2.5.1
ARG EXPORT_VERSION=1.10.1
# Writes the bill of materials of what is left after pruning.
ARG CYCLONEDX_VERSION=7.5.0
WORKDIR /build
# A site with an index of its own passes its pip configuration: --secret id=pip.conf,src=…
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/poetry \
    && /opt/poetry/bin/pip install --no-cache-dir --disable-pip-version-check \
       "poetry==${POETRY_VERSION}" "poetry-plugin-export==${EXPORT_VERSION}" \
    && python3 -m venv /opt/cyclonedx \
    && /opt/cyclonedx/bin/pip install --no-cache-dir --disable-pip-version-check \
       "cyclonedx-bom==${CYCLONEDX_VERSION}"
COPY pyproject.toml poetry.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/poetry/bin/poetry export --only main --extras node -o requirements.txt \
    && python3 -m venv --without-pip /opt/s3mount \
    && /opt/poetry/bin/pip --python /opt/s3mount/bin/python install --no-cache-dir \
       --disable-pip-version-check --no-compile --only-binary :all: --require-hashes -r requirements.txt \
    && /opt/poetry/bin/pip --python /opt/s3mount/bin/python check --disable-pip-version-check
COPY deploy/container/prune.py ./
RUN site="$(/opt/s3mount/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && python3 prune.py "$site"
COPY webhook ./webhook
COPY fusefs ./fusefs
COPY certs ./certs
# Compiled here, for the root file system is read-only where this runs.
RUN site="$(/opt/s3mount/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && cp -r webhook fusefs certs "$site" \
    && /opt/s3mount/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site" \
    && /opt/cyclonedx/bin/cyclonedx-py environment --output-reproducible \
       --output-file /opt/s3mount/sbom.cdx.json /opt/s3mount/bin/python

# The extra has no wheel. Compiled by the same rule; what is there already stays as it is.
FROM build AS build-fusepy
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/poetry/bin/poetry export --only main --extras fusepy -o requirements.txt \
    && sed -n '/^fusepy==/,/[^\\]$/p' requirements.txt >fusepy.txt \
    && /opt/poetry/bin/pip --python /opt/s3mount/bin/python install --no-cache-dir \
       --disable-pip-version-check --no-compile --no-deps --no-binary fusepy \
       --require-hashes -r fusepy.txt \
    && site="$(/opt/s3mount/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && /opt/s3mount/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site/fuse.py"

FROM ${BASE_IMAGE} AS runtime
LABEL org.opencontainers.image.title="s3mount" \
      org.opencontainers.image.description="S3 buckets as directories in any Kubernetes pod" \
      org.opencontainers.image.licenses="Apache-2.0"
# An image that runs beside other people's pods has no use for installers.
RUN { python3 -m pip uninstall -q -y --root-user-action=ignore pip setuptools wheel \
         || DEBIAN_FRONTEND=noninteractive apt-get purge -y --auto-remove python3-pip; } \
    && rm -rf /root/.cache /var/log/apt /var/log/dpkg.log /var/cache/apt/*
# The official images leave the standard library uncompiled: each start of each process would do it
# again, which takes three times as long as the start. What is compiled already stays as it is.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash \
       -x '/(site-packages|dist-packages|ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|tests?)/' \
       "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/s3mount/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

FROM runtime AS fusepy
# libfuse2 is what fusepy loads; fuse3 brings fusermount for unprivileged mounts.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libfuse2 fuse3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=build-fusepy /opt/s3mount /opt/s3mount
USER 65534:65534
WORKDIR /
CMD ["python", "-m", "fusefs", "--help"]

FROM runtime AS pods
COPY --from=build /opt/s3mount /opt/s3mount
# As numbers, so that runAsNonRoot can be checked; the keeper alone is started as root by its pod.
USER 65534:65534
WORKDIR /
EXPOSE 8443 9090
CMD ["python", "-m", "webhook", "serve"]
