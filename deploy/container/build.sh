#!/bin/bash
# Builds the image and puts its bill of materials beside it, as dist/s3mount-VERSION.cdx.json.
#   ENGINE     podman or docker; the first that is there
#   IMAGE      name without tag (s3mount)
#   TARGET     pods, or fusepy: with the second driver, for one machine
#   PLATFORMS  linux/arm64: the image for it; linux/amd64,linux/arm64: a list of both, which has to have this
#              machine's own. Another one than this machine's needs qemu-user-static
# Further arguments go to the build: --build-arg BASE_IMAGE=…, --secret id=pip.conf,src=/etc/pip.conf
set -euo pipefail
cd "$(dirname "$0")/../.."
engine=${ENGINE:-$(command -v podman || command -v docker)} || { echo "image: install podman or docker" >&2; exit 1; }
target=${TARGET:-pods}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
[ "$target" = pods ] && tag=$version || tag=$version-$target
name=${IMAGE:-s3mount}:$tag
common=(--target "$target" --label "org.opencontainers.image.version=$version")
if revision=$(git rev-parse HEAD 2>/dev/null); then
  common+=(--label "org.opencontainers.image.revision=$revision")
fi
if [[ ${PLATFORMS:-} != *,* ]]; then
  "$engine" build "${common[@]}" ${PLATFORMS:+--platform "$PLATFORMS"} -t "$name" "$@" .
elif [[ $engine == *podman* ]]; then
  # A build adds to a list of that name, and refuses an image of that name at its very end.
  if "$engine" manifest exists "$name"; then
    "$engine" manifest rm "$name" >/dev/null
  elif "$engine" image exists "$name"; then
    "$engine" untag "$name"
  fi
  "$engine" build "${common[@]}" --platform "$PLATFORMS" --manifest "$name" "$@" .
else
  "$engine" buildx build "${common[@]}" --platform "$PLATFORMS" -t "$name" "$@" .
fi
mkdir -p dist
container=$("$engine" create "$name")
trap '"$engine" rm "$container" >/dev/null' EXIT
"$engine" cp "$container:/opt/s3mount/sbom.cdx.json" "dist/s3mount-$tag.cdx.json"
image=$("$engine" inspect --format '{{.Image}}' "$container")
"$engine" image inspect --format '{{.Size}}' "$image" | awk -v name="$name" '{ printf "%s: %d MiB\n", name, $1 / 1048576 }'
